"""The service: `uvicorn app.main:app`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request, Response

from app.errors import handle_errors
from app.inference import Inference
from app.request_id import RequestId, request_id
from app.schemas import Error, Health, Prediction
from app.settings import Settings
from app.upload import REQUEST_BODY, read_photo
from ml import __version__

TopK = Annotated[int | None, Query(ge=1, description="Only the k largest, largest first.")]
DESCRIPTION = "Tells what flies on a photo of the sky. Try `POST /predict` with a photo."
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": Error, "description": "`no_image`"},
    413: {"model": Error, "description": "`body_too_large`, `too_many_pixels`"},
    415: {"model": Error, "description": "`unsupported_format`"},
    422: {"model": Error, "description": "`unreadable_image`, `invalid_parameter`"},
    503: {"model": Error, "description": "`not_ready`; try again after `Retry-After` seconds"},
}


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the app; settings come from the environment unless given."""
    settings = settings or Settings.from_environment()
    inference = Inference(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # The port answers at once: probes see `starting` until the model is there.
        loading = asyncio.create_task(asyncio.to_thread(inference.load))
        yield
        await loading

    app = FastAPI(
        title="Skyspotter",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
    )
    app.root_path = settings.root_path  # for Lambda, where no server can be told of it
    app.state.settings, app.state.inference = settings, inference
    app.add_middleware(RequestId)
    handle_errors(app)
    app.include_router(router)
    return app


router = APIRouter()


@router.post(
    "/predict",
    responses=ERRORS,
    openapi_extra=REQUEST_BODY,
    summary="What flies on this photo?",
)
async def predict(request: Request, top_k: TopK = None) -> Prediction:
    """Send the photo as the form field `file`, or as the request's body."""
    inference: Inference = request.app.state.inference
    photo = await read_photo(request, request.app.state.settings.max_body_bytes)
    answer = await inference.predict(photo)
    return Prediction.of(answer, inference.model(), request_id(request.scope), top_k)


@router.get("/health", responses={503: {"model": Health}}, summary="Can it predict?")
async def health(request: Request, response: Response) -> Health:
    """200 when photos can be predicted, else 503."""
    state: Health = request.app.state.inference.health()
    response.status_code = 200 if state.status == "ok" else 503
    return state


@router.get("/health/live", summary="Does the process answer?")
async def live() -> dict[str, str]:
    """200 while the process answers, whether or not the model is ready."""
    return {"status": "ok"}


app = create_app()
