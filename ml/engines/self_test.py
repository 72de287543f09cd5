"""The self-test in a model file: a few pictures and the logits that the model must give for them.

Every engine runs it before its first prediction. It detects processors and libraries that compute
other logits: on x86 without VNNI, for example, sums of int8 products saturate.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from zlib import compress, decompress

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from ml.engines.base import Engine, Pixels
from ml.errors import ModelError

KEY = "reference"
SIDE = 64
"""Side of a stored picture in pixels. Pictures are enlarged to the size of the network's input."""


class SelfTest(BaseModel):
    """Pictures, the logits of each, and the tolerance."""

    model_config = ConfigDict(frozen=True)

    pictures: str
    """RGB bytes (N, 64, 64, 3), compressed with zlib, as base64."""
    logits: tuple[tuple[float, ...], ...]  # (N, C)
    tolerance: float
    """Largest allowed difference of a logit."""

    @classmethod
    def of(cls, engine: Engine, pictures: Pixels, tolerance: float) -> "SelfTest":
        """Make a self-test from pictures (N, 64, 64, 3) and an engine whose logits are correct."""
        logits, _ = engine.run(_enlarged(pictures, engine.card.preprocessing.size))
        text = b64encode(compress(pictures.tobytes(), level=9)).decode()
        return cls(pictures=text, logits=logits.tolist(), tolerance=tolerance)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "SelfTest | None":
        """Read the self-test from the metadata of a model file; older files have none.

        Raises:
            ModelError: if it is invalid.
        """
        try:
            return cls.model_validate_json(metadata[KEY]) if KEY in metadata else None
        except ValidationError as error:
            raise ModelError("The self-test in the model file cannot be read.") from error

    def to_metadata(self) -> dict[str, str]:
        """Return the self-test as metadata of a model file."""
        return {KEY: self.model_dump_json()}

    def difference(self, engine: Engine) -> float:
        """Return the largest difference of the engine's logits from the stored ones."""
        stored = np.frombuffer(decompress(b64decode(self.pictures)), np.uint8)
        pictures = stored.reshape(len(self.logits), SIDE, SIDE, 3)
        pixels = _enlarged(pictures, engine.card.preprocessing.size)
        # One at a time, as in serving, so that memory does not grow with the number of pictures.
        found = np.concatenate([engine.run(pixels[i : i + 1])[0] for i in range(len(pixels))])
        return float(np.abs(found - np.array(self.logits)).max())

    def check(self, engine: Engine) -> None:
        """Raise ModelError if an engine does not give the stored logits."""
        failed = f"The self-test of the {engine.card.precision} model fails with {engine.name}"
        try:
            difference = self.difference(engine)
        except Exception as error:  # damaged pictures, or a network with other inputs
            raise ModelError(f"{failed}: {error}") from error
        if not difference <= self.tolerance:  # also if it is nan
            raise ModelError(
                f"{failed}: logits are off by {difference:.2g} ({self.tolerance:g} is allowed). "
                "Use another precision or engine."
            )


def _enlarged(pictures: Pixels, side: int) -> Pixels:
    """Enlarge to (N, side, side, 3) by nearest pixel, which every machine computes alike."""
    nearest = np.arange(side) * SIDE // side
    return np.ascontiguousarray(pictures[:, nearest][:, :, nearest])
