"""From a photo to the network's input: the resizing strategy, chosen once at training.

A model file carries its `Preprocessing`; evaluation and serving read it from there, so that
they cannot differ. Normalisation is part of the network's graph and has no place here.
"""

from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

Strategy = Literal["native", "shorter-side"]
Box = tuple[float, float, float, float]

PADDING = (124, 116, 104)
"""The mean of ImageNet in RGB: close to zero once normalised, so that padding says nothing."""


class Preprocessing(BaseModel):
    """How a photo becomes V x size x size x 3 RGB bytes, V views of it.

    `native` keeps the photo's own pixels: it pads what is smaller than `size` and crops what is
    larger. `shorter-side` does so after resizing the photo to `shorter_side` on that side.
    `views` is one crop in the centre (1) or a grid of views x views from edge to edge, whose
    logits are averaged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: Strategy = "shorter-side"
    size: Annotated[int, Field(ge=32, le=1024)] = 224
    shorter_side: Annotated[int, Field(ge=32, le=2048)] = 256
    views: Annotated[int, Field(ge=1, le=5)] = 1

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.strategy == "shorter-side" and self.shorter_side < self.size:
            raise ValueError("shorter_side must be at least size")
        return self


def boxes(width: int, height: int, preprocessing: Preprocessing) -> list[Box]:
    """Where the views lie, row by row, as (x0, y0, x1, y1) in the photo's own pixels.

    A box reaches beyond the photo where `native` pads.
    """
    side = float(preprocessing.size)
    if preprocessing.strategy == "shorter-side":
        side *= min(width, height) / preprocessing.shorter_side
    lefts = _starts(width, side, preprocessing.views)
    tops = _starts(height, side, preprocessing.views)
    return [(left, top, left + side, top + side) for top in tops for left in lefts]


def _starts(length: int, side: float, views: int) -> list[float]:
    """Start of each view along one side; views that would coincide are one."""
    room = length - side
    if views == 1 or room <= 0:
        return [room / 2]
    return [float(start) for start in np.linspace(0.0, room, views)]


def view(image: Image.Image, box: Box, preprocessing: Preprocessing) -> Image.Image:
    """Cut one view out of the photo, at the network's size.

    Resizing just the box costs less than resizing the photo and cropping it, and a strip of
    20000 x 2 pixels never becomes the monster that its resized whole would be.
    """
    size = preprocessing.size
    if preprocessing.strategy == "shorter-side":
        return image.resize((size, size), Image.Resampling.BILINEAR, box=box)
    left, top = round(box[0]), round(box[1])
    padded = Image.new("RGB", (size, size), PADDING)
    padded.paste(image, (-left, -top))
    return padded


def network_input(image: Image.Image, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """All views of an RGB photo as uint8, (V, size, size, 3)."""
    places = boxes(image.width, image.height, preprocessing)
    return np.stack([np.asarray(view(image, box, preprocessing)) for box in places])
