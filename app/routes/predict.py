"""The routes that answer for photos."""

import asyncio
from time import perf_counter
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from app.api_keys import require_key
from app.disconnect import unless_gone
from app.errors import code_of
from app.examples import PREDICTIONS
from app.middleware.access_log import note
from app.schemas import Batch, BatchError, BatchResult, Error, EvidenceKind, Prediction
from app.state import Service
from app.uploads import BATCH_BODY, REQUEST_BODY, read_photo, read_photos
from ml.errors import ImageError

router = APIRouter(tags=["Photos"], dependencies=[Depends(require_key)])

TopK = Annotated[int | None, Query(ge=1, description="Only the k largest, largest first.")]
Evidence = Annotated[
    EvidenceKind,
    Query(description="What speaks for and against each class, and where: numbers or a picture."),
]
_ERRORS = {
    400: "`no_image`",
    401: "`unauthorized`",
    413: "`body_too_large`, `too_many_pixels`",
    415: "`unsupported_format`",
    422: "`unreadable_image`, `invalid_parameter`",
    500: "`internal_error`",
    503: "`overloaded`, `not_ready`; try again after `Retry-After` seconds",
    504: "`timed_out`",
}
_OF_BATCHES = {413: "`body_too_large`, `too_many_files`", 422: "`invalid_parameter`"}


def responses(errors: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """Describe errors for the OpenAPI document, each code with its example."""
    return {
        status: {
            "model": Error,
            "description": codes,
            "content": {"application/json": {"examples": Error.examples(codes)}},
        }
        for status, codes in errors.items()
    }


@router.post(
    "/predict",
    responses=responses(_ERRORS) | {200: PREDICTIONS},
    openapi_extra=REQUEST_BODY,
    summary="What flies on this photo?",
)
async def predict(request: Request, top_k: TopK = None, evidence: Evidence = "none") -> Prediction:
    """Send the photo as the form field `file`, or as the request's body."""
    service = Service.of(request)
    async with service.entered() as ticket:
        started = perf_counter()
        photo = await read_photo(request, service.settings.max_body_bytes, ticket)
        service.reading(request, started)
        answer = await unless_gone(request.receive, service.answer(request, photo, top_k, evidence))
    image, stages = answer.image, answer.timing_ms.model_dump()
    note(request.scope, bytes=len(photo), format=image.format, size=f"{image.width}x{image.height}")
    note(request.scope, **{f"{stage}_ms": ms for stage, ms in stages.items()})
    note(request.scope, label=answer.label, accepted=answer.accepted)
    return answer


@router.post(
    "/predict/batch",
    responses=responses({k: v for k, v in _ERRORS.items() if k != 415} | _OF_BATCHES),
    openapi_extra=BATCH_BODY,
    summary="What flies on each of these photos?",
)
async def predict_batch(request: Request, top_k: TopK = None) -> Batch:
    """Send the photos as form fields `files`; one that cannot be used fails alone."""
    service = Service.of(request)
    async with service.entered() as ticket:
        started = perf_counter()
        limits = service.settings.max_body_bytes, service.settings.max_files
        photos = await read_photos(request, *limits, ticket)
        service.reading(request, started)
        results = await unless_gone(request.receive, _all(request, photos, top_k))
    note(request.scope, photos=len(results), failed=sum(one.error is not None for one in results))
    return Batch(results=results)


async def _all(
    request: Request, photos: list[tuple[str, bytes]], top_k: int | None
) -> list[BatchResult]:
    async with asyncio.TaskGroup() as group:  # where one cannot go on, none does
        answers = [group.create_task(_one(request, *photo, top_k)) for photo in photos]
    return [answer.result() for answer in answers]


async def _one(request: Request, name: str, photo: bytes, top_k: int | None) -> BatchResult:
    try:
        prediction = await Service.of(request).answer(request, photo, top_k)
        return BatchResult(filename=name, prediction=prediction)
    except ImageError as error:
        wrong = BatchError(detail=str(error), code=code_of(error))
        return BatchResult(filename=name, error=wrong)
