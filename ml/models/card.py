"""The model card in every model file: classes, preprocessing, calibration and scores.

It is stored in the metadata of the ONNX or safetensors file: each field as JSON under its name.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ml.errors import ModelError, plural
from ml.images.preprocessing import Preprocessing


class Split(BaseModel):
    """How to split an image folder that has no split of its own; the same seed splits alike.

    The card stores it, so that evaluation knows which photos were not used in training.
    """

    model_config = ConfigDict(frozen=True)

    seed: int = 0
    test: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Fraction of all photos."""
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """Fraction of the rest. These photos select the best epoch and calibrate the model."""


class Quantised(BaseModel):
    """An int8 model compared with its float32 model, on photos that were not used in training."""

    model_config = ConfigDict(frozen=True)

    split: str
    """The split that the photos belong to."""
    photos: int
    accuracy: float
    accuracy_float32: float
    calibration_error: float
    calibration_error_float32: float
    label_agreement: float
    """Fraction of the photos that get the same label from both models."""
    largest_probability_difference: float

    def summary(self) -> str:
        """Compare int8 with float32 in one sentence."""
        photos = plural(self.photos, "photo")
        return (
            f"accuracy {self.accuracy:.2%} (float32: {self.accuracy_float32:.2%}), calibration "
            f"error {self.calibration_error:.2%} ({self.calibration_error_float32:.2%}), "
            f"same label for {self.label_agreement:.1%} of {photos} ({self.split}), "
            f"probabilities differ by at most {self.largest_probability_difference:.3f}"
        )


class Card(BaseModel):
    """The metadata of a model file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = "skyspotter"
    version: str
    network: Literal["skyspotter", "plain"] = "skyspotter"
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    preprocessing: Preprocessing
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """The logits are divided by it before softmax."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
    """A prediction whose confidence is below it is not accepted."""
    split: Split = Split()
    scores: dict[str, Any] = {}
    """Metrics of this model, by the split that they were measured on."""
    quantised: Quantised | None = None
    """Set only for an int8 model."""

    @property
    def precision(self) -> Literal["float32", "int8"]:
        """The number format that the network computes in."""
        return "int8" if self.quantised else "float32"

    def with_grid(self, grid: int) -> "Card":
        """Return a copy of the card with `grid` x `grid` views."""
        preprocessing = self.preprocessing.model_copy(update={"grid": grid})
        return self.model_copy(update={"preprocessing": preprocessing})

    def to_metadata(self) -> dict[str, str]:
        """Return the card as the metadata of a model file."""
        return {name: json.dumps(value) for name, value in self.model_dump(mode="json").items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "Card":
        """Read the card from the metadata of a model file.

        Raises:
            ModelError: if a field is missing or invalid.
        """
        try:
            known = {key: json.loads(metadata[key]) for key in cls.model_fields if key in metadata}
            return cls.model_validate(known)
        except ValueError as error:  # invalid JSON, or an invalid field
            raise ModelError(
                "The model file has no readable Skyspotter card. Use a file written by "
                "`python -m ml train` or `python -m ml export`."
            ) from error
