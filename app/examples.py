"""Example responses for the OpenAPI document; the tests compare them with real ones."""

from typing import Any

from pydantic import JsonValue

from app.errors import NotAnImage

REQUEST_ID = "5f3c1e0a9b7d4c2f8e6a1b0c9d8e7f6a"
_CLASSES = "Flying Birds", "Large QuadCopters", "Small QuadCopters", "Winged Drones"
_MODEL: dict[str, JsonValue] = {"name": "skyspotter", "version": "0.1.0+1a2b3c4d"}


def _by_class(*values: JsonValue) -> dict[str, JsonValue]:
    return dict(zip(_CLASSES, values, strict=True))


PREDICTION: dict[str, JsonValue] = {
    "label": "Flying Birds",
    "confidence": 0.973,
    "accepted": True,
    "probabilities": _by_class(0.973, 0.011, 0.012, 0.004),
    "image": {"width": 640, "height": 480, "format": "JPEG", "frames": 1, "orientation": 1},
    "evidence": None,
    "model": _MODEL,
    "timing_ms": {"decode": 2.6, "inference": 5.1},
    "request_id": REQUEST_ID,
}
NOT_SURE = PREDICTION | {
    "label": "Large QuadCopters",
    "confidence": 0.52,
    "accepted": False,
    "probabilities": _by_class(0.05, 0.52, 0.39, 0.04),
}
GRID: dict[str, JsonValue] = {
    "rows": 2,
    "columns": 2,
    "region": [80.0, 0.0, 500.0, 420.0],
    "views": [[110.0, 30.0, 530.0, 450.0]],
    "values": _by_class(
        [[7.25, 1.5], [0.75, 0.5]],
        [[1.5, -0.25], [0.25, -0.5]],
        [[1.25, 0.5], [-0.25, -0.25]],
        [[-1.5, 0.25], [0.5, -0.25]],
    ),
    "logits": _by_class(2.5, 0.25, 0.3125, -0.25),
}
PNG = "data:image/png;base64,iVBORw0KGgo…"
BATCH: dict[str, JsonValue] = {
    "results": [
        {"filename": "bird.jpg", "prediction": PREDICTION},
        {"filename": "notes.txt", "error": {"detail": NotAnImage.example, "code": NotAnImage.code}},
    ]
}
CARD: dict[str, JsonValue] = {
    **_MODEL,
    "classes": [*_CLASSES],
    "preprocessing": {"strategy": "shorter-side", "size": 224, "shorter_side": 256, "views": 1},
    "temperature": 0.5,
    "threshold": 0.94,
    "scores": {"validation": {"photos": 151, "accuracy": 0.95, "calibration_error": 0.05}},
    "engine": "onnxruntime",
    "precision": "float32",
}
HEALTH: dict[str, JsonValue] = {"status": "ok", "model": _MODEL, "detail": None}


def _response(**examples: JsonValue) -> dict[str, Any]:
    """Return named examples in the form that FastAPI's `responses` takes."""
    values = {name: {"value": value} for name, value in examples.items()}
    return {"content": {"application/json": {"examples": values}}}


PREDICTION_EXAMPLES = _response(
    plain=PREDICTION,
    not_sure=NOT_SURE,
    grid=PREDICTION | {"evidence": GRID},
    png=PREDICTION | {"evidence": PNG},
)
"""Responses of `/predict`."""
NOT_HEALTHY = _response(
    starting={"status": "starting", "model": None, "detail": "The model is being loaded."},
    failed={
        "status": "failed",
        "model": None,
        "detail": "The model could not be loaded; the service's log says why.",
    },
)
"""Responses of `/health` while no model is loaded."""
