"""Build responses: the JSON of a prediction, and the errors that OpenAPI lists for a route."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from app import schemas
from app.errors import RequestError, error_body
from app.examples import REQUEST_ID
from app.record import ClassifiedPhoto
from app.schemas import EvidenceGrid, EvidenceKind
from ml.evidence import data_uri, grid, overlay
from ml.predictor import Prediction


def to_prediction(
    classified: ClassifiedPhoto, request_id: str, top_k: int | None = None
) -> schemas.Prediction:
    """Convert a prediction to the JSON that the client gets."""
    prediction, card = classified.prediction, classified.card
    probabilities = prediction.probabilities
    if top_k is not None:
        probabilities = dict(sorted(probabilities.items(), key=lambda item: -item[1])[:top_k])
    return schemas.Prediction(
        label=prediction.label,
        confidence=prediction.confidence,
        accepted=prediction.accepted,
        probabilities=probabilities,
        image=schemas.Image(**asdict(prediction.photo)),
        evidence=classified.evidence,
        model=schemas.Model(name=card.name, version=card.version),
        timing_ms=schemas.Timing(
            decode=round(prediction.decode_ms, 3), inference=round(prediction.inference_ms, 3)
        ),
        request_id=request_id,
    )


def to_evidence(
    prediction: Prediction, classes: Sequence[str], kind: EvidenceKind
) -> EvidenceGrid | str | None:
    """Return the evidence for and against each class: as numbers, as a picture, or not at all."""
    if kind == "none":
        return None
    merged = grid(prediction)
    if kind == "png":
        values = merged.values[classes.index(prediction.label)]
        photo = prediction.photo.width, prediction.photo.height
        strongest = float(abs(merged.values).max())  # of all classes, to make pictures comparable
        picture = overlay(values, merged.region, photo, views=prediction.boxes, strongest=strongest)
        return data_uri(picture, "PNG")
    return EvidenceGrid(
        rows=merged.values.shape[1],
        columns=merged.values.shape[2],
        region=merged.region,
        views=prediction.boxes,
        values=dict(zip(classes, merged.values.tolist(), strict=True)),
        logits=dict(zip(classes, prediction.logits.tolist(), strict=True)),
    )


def error_responses(*errors: type[RequestError]) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route for the OpenAPI document, each code with its example."""
    responses: dict[int | str, dict[str, Any]] = {}
    for status in sorted({error.status for error in errors}):
        group = [error for error in errors if error.status == status]
        description = ", ".join(f"`{error.code}`" for error in group)
        if all("Retry-After" in error.headers for error in group):
            description += "; try again after `Retry-After` seconds"
        examples = {
            error.code: {"summary": error.__doc__, "value": error_body(error(), REQUEST_ID)}
            for error in group
        }
        responses[status] = {
            "model": schemas.Error,
            "description": description,
            "content": {"application/json": {"examples": examples}},
        }
    return responses
