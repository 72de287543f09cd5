"""What each region of a photo says for or against each class: the views' maps made one, and drawn.

The network gives each cell of a view its own logits, whose mean is the view's logit
(`ml/model.py`). Here the views' maps become one regular grid in the photo's pixels, of which the
same holds, and a grid becomes a picture to lay over the photo.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ml.images.preprocessing import Box
from ml.predictor import Prediction

Floats = npt.NDArray[np.float64]

LONGEST = 1024
"""Longer side of a drawn map, in pixels; a browser scales it to the photo."""

# ColorBrewer's five classes of PuOr, turned round: purple against, orange for. It is one of its
# diverging schemes that colour-blind people can read, and no sky has its colours.
# Brewer, Harrower and Pennsylvania State University, https://colorbrewer2.org, Apache License 2.0.
_COLOURS = np.array(
    ((94, 60, 153), (178, 171, 210), (247, 247, 247), (253, 184, 99), (230, 97, 1)), dtype=float
)
_OPAQUE = 230  # of 255, for the strongest: the photo is to be seen through it
_STEPS = np.clip(np.arange(-128, 128) / 127, -1, 1)
PALETTE = np.column_stack(
    [np.interp(_STEPS, np.linspace(-1, 1, 5), channel) for channel in _COLOURS.T]
    + [_OPAQUE * abs(_STEPS)]
).astype(np.uint8)
"""Red, green, blue and opacity, uint8 (256, 4); 128 is zero, and clear."""


@dataclass(frozen=True)
class Grid:
    """A regular grid over a region of the photo."""

    values: Floats
    """(C, rows, columns); the mean over rows and columns is the logit, (C,)."""
    region: Box
    """In pixels of the upright photo; may reach beyond it."""


def grid(prediction: Prediction) -> Grid:
    """Merge the evidence of all views into one grid over all that they saw.

    A prediction's logit is the mean over all cells of all views: each cell has its share of it.
    A cell of the grid gets the shares of the views' cells that it overlaps, by area. So it holds
    the average of the views that saw its place, times how often it was seen in comparison with
    the average place: what was seen twice counted twice, what was not seen at all holds zero. No
    share is lost or made up, so the mean over the grid is the logit, wherever the views lie.
    Of one view, the grid is the view's own map.

    What rounding in an engine (float32, or int8) leaves between a logit and its evidence is
    spread evenly over the cells; in float32 it is below 1e-5.
    """
    regions = np.array(prediction.regions)  # (V, 4)
    low, high = regions[:, :2].min(axis=0), regions[:, 2:].max(axis=0)
    side, cells = regions[0, 2] - regions[0, 0], prediction.evidence.shape[-1]
    across, down = (
        _overlaps((regions[:, axis] - low[axis]) / side, (high - low)[axis] / side, cells)
        for axis in (0, 1)
    )  # (V, columns, cells), (V, rows, cells)
    shares = down[:, None] @ prediction.evidence @ across[:, None].swapaxes(2, 3)
    values = shares.mean(axis=0) * down.shape[1] * across.shape[1]  # (C, rows, columns)
    values += (prediction.logits - values.mean(axis=(1, 2)))[:, None, None]
    left, top, right, bottom = (float(edge) for edge in (*low, *high))
    return Grid(values, (left, top, right, bottom))


def _overlaps(starts: Floats, extent: float, cells: int) -> Floats:
    """How much of each of a grid's cells each cell of a view covers, along one side.

    All lengths are in sides of a view. The grid's cells are about as large as a view's, and no
    more than the views have together: they are larger where views lie far apart.

    Returns:
        (V, cells of the grid, cells of a view)
    """
    count = min(round(extent * cells), len(set(starts)) * cells)
    edges = np.linspace(0, extent, count + 1)[None, :, None]
    own = (starts[:, None] + np.linspace(0, 1, cells + 1))[:, None, :]  # (V, 1, cells + 1)
    ends = np.minimum(edges[:, 1:], own[:, :, 1:])
    overlaps: Floats = np.maximum(ends - np.maximum(edges[:, :-1], own[:, :, :-1]), 0)
    return overlaps


def overlay(
    values: Floats,
    region: Box,
    photo: tuple[int, int],
    longest: int = LONGEST,
    views: Sequence[Box] = (),
    strongest: float | None = None,
) -> Image.Image:
    """Draw a grid as a picture of the photo's shape, to lay over it at whatever size.

    Orange speaks for, purple against, the more opaque the more. It is clear where nothing is
    said: by cells near zero, and outside the views. Cells outside the photo are cut. What a view
    saw beyond the grid, up to half a cell, is drawn as the nearest cell. The page draws alike
    (`app/page/evidence.js`).

    Args:
        values: (rows, columns).
        region: where they lie, in pixels of the photo.
        photo: its width and height; the picture is smaller where a side exceeds `longest`.
        views: what the network looked at; left out, the region.
        strongest: the value of full colour; left out, that of the strongest cell.

    Returns:
        A picture with a palette, so that its file is small; `convert("RGBA")` turns it to colours.
    """
    width, height = (max(1, round(side * min(1, longest / max(photo)))) for side in photo)
    strongest = max(float(abs(values).max()) if strongest is None else strongest, 1e-9)
    (rows, columns), (left, top, right, bottom) = values.shape, region
    x_cell, y_cell = (right - left) / columns, (bottom - top) / rows
    wider = (left - x_cell, top - y_cell, right + x_cell, bottom + y_cell)
    drawn = spread(np.pad(values, 1, mode="edge"), wider, photo, (width, height))
    drawn *= _within(views or (region,), photo, (width, height))
    steps = np.rint(drawn / strongest * 127) + 128
    picture = Image.fromarray(steps.astype(np.uint8))
    picture.putpalette(PALETTE.tobytes(), "RGBA")
    return picture


def _within(
    views: Sequence[Box], photo: tuple[int, int], size: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Which pixels of a photo scaled to `size` a view saw, (height, width)."""
    x, y = ((np.arange(n) + 0.5) * side / n for n, side in zip(size, photo, strict=True))
    across, down = (
        np.array([(view[axis] <= at) & (at <= view[axis + 2]) for view in views])
        for axis, at in enumerate((x, y))
    )  # (V, width), (V, height)
    seen: npt.NDArray[np.bool_] = (down[:, :, None] & across[:, None]).any(axis=0)
    return seen


def spread(
    values: npt.NDArray[np.floating[Any]],
    region: Box,
    photo: tuple[int, int],
    size: tuple[int, int],
) -> Floats:
    """Spread a grid over the pixels of a photo, scaled to `size`; bilinear, zero outside.

    Args:
        values: (rows, columns).
        region: where they lie, in pixels of the photo.
        photo: its width and height.
        size: width and height of the result.

    Returns:
        (height, width)
    """
    (rows, columns), (left, top, right, bottom) = values.shape, region
    x_step, y_step = columns / (right - left), rows / (bottom - top)  # cells in a pixel
    to_cells = (
        *(x_step * photo[0] / size[0], 0, -left * x_step),
        *(0, y_step * photo[1] / size[1], -top * y_step),
    )
    cells = Image.fromarray(values.astype(np.float32))
    drawn = cells.transform(size, Image.Transform.AFFINE, to_cells, Image.Resampling.BILINEAR)
    return np.asarray(drawn, dtype=float)


def data_uri(image: Image.Image, kind: str, **options: int | bool) -> str:
    """Write an image file into a `data:` URI."""
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{b64encode(buffer.getvalue()).decode()}"
