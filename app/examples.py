"""Answers of every kind, for the OpenAPI document; the tests compare them with real ones."""

from typing import Any

from pydantic import JsonValue

REQUEST_ID = "5f3c1e0a9b7d4c2f8e6a1b0c9d8e7f6a"
EXAMPLE: dict[str, JsonValue] = {
    "label": "Flying Birds",
    "confidence": 0.973,
    "accepted": True,
    "probabilities": {
        "Flying Birds": 0.973,
        "Large QuadCopters": 0.011,
        "Small QuadCopters": 0.012,
        "Winged Drones": 0.004,
    },
    "image": {"width": 640, "height": 480, "format": "JPEG", "frames": 1, "orientation": 1},
    "evidence": None,
    "model": {"name": "skyspotter", "version": "0.1.0+1a2b3c4d"},
    "timing_ms": {"decode": 2.6, "inference": 5.1},
    "request_id": REQUEST_ID,
}
NOT_SURE: dict[str, JsonValue] = EXAMPLE | {
    "label": "Large QuadCopters",
    "confidence": 0.52,
    "accepted": False,
    "probabilities": {
        "Flying Birds": 0.05,
        "Large QuadCopters": 0.52,
        "Small QuadCopters": 0.39,
        "Winged Drones": 0.04,
    },
}
GRID_EXAMPLE: dict[str, JsonValue] = {
    "rows": 2,
    "columns": 2,
    "region": [80.0, 0.0, 500.0, 420.0],
    "views": [[110.0, 30.0, 530.0, 450.0]],
    "values": {
        "Flying Birds": [[7.25, 1.5], [0.75, 0.5]],
        "Large QuadCopters": [[1.5, -0.25], [0.25, -0.5]],
        "Small QuadCopters": [[1.25, 0.5], [-0.25, -0.25]],
        "Winged Drones": [[-1.5, 0.25], [0.5, -0.25]],
    },
    "logits": {
        "Flying Birds": 2.5,
        "Large QuadCopters": 0.25,
        "Small QuadCopters": 0.3125,
        "Winged Drones": -0.25,
    },
}
PNG_EXAMPLE = "data:image/png;base64,iVBORw0KGgo…"
BATCH_EXAMPLE: dict[str, JsonValue] = {
    "results": [
        {"filename": "bird.jpg", "prediction": EXAMPLE},
        {
            "filename": "notes.txt",
            "error": {
                "detail": "This file is not an image. Send one of JPEG, PNG, WebP, GIF, BMP, TIFF, "
                "AVIF.",
                "code": "unsupported_format",
            },
        },
    ]
}
CARD_EXAMPLE: dict[str, JsonValue] = {
    "name": "skyspotter",
    "version": "0.1.0+1a2b3c4d",
    "classes": ["Flying Birds", "Large QuadCopters", "Small QuadCopters", "Winged Drones"],
    "preprocessing": {"strategy": "shorter-side", "size": 224, "shorter_side": 256, "views": 1},
    "temperature": 0.5,
    "threshold": 0.94,
    "scores": {"validation": {"photos": 151, "accuracy": 0.95, "calibration_error": 0.05}},
    "engine": "onnxruntime",
    "precision": "float32",
}
HEALTH_EXAMPLE: dict[str, JsonValue] = {
    "status": "ok",
    "model": {"name": "skyspotter", "version": "0.1.0+1a2b3c4d"},
    "detail": None,
}
ERROR_EXAMPLES = {
    "no_image": "The form has no file in its field `file`. Send the photo there.",
    "unauthorized": "This service asks for an API key. Send it as `Authorization: Bearer KEY` or "
    "`X-API-Key: KEY`.",
    "body_too_large": "The request is larger than 20 MB. Send a smaller one.",
    "too_many_pixels": "The photo has 9000x6000 pixels. At most 50 million are accepted: "
    "send a smaller version.",
    "too_many_files": "At most 32 photos are accepted at a time. Send fewer.",
    "unsupported_format": "This file is not an image. Send one of JPEG, PNG, WebP, GIF, BMP, TIFF, "
    "AVIF.",
    "unreadable_image": "This JPEG file is damaged or cut off. Send the whole, original file.",
    "invalid_parameter": "Parameter top_k: Input should be greater than or equal to 1.",
    "internal_error": "Something went wrong in the service. Report the request_id to its operator.",
    "overloaded": "Too many photos are waiting. Try again after `Retry-After` seconds.",
    "not_ready": "The model is not loaded. Try again in a moment; /health says more.",
    "timed_out": "The photo did not arrive, or was not answered, within 30 seconds. Try again, or "
    "send a smaller photo.",
}


def _named(**examples: JsonValue) -> dict[str, Any]:
    told = {name: {"value": value} for name, value in examples.items()}
    return {"content": {"application/json": {"examples": told}}}


PREDICTIONS = _named(
    plain=EXAMPLE,
    not_sure=NOT_SURE,
    grid=EXAMPLE | {"evidence": GRID_EXAMPLE},
    png=EXAMPLE | {"evidence": PNG_EXAMPLE},
)
"""What `/predict` answers, as FastAPI wants to be told of a response."""
NOT_HEALTHY = _named(
    starting={"status": "starting", "model": None, "detail": "The model is being loaded."},
    failed={
        "status": "failed",
        "model": None,
        "detail": "The model could not be loaded; the service's log says why.",
    },
)
"""What `/health` answers while nothing can be predicted, the same way."""
