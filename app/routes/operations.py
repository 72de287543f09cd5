"""The routes for those who run the service: probes, the model card, metrics."""

from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from app.api_keys import require_key
from app.examples import NOT_HEALTHY
from app.metrics import CONTENT_TYPE
from app.routes.predict import responses
from app.schemas import Health, ModelCard
from app.state import Service

router = APIRouter(tags=["Operation"])


@router.get("/health", responses={503: {"model": Health} | NOT_HEALTHY}, summary="Can it predict?")
async def health(request: Request, response: Response) -> Health:
    """200 when photos can be predicted, else 503."""
    state = Service.of(request).inference.health()
    if state.status != "ok":
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return state


@router.get("/health/live", summary="Does the process answer?")
async def live() -> dict[str, str]:
    """200 while the process answers, whether or not the model is ready."""
    return {"status": "ok"}


@router.get(
    "/model",
    dependencies=[Depends(require_key)],
    responses=responses({401: "`unauthorized`", 503: "`not_ready`"}),
    summary="What does the model know, and how well?",
)
async def model(request: Request) -> ModelCard:
    """Classes, preprocessing, measured accuracy, calibration, version, engine."""
    return Service.of(request).inference.model_card()


@router.get("/metrics", response_class=Response, summary="Numbers for Prometheus")
async def metrics(request: Request) -> Any:
    """All workers' numbers together, as text."""
    return Response(Service.of(request).metrics.text(), media_type=CONTENT_TYPE)
