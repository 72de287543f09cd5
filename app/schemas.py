"""What the service answers, as the OpenAPI document shows it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from app.examples import (
    BATCH_EXAMPLE,
    CARD_EXAMPLE,
    ERROR_EXAMPLES,
    EXAMPLE,
    GRID_EXAMPLE,
    HEALTH_EXAMPLE,
    PNG_EXAMPLE,
    REQUEST_ID,
)
from ml.evidence import data_uri, grid, overlay
from ml.images.preprocessing import Preprocessing
from ml.models.card import Card
from ml.predictor import Prediction as Answer


class Image(BaseModel):
    """The photo as it was understood: upright, after its EXIF orientation."""

    width: int
    height: int
    format: str
    frames: Annotated[int, Field(description="Of an animation the first frame is classified.")]
    orientation: Annotated[
        int,
        Field(
            ge=1,
            le=8,
            description="As the file's EXIF has it. The photo was turned upright by it, which not "
            "every viewer does.",
        ),
    ] = 1


class Model(BaseModel):
    """Which model answered."""

    name: str
    version: str


class Timing(BaseModel):
    """Where the time went, in milliseconds."""

    decode: float
    inference: float


EvidenceKind = Literal["none", "grid", "png"]


class EvidenceGrid(BaseModel):
    """What each region of the photo says for or against each class.

    The mean over a class's cells is its logit. With several views, a cell is the average of the
    views that saw it, times how often it was seen in comparison with the average cell.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [GRID_EXAMPLE]})

    rows: int
    columns: int
    region: Annotated[
        tuple[float, float, float, float],
        Field(
            description="Where the grid lies: x0, y0, x1, y1 in pixels of the upright photo, "
            "beyond which it may reach."
        ),
    ]
    views: Annotated[
        list[tuple[float, float, float, float]],
        Field(description="What the network looked at, the same way."),
    ]
    values: Annotated[
        dict[str, list[list[float]]], Field(description="Of every class, row by row from the top.")
    ]
    logits: Annotated[dict[str, float], Field(description="The means of the values.")]


Overlay = Annotated[
    str,
    Field(
        title="Overlay",
        description="A `data:` URI of a PNG of the photo's shape to lay over it: orange speaks "
        "for the label, purple against it, clear says nothing.",
        examples=[PNG_EXAMPLE],
    ),
]


def evidence_of(
    answer: Answer, classes: Sequence[str], kind: EvidenceKind
) -> EvidenceGrid | str | None:
    """Put what speaks for an answer into numbers, or into a picture."""
    if kind == "none":
        return None
    merged = grid(answer)
    if kind == "png":
        values = merged.values[classes.index(answer.label)]
        photo = answer.photo.width, answer.photo.height
        strongest = float(abs(merged.values).max())  # of all classes, so that they compare
        drawn = overlay(values, merged.region, photo, views=answer.boxes, strongest=strongest)
        return data_uri(drawn, "PNG")
    return EvidenceGrid(
        rows=merged.values.shape[1],
        columns=merged.values.shape[2],
        region=merged.region,
        views=answer.boxes,
        values=dict(zip(classes, merged.values.tolist(), strict=True)),
        logits=dict(zip(classes, answer.logits.tolist(), strict=True)),
    )


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
    evidence: EvidenceGrid | Overlay | None = None
    model: Model
    timing_ms: Timing
    request_id: str

    @classmethod
    def of(
        cls,
        answer: Answer,
        card: Card,
        request_id: str,
        top_k: int | None = None,
        evidence: EvidenceGrid | str | None = None,
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
            image=Image(**asdict(photo)),
            evidence=evidence,
            model=Model(name=card.name, version=card.version),
            timing_ms=Timing(
                decode=round(answer.decode_ms, 3), inference=round(answer.inference_ms, 3)
            ),
            request_id=request_id,
        )


class BatchError(BaseModel):
    """Why one photo of a batch has no answer."""

    detail: str
    code: str


class BatchResult(BaseModel):
    """What became of one photo: an answer, or an error."""

    filename: str
    prediction: Prediction | None = None
    error: BatchError | None = None

    @model_serializer(mode="wrap")
    def _one_of_the_two(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        told: dict[str, Any] = handler(self)
        del told["prediction" if self.prediction is None else "error"]
        return told


class Batch(BaseModel):
    """The answers for several photos, in the order in which they were sent."""

    model_config = ConfigDict(json_schema_extra={"examples": [BATCH_EXAMPLE]})

    results: list[BatchResult]


class Error(BaseModel):
    """What went wrong and what to do about it."""

    detail: str
    code: str
    request_id: str

    @staticmethod
    def examples(codes: str) -> dict[str, dict[str, Any]]:
        """Return an error of each of the codes in `codes`, for the OpenAPI document."""
        return {
            code: {"value": {"detail": detail, "code": code, "request_id": REQUEST_ID}}
            for code, detail in ERROR_EXAMPLES.items()
            if f"`{code}`" in codes
        }


class ModelCard(BaseModel):
    """What the model knows, how it wants its input, what was measured of it, what runs it."""

    model_config = ConfigDict(json_schema_extra={"examples": [CARD_EXAMPLE]})

    name: str
    version: str
    classes: list[str]
    preprocessing: Preprocessing
    temperature: Annotated[float, Field(description="Logits are divided by it before softmax.")]
    threshold: Annotated[float, Field(description="Confidence from which answers are accepted.")]
    scores: Annotated[dict[str, Any], Field(description="Measured on held-out photos.")]
    engine: str
    precision: str


class Health(BaseModel):
    """Whether the service can predict."""

    model_config = ConfigDict(json_schema_extra={"examples": [HEALTH_EXAMPLE]})

    status: Literal["ok", "starting", "failed"]
    model: Model | None = None
    detail: str | None = None
