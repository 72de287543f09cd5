"""What the service answers, as the OpenAPI document shows it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ml.predictor import Prediction as Answer

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
    "image": {"width": 640, "height": 480, "format": "JPEG", "frames": 1},
    "evidence": None,
    "model": {"name": "skyspotter", "version": "0.1.0+1a2b3c4d"},
    "timing_ms": {"decode": 2.6, "inference": 5.1},
    "request_id": "5f3c1e0a9b7d4c2f8e6a1b0c9d8e7f6a",
}


class Image(BaseModel):
    """The photo as it was understood: upright, after its EXIF orientation."""

    width: int
    height: int
    format: str
    frames: Annotated[int, Field(description="Of an animation the first frame is classified.")]


class Model(BaseModel):
    """Which model answered."""

    name: str
    version: str


class Timing(BaseModel):
    """Where the time went, in milliseconds."""

    decode: float
    inference: float


class Prediction(BaseModel):
    """The answer for one photo."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    label: Annotated[str, Field(description="The class with the largest probability.")]
    confidence: Annotated[float, Field(description="Its probability.")]
    accepted: Annotated[bool, Field(description="False where the model would rather not say.")]
    probabilities: Annotated[
        dict[str, float], Field(description="Of every class, in the model's order; sums to 1.")
    ]
    image: Image
    evidence: dict[str, Any] | None = None
    model: Model
    timing_ms: Timing
    request_id: str

    @classmethod
    def of(
        cls, answer: Answer, model: Model, request_id: str, top_k: int | None = None
    ) -> "Prediction":
        """Put a predictor's answer into words."""
        photo = answer.photo
        chances = answer.probabilities
        if top_k is not None:
            chances = dict(sorted(chances.items(), key=lambda item: -item[1])[:top_k])
        return cls(
            label=answer.label,
            confidence=answer.confidence,
            accepted=answer.accepted,
            probabilities=chances,
            image=Image(
                width=photo.width, height=photo.height, format=photo.format, frames=photo.frames
            ),
            model=model,
            timing_ms=Timing(
                decode=round(answer.decode_ms, 3), inference=round(answer.inference_ms, 3)
            ),
            request_id=request_id,
        )


class Error(BaseModel):
    """What went wrong and what to do about it."""

    detail: str
    code: str
    request_id: str


class Health(BaseModel):
    """Whether the service can predict."""

    status: Literal["ok", "starting", "failed"]
    model: Model | None = None
    detail: str | None = None
