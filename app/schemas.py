"""The JSON that the service returns, as the OpenAPI document describes it."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_serializer

from app import examples
from ml.images.preprocessing import Box, Preprocessing

EvidenceKind = Literal["none", "grid", "png"]


def _example(value: dict[str, JsonValue]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [value]})


class Image(BaseModel):
    """The photo as it was decoded, upright according to its EXIF orientation."""

    width: int
    height: int
    format: str
    frames: int = Field(description="Only the first frame of an animation is classified.")
    orientation: int = Field(
        1, ge=1, le=8, description="The EXIF orientation, already applied; some viewers ignore it."
    )


class Model(BaseModel):
    """The model that made the prediction."""

    name: str
    version: str


class Timing(BaseModel):
    """Durations in milliseconds."""

    decode: float
    inference: float


class EvidenceGrid(BaseModel):
    """How much each region of the photo supports or opposes each class.

    The mean over the cells of a class is its logit. With several views, a cell sums the views
    that cover it, and all cells are scaled so that their mean stays the logit.
    """

    model_config = _example(examples.GRID)

    rows: int
    columns: int
    region: Box = Field(
        description="The area of the grid: x0, y0, x1, y1 in pixels of the upright photo. It may "
        "extend beyond the photo."
    )
    views: list[Box] = Field(description="The areas that the network saw, in the same form.")
    values: dict[str, list[list[float]]] = Field(
        description="The cells of every class, row by row from the top."
    )
    logits: dict[str, float] = Field(description="The mean of the values of every class.")


Overlay = Annotated[
    str,
    Field(
        title="Overlay",
        description="A `data:` URI of a PNG to lay over the photo: orange supports the label, "
        "purple opposes it; transparent regions are neutral.",
        examples=[examples.PNG],
    ),
]


class Prediction(BaseModel):
    """The prediction for one photo."""

    model_config = _example(examples.PREDICTION)

    label: str = Field(description="The class with the largest probability.")
    confidence: float = Field(description="The probability of the label.")
    accepted: bool = Field(description="False if the confidence is below the threshold.")
    probabilities: dict[str, float] = Field(
        description="Every class in the model's order. The sum is 1."
    )
    image: Image
    evidence: EvidenceGrid | Overlay | None = None
    model: Model
    timing_ms: Timing
    request_id: str


class BatchError(BaseModel):
    """Why one photo of a batch has no prediction."""

    detail: str
    code: str


class BatchResult(BaseModel):
    """One photo of a batch: its prediction or its error."""

    filename: str
    prediction: Prediction | None = None
    error: BatchError | None = None

    @model_serializer(mode="wrap")
    def _omit_the_empty_field(self, serialize: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        fields = serialize(self)
        del fields["prediction" if self.prediction is None else "error"]
        return fields


class Batch(BaseModel):
    """The results for several photos, in the order of the request."""

    model_config = _example(examples.BATCH)

    results: list[BatchResult]


class Error(BaseModel):
    """What went wrong and what to do about it."""

    detail: str = Field(description="One sentence that says what to do.")
    code: str = Field(description="A name for programs, which does not change.")
    request_id: str


class ModelCard(BaseModel):
    """The model: classes, preprocessing, measured scores, and the engine that runs it."""

    model_config = _example(examples.CARD)

    name: str
    version: str
    classes: list[str]
    preprocessing: Preprocessing
    temperature: float = Field(description="The logits are divided by it before softmax.")
    threshold: float = Field(description="Predictions with at least this confidence are accepted.")
    scores: dict[str, Any] = Field(description="Measured on held-out photos.")
    engine: str
    precision: str


class Health(BaseModel):
    """Whether the service is ready."""

    model_config = _example(examples.HEALTH)

    status: Literal["ok", "starting", "failed"]
    model: Model | None = None
    detail: str | None = None
