"""The routes that classify photos."""

import asyncio
from time import perf_counter
from typing import Annotated

from fastapi import APIRouter, Query, Request

from app import errors
from app.api_keys import ProtectedService
from app.disconnect import cancel_on_disconnect
from app.examples import PREDICTION_EXAMPLES
from app.inference import Inference
from app.record import RequestRecord
from app.responses import error_responses, to_prediction
from app.schemas import Batch, BatchError, BatchResult, EvidenceKind, Prediction
from app.uploads import BATCH_BODY, PHOTO_BODY, read_photo, read_photos
from ml.errors import ImageError

router = APIRouter(tags=["Photos"])

TopK = Annotated[
    int | None, Query(ge=1, description="Return only the k largest probabilities, largest first.")
]
Evidence = Annotated[
    EvidenceKind,
    Query(description="Also return evidence by region, as numbers (`grid`) or a picture (`png`)."),
]
_ERRORS = (
    errors.NoImage,
    errors.Unauthorized,
    errors.BodyTooLarge,
    errors.TooManyFiles,
    errors.InvalidParameter,
    errors.InternalError,
    errors.NotReady,
    errors.Overloaded,
    errors.TimedOut,
)
_IMAGE_ERRORS = errors.PhotoTooLarge, errors.NotAnImage, errors.DamagedImage


@router.post(
    "/predict",
    responses=error_responses(*_ERRORS, *_IMAGE_ERRORS) | {200: PREDICTION_EXAMPLES},
    openapi_extra=PHOTO_BODY,
    summary="Classify a photo",
)
async def predict(
    request: Request, service: ProtectedService, top_k: TopK = None, evidence: Evidence = "none"
) -> Prediction:
    """Send the photo as the form field `file`, or as the request body."""
    record = RequestRecord.of(request.scope)
    async with service.admit() as slot:
        started = perf_counter()
        photo = await read_photo(request, service.settings.max_body_bytes, slot)
        record.bytes, record.read_seconds = len(photo), perf_counter() - started
        work = service.inference.predict(photo, evidence)
        classified = await cancel_on_disconnect(request.receive, work)
    record.classified.append(classified)
    return to_prediction(classified, record.request_id, top_k)


@router.post(
    "/predict/batch",
    responses=error_responses(*_ERRORS),
    openapi_extra=BATCH_BODY,
    summary="Classify several photos",
)
async def predict_batch(request: Request, service: ProtectedService, top_k: TopK = None) -> Batch:
    """Send the photos as form fields `files`. A photo that cannot be used fails alone."""
    record, settings = RequestRecord.of(request.scope), service.settings
    async with service.admit() as slot:
        started = perf_counter()
        photos = await read_photos(request, settings.max_body_bytes, settings.max_files, slot)
        record.read_seconds = perf_counter() - started
        work = _predict_all(service.inference, photos, record, top_k)
        results = await cancel_on_disconnect(request.receive, work)
    record.photos, record.failed = len(results), sum(one.error is not None for one in results)
    return Batch(results=results)


async def _predict_all(
    inference: Inference, photos: list[tuple[str, bytes]], record: RequestRecord, top_k: int | None
) -> list[BatchResult]:
    async def predict_one(name: str, photo: bytes) -> BatchResult:
        try:
            classified = await inference.predict(photo)
        except ImageError as error:
            reason = errors.from_image_error(error)
            reported = BatchError(detail=str(reason), code=reason.code)
            return BatchResult(filename=name, error=reported)
        record.classified.append(classified)
        prediction = to_prediction(classified, record.request_id, top_k)
        return BatchResult(filename=name, prediction=prediction)

    async with asyncio.TaskGroup() as group:  # any other error cancels all photos
        tasks = [group.create_task(predict_one(name, photo)) for name, photo in photos]
    return [task.result() for task in tasks]
