"""Evidence: how much each region of a photo supports or opposes each class.

The network computes logits for each cell of a view, and their mean is the view's logit
(`ml/model.py`). `grid` merges the cells of all views into one regular grid over the photo, whose
mean is again the logit. `overlay` draws such a grid as a picture to lay over the photo.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from ml.images.preprocessing import Box
from ml.predictor import Prediction

Floats = npt.NDArray[np.float64]

# ColorBrewer's diverging scheme PuOr in five classes, reversed: purple is against the class, orange
# is for it. Colour-blind people can tell the two apart, and no sky has these colours.
# Brewer, Harrower and Pennsylvania State University, https://colorbrewer2.org, Apache License 2.0.
_COLOURS = np.array(
    ((94, 60, 153), (178, 171, 210), (247, 247, 247), (253, 184, 99), (230, 97, 1)), dtype=float
)
_MAX_OPACITY = 230  # of 255: the photo stays visible under the strongest cell
_STEPS = np.clip(np.arange(-128, 128) / 127, -1, 1)
PALETTE = np.column_stack(
    [np.interp(_STEPS, np.linspace(-1, 1, 5), channel) for channel in _COLOURS.T]
    + [_MAX_OPACITY * abs(_STEPS)]
).astype(np.uint8)
"""RGBA, uint8 (256, 4), from strongly against to strongly for. Entry 128 is transparent zero."""


@dataclass(frozen=True)
class Grid:
    """A regular grid over a region of the photo."""

    values: Floats  # (C, rows, columns); the mean over rows and columns is the logit (C,)
    region: Box  # in pixels of the upright photo; may extend beyond it


def grid(prediction: Prediction) -> Grid:
    """Merge the evidence of all views into one grid that covers them all.

    A logit is the mean over all cells of all views, so each cell contributes a share of it. A cell
    of the grid sums the shares of the view cells that it overlaps, weighted by area: a region in
    two views counts twice, a region in no view is zero. The total of all shares is kept, so the
    mean over the grid is the logit wherever the views lie. With one view, the grid is the evidence
    of that view.

    An engine rounds, so a logit may differ from the mean of its evidence (in float32 by less than
    1e-5). The difference is distributed evenly over the cells.
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
    """Return how long each cell of the grid and each cell of a view overlap along one axis.

    Lengths are in sides of a view. Cells of the grid are about as large as cells of a view. They
    are larger if the views lie far apart, because the grid never has more cells along an axis than
    all views together.

    Args:
        starts: the position of each view on the grid (V,).
        extent: the length of the grid.
        cells: the number of cells of a view.

    Returns:
        (V, cells of the grid, cells of a view)
    """
    count = min(round(extent * cells), len(set(starts)) * cells)
    grid_edges = np.linspace(0, extent, count + 1)[None, :, None]
    view_edges = (starts[:, None] + np.linspace(0, 1, cells + 1))[:, None, :]
    overlap_ends = np.minimum(grid_edges[:, 1:], view_edges[:, :, 1:])
    overlap_starts = np.maximum(grid_edges[:, :-1], view_edges[:, :, :-1])
    return np.asarray(np.maximum(overlap_ends - overlap_starts, 0))


def overlay(
    values: Floats,
    region: Box,
    photo: tuple[int, int],
    longest: int = 1024,
    views: Sequence[Box] = (),
    strongest: float | None = None,
) -> Image.Image:
    """Draw a grid as a picture with the photo's aspect ratio, to lay over the photo at any size.

    Orange is evidence for the class, purple is evidence against it, and stronger evidence is more
    opaque. Values near zero and the area outside the views are transparent. The web page draws in
    the same way (`app/page/evidence.js`).

    Args:
        values: (rows, columns).
        region: the box that the grid covers, in pixels of the photo; may extend beyond it.
        photo: width and height of the photo.
        longest: limit on the longer side of the picture, in pixels.
        views: the boxes of the views; by default the region.
        strongest: the value that is drawn in full colour; by default that of the strongest cell.

    Returns:
        A picture with a palette, so that its file is small. `convert("RGBA")` makes it RGBA.
    """
    width, height = (max(1, round(side * min(1, longest / max(photo)))) for side in photo)
    strongest = max(float(abs(values).max()) if strongest is None else strongest, 1e-9)
    drawn = interpolate(values, region, photo, (width, height))
    drawn = drawn * _pixels_in_views(views or (region,), photo, (width, height))
    steps = np.rint(drawn / strongest * 127) + 128
    picture = Image.fromarray(steps.astype(np.uint8))
    picture.putpalette(PALETTE.tobytes(), "RGBA")
    return picture


def _pixels_in_views(
    views: Sequence[Box], photo: tuple[int, int], size: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Return which pixels of a photo scaled to `size` lie in a view: (height, width)."""
    x, y = ((np.arange(n) + 0.5) * side / n for n, side in zip(size, photo, strict=True))
    across, down = (
        np.array([(view[axis] <= at) & (at <= view[axis + 2]) for view in views])
        for axis, at in enumerate((x, y))
    )  # (V, width), (V, height)
    return np.asarray((down[:, :, None] & across[:, None]).any(axis=0))


def interpolate(
    values: Floats, region: Box, photo: tuple[int, int], size: tuple[int, int]
) -> Floats:
    """Interpolate a grid bilinearly over a photo scaled to `size` (width, height).

    A view can extend half a cell beyond the grid. That margin gets the value of the nearest cell;
    pixels more than one cell away from the grid are zero. Cells outside the photo are cut off. The
    other arguments are those of `overlay`.

    Returns:
        (height, width)
    """
    (rows, columns), (left, top, right, bottom) = values.shape, region
    x_step, y_step = columns / (right - left), rows / (bottom - top)  # cells per pixel
    to_cells = (  # of the padded grid, whose first row and column are the margin
        *(x_step * photo[0] / size[0], 0, 1 - left * x_step),
        *(0, y_step * photo[1] / size[1], 1 - top * y_step),
    )
    cells = Image.fromarray(np.pad(values, 1, mode="edge").astype(np.float32))
    drawn = cells.transform(size, Image.Transform.AFFINE, to_cells, Image.Resampling.BILINEAR)
    return np.asarray(drawn, dtype=float)


def data_uri(image: Image.Image, kind: str, **options: int | bool) -> str:
    """Encode an image as a `data:` URI."""
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{b64encode(buffer.getvalue()).decode()}"
