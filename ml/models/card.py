"""The model card that every model file carries: what it knows, and how it wants its input.

ONNX and safetensors both hold text metadata; each field stands there as JSON under its own name.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml.errors import ModelError
from ml.images.preprocessing import Preprocessing


class Split(BaseModel):
    """How an image folder without a split of its own is dealt out: the same way by the same seed.

    It travels with the model, so that evaluation finds the photos that training never saw.
    """

    model_config = ConfigDict(frozen=True)

    seed: int = 0
    test: Annotated[float, Field(ge=0, lt=1)] = 0.3
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """Of what is not test: it chooses the best epoch and calibrates."""


class Quantised(BaseModel):
    """What int8 made of a float32 model, measured on photos that neither was trained on."""

    model_config = ConfigDict(frozen=True)

    split: str
    """Which of the folder's photos these were."""
    photos: int
    accuracy: float
    accuracy_float32: float
    calibration_error: float
    calibration_error_float32: float
    label_agreement: float
    """Share of the photos to which both give the same label."""
    largest_probability_difference: float

    @property
    def cost(self) -> float:
        """What int8 costs of the accuracy; below zero where it gains."""
        return self.accuracy_float32 - self.accuracy

    @property
    def calibration_cost(self) -> float:
        """How much further off confidences are; below zero where they are nearer."""
        return self.calibration_error - self.calibration_error_float32


class Card(BaseModel):
    """What stands in a model file beside its parameters."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = "skyspotter"
    version: str
    network: Literal["skyspotter", "plain"] = "skyspotter"
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    preprocessing: Preprocessing
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """The logits are divided by it before softmax."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
    """An answer whose confidence is below it is not accepted."""
    split: Split = Split()
    scores: dict[str, Any] = {}
    """What was measured of this model, and on what."""
    quantised: Quantised | None = None
    """Of an int8 model alone."""

    @property
    def precision(self) -> Literal["float32", "int8"]:
        """In what the network computes."""
        return "int8" if self.quantised else "float32"

    def with_grid(self, grid: int) -> "Card":
        """Return a copy of the card for a grid of `grid` x `grid` views."""
        preprocessing = self.preprocessing.model_copy(update={"grid": grid})
        return self.model_copy(update={"preprocessing": preprocessing})

    def to_metadata(self) -> dict[str, str]:
        """Return the fields as text, ready for a model file."""
        return {name: json.dumps(value) for name, value in self.model_dump(mode="json").items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "Card":
        """Read the card out of a model file's metadata.

        Raises:
            ModelError: where a field is missing or makes no sense.
        """
        try:
            known = {key: json.loads(metadata[key]) for key in cls.model_fields if key in metadata}
            return cls.model_validate(known)
        except (ValueError, ValidationError) as error:
            raise ModelError(
                "The model file carries no readable Skyspotter card. Use a file written by "
                "`python -m ml train` or `python -m ml export`."
            ) from error
