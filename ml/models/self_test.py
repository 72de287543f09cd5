"""Pictures and the logits that a model file must give for them, carried in the file itself.

Whatever runs a file is asked for them first: a processor or library that computes something else
is found before it answers anybody. On x86 without VNNI, for one, sums of int8 products saturate.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from zlib import compress, decompress

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from ml.errors import ModelError
from ml.models.engine import Engine, Floats, Pixels

KEY = "reference"
SIDE = 64
"""Side of a stored picture; each pixel is repeated up to the side that the network wants."""


class Reference(BaseModel):
    """A few pictures, the logits for each, and how far off these may be."""

    model_config = ConfigDict(frozen=True)

    pictures: str
    """RGB bytes (N, 64, 64, 3), deflated, in base64."""
    logits: tuple[tuple[float, ...], ...]  # (N, C)
    tolerance: float
    """Largest difference of a logit that counts as the same answer."""

    @classmethod
    def of(cls, engine: Engine, pictures: Pixels, tolerance: float) -> "Reference":
        """Ask an engine that is known to be right for its logits of pictures (N, 64, 64, 3)."""
        logits, _ = engine.run(_enlarged(pictures, engine.card.preprocessing.size))
        text = b64encode(compress(pictures.tobytes(), level=9)).decode()
        return cls(pictures=text, logits=logits.tolist(), tolerance=tolerance)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "Reference | None":
        """Read it out of a model file's metadata; older files have none.

        Raises:
            ModelError: where it makes no sense.
        """
        try:
            return cls.model_validate_json(metadata[KEY]) if KEY in metadata else None
        except ValidationError as error:
            raise ModelError("The model file's reference inputs cannot be read.") from error

    def to_metadata(self) -> dict[str, str]:
        """Return it as text, ready for a model file."""
        return {KEY: json.dumps(self.model_dump())}

    def difference(self, engine: Engine) -> float:
        """Largest difference of a logit that the engine gives."""
        stored = np.frombuffer(decompress(b64decode(self.pictures)), np.uint8)
        pictures = stored.reshape(len(self.logits), SIDE, SIDE, 3)
        pixels = _enlarged(pictures, engine.card.preprocessing.size)
        # One at a time, as photos come: memory stays that of one.
        found: Floats = np.concatenate(
            [engine.run(pixels[i : i + 1])[0] for i in range(len(pixels))]
        )
        return float(np.abs(found - np.array(self.logits)).max())

    def check(self, engine: Engine) -> None:
        """Make sure that an engine gives these logits.

        Raises:
            ModelError: where it does not.
        """
        try:
            difference = self.difference(engine)
        except Exception as error:  # damaged pictures, or a network that takes something else
            raise ModelError(
                f"The {engine.card.precision} model cannot be checked with {engine.name}: {error}"
            ) from error
        if not difference <= self.tolerance:  # nan too
            raise ModelError(
                f"The {engine.card.precision} model does not compute here what it should with "
                f"{engine.name}: logits of its reference inputs are off by {difference:.2g} "
                f"({self.tolerance:g} is allowed). Use another precision or engine."
            )


def _enlarged(pictures: Pixels, side: int) -> Pixels:
    """(N, 64, 64, 3) to (N, side, side, 3), by the same rule everywhere: the nearest pixel."""
    nearest = np.arange(side) * SIDE // side
    return np.ascontiguousarray(pictures[:, nearest][:, :, nearest])
