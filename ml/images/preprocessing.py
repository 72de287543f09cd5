"""Turn a photo into the network's input.

Training chooses the `Preprocessing` once and stores it in the model file. Evaluation and serving
read it from there, so that they cannot differ. The network itself normalises its input.
"""

from math import ceil
from typing import Annotated, Literal, Self

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ml.images.colour import Pixels
from ml.images.resize import resize

Strategy = Literal["native", "shorter-side"]
Box = tuple[float, float, float, float]

STRIDE = 32
"""Distance of neighbouring evidence cells, in pixels of the network's input."""

PADDING = (124, 116, 104)
"""The ImageNet mean in RGB. It is close to zero after normalisation, so that padding is neutral."""


class Preprocessing(BaseModel):
    """How a photo becomes RGB bytes (V, size, size, 3): V views, which are crops of the photo.

    `native` keeps the photo's own pixels: it pads a photo that is smaller than `size` and crops
    one that is larger. `shorter-side` first resizes the photo so that its shorter side has
    `shorter_side` pixels. `grid` (`views` in files and HTTP) is the number of views along a
    side: 1 is a single view of the centre; 3 is a grid of 3 x 3 views from edge to edge, whose
    logits are averaged.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True
    )

    strategy: Strategy = "shorter-side"
    size: Annotated[int, Field(ge=32, le=1024)] = 224
    shorter_side: Annotated[int, Field(ge=32, le=2048)] = 256
    grid: Annotated[int, Field(ge=1, le=5, alias="views")] = 1

    @property
    def needed_side(self) -> int | None:
        """How many pixels of a photo's shorter side are needed; None: the full size.

        It is twice `shorter_side`. Compared with full size, no label changed on 1,500 photos, and a
        random crop in training has at least as many pixels as the size that it is resized to.
        """
        return 2 * self.shorter_side if self.strategy == "shorter-side" else None

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.strategy == "shorter-side" and self.shorter_side < self.size:
            raise ValueError("shorter_side must be at least size")
        return self


def boxes(width: int, height: int, preprocessing: Preprocessing) -> list[Box]:
    """Return the box of each view, row by row, as (x0, y0, x1, y1) in pixels of the photo.

    A box extends beyond the photo if `native` pads the photo.
    """
    side = float(preprocessing.size)
    if preprocessing.strategy == "shorter-side":
        side *= min(width, height) / preprocessing.shorter_side
    lefts = _starts(width, side, preprocessing.grid)
    tops = _starts(height, side, preprocessing.grid)
    return [(left, top, left + side, top + side) for top in tops for left in lefts]


def region(box: Box, preprocessing: Preprocessing) -> Box:
    """Return the box that the evidence of a view covers, in pixels of the photo.

    Along each side, cell i (from 0) is centred on pixel 32 i of the network's input, because a
    convolution with stride 2 keeps the first of every two positions. The evidence therefore lies
    half a cell further up and left than the view.
    """
    pixel = (box[2] - box[0]) / preprocessing.size  # photo pixels per pixel of the input
    left, top = (edge - STRIDE / 2 * pixel for edge in box[:2])
    side = ceil(preprocessing.size / STRIDE) * STRIDE * pixel
    return (left, top, left + side, top + side)


def _starts(length: int, side: float, grid: int) -> list[float]:
    """Return where each view starts along one side; views that would coincide become one."""
    room = length - side
    if grid == 1 or room <= 0:
        return [room / 2]
    return [float(start) for start in np.linspace(0.0, room, grid)]


def view(pixels: Pixels, box: Box, preprocessing: Preprocessing) -> Pixels:
    """Cut one view out of the photo: (size, size, 3).

    Resizing the box alone costs less than resizing the photo and cropping it. It also keeps memory
    small for a strip such as 20000 x 2 pixels, whose resized whole would be huge.
    """
    size = preprocessing.size
    if preprocessing.strategy == "shorter-side":
        return resize(pixels, box, size)
    left, top = round(box[0]), round(box[1])
    part = pixels[max(0, top) : top + size, max(0, left) : left + size]
    padded = np.full((size, size, 3), PADDING, np.uint8)
    x, y = max(0, -left), max(0, -top)
    padded[y : y + part.shape[0], x : x + part.shape[1]] = part
    return padded


def network_input(photo: Pixels | Image.Image, preprocessing: Preprocessing) -> Pixels:
    """Cut all views out of an RGB photo: uint8 (V, size, size, 3)."""
    pixels = np.asarray(photo)  # (H, W, 3)
    places = boxes(pixels.shape[1], pixels.shape[0], preprocessing)
    return np.stack([view(pixels, box, preprocessing) for box in places])
