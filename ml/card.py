"""The model card that every model file carries: what it knows, and how it wants its input.

ONNX and safetensors both hold text metadata; each field stands there as JSON under its own name.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml.errors import ModelError
from ml.preprocessing import Preprocessing


class Split(BaseModel):
    """How an image folder without a split of its own is dealt out: the same way by the same seed.

    It travels with the model, so that evaluation finds the photos that training never saw.
    """

    model_config = ConfigDict(frozen=True)

    seed: int = 0
    test: Annotated[float, Field(ge=0, lt=1)] = 0.3
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """Of what is not test: it chooses the best epoch and calibrates."""


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

    def with_views(self, views: int) -> "Card":
        """Return the same card with another grid of views."""
        preprocessing = self.preprocessing.model_copy(update={"views": views})
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
