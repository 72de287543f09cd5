"""The routes for operators: health, the model card and metrics."""

from typing import Any

from fastapi import APIRouter, Response

from app.api_keys import ProtectedService, PublicService
from app.errors import NotReady, Unauthorized
from app.examples import NOT_HEALTHY
from app.metrics import CONTENT_TYPE
from app.responses import error_responses
from app.schemas import Health, ModelCard

router = APIRouter(tags=["Operations"])


@router.get("/health", responses={503: {"model": Health} | NOT_HEALTHY}, summary="Readiness")
async def health(service: PublicService, response: Response) -> Health:
    """200 if the model is loaded, else 503."""
    found = service.inference.health()
    if found.status != "ok":
        response.status_code = NotReady.status
        response.headers.update(NotReady.headers)
    return found


@router.get("/health/live", summary="Liveness")
async def live() -> dict[str, str]:
    """200 while the process answers, even if no model is loaded."""
    return {"status": "ok"}


@router.get("/model", responses=error_responses(Unauthorized, NotReady), summary="Model card")
async def model(service: ProtectedService) -> ModelCard:
    """Classes, preprocessing, measured accuracy, calibration, version and engine."""
    return service.inference.model_card()


@router.get("/metrics", response_class=Response, summary="Prometheus metrics")
async def metrics(service: PublicService) -> Any:
    """The metrics of all workers together, in Prometheus' text format."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE)
