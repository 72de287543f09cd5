from base64 import b64decode
from dataclasses import replace
from io import BytesIO
from itertools import product

import numpy as np
import pytest
from PIL import Image

from ml.evidence import PALETTE, Floats, data_uri, grid, overlay
from ml.images.preprocessing import Box
from ml.predictor import Prediction, Predictor


def views_at(prediction: Prediction, *starts: tuple[float, float]) -> Prediction:
    """A prediction with random evidence, whose views have 28 x 28 pixels, 4 x 4 per cell."""
    evidence = np.random.default_rng(0).normal(1, 3, (len(starts), 4, 7, 7)).astype(np.float32)
    regions: list[Box] = [(x, y, x + 28, y + 28) for x, y in starts]
    return replace(
        prediction, evidence=evidence, regions=regions, logits=evidence.mean(axis=(0, 2, 3))
    )


def sum_per_pixel(prediction: Prediction) -> Floats:
    """The evidence of all views added up per pixel: (C, height, width) of the area they cover."""
    starts = np.array(prediction.regions, dtype=int)[:, :2]
    starts = starts - starts.min(axis=0)
    width, height = starts.max(axis=0) + 28
    total = np.zeros((4, height, width))
    for (x, y), cells in zip(starts, prediction.evidence, strict=True):
        total[:, y : y + 28, x : x + 28] += cells.repeat(4, axis=1).repeat(4, axis=2)
    return total


@pytest.mark.parametrize(
    ("lefts", "tops", "shape"),
    [
        ((0, 10, 20), (0, 20), (12, 12)),  # overlapping
        ((-7, 21), (5,), (7, 14)),  # edge to edge
        ((0, 56), (0, 28), (14, 14)),  # with a gap between the views
        ((3,), (-5,), (7, 7)),
    ],
)
def test_the_grid_is_the_area_weighted_sum_of_the_views(
    shipped: Predictor,
    photo: bytes,
    lefts: tuple[int, ...],
    tops: tuple[int, ...],
    shape: tuple[int, int],
) -> None:
    prediction = views_at(shipped.predict(photo), *((x, y) for y, x in product(tops, lefts)))
    merged, pixels = grid(prediction), sum_per_pixel(prediction)
    rows, columns = shape
    height, width = pixels.shape[1:]
    blocks = pixels.reshape(4, rows, height // rows, columns, width // columns).mean(axis=(2, 4))
    views_per_pixel = len(prediction.regions) * 28 * 28 / (height * width)
    np.testing.assert_allclose(merged.values, blocks / views_per_pixel, atol=1e-5)
    np.testing.assert_allclose(merged.values.mean(axis=(1, 2)), prediction.logits, atol=1e-12)
    assert merged.region == (min(lefts), min(tops), max(lefts) + 28, max(tops) + 28)


def test_the_grid_of_one_view_is_its_evidence(shipped: Predictor, photo: bytes) -> None:
    prediction = shipped.predict(photo)
    merged = grid(prediction)
    np.testing.assert_allclose(merged.values, prediction.evidence[0], atol=1e-5)
    assert merged.region == prediction.regions[0]


def test_rounding_errors_are_distributed_evenly(shipped: Predictor, photo: bytes) -> None:
    prediction = views_at(shipped.predict(photo), (0, 0))
    merged = grid(replace(prediction, logits=prediction.logits + 0.25))
    np.testing.assert_allclose(merged.values, prediction.evidence[0] + 0.25, atol=1e-5)


def test_the_grid_of_an_extremely_wide_photo_is_small(shipped: Predictor, photo: bytes) -> None:
    starts = [(float(x), -14.0) for x in np.linspace(0, 25_000_000, 5)]
    prediction = views_at(shipped.predict(photo), *starts)
    merged = grid(prediction)
    assert merged.values.shape == (4, 7, 35)
    np.testing.assert_allclose(merged.values.mean(axis=(1, 2)), prediction.logits, atol=1e-9)


def rgba(*cells: tuple[int, int, float], region: Box, photo: tuple[int, int]) -> Floats:
    """The overlay of a 7 x 7 grid with these cells (row, column, value): (height, width, 4)."""
    values = np.zeros((7, 7))
    for row, column, value in cells:
        values[row, column] = value
    pixels: Floats = np.asarray(overlay(values, region, photo).convert("RGBA"), dtype=float)
    return pixels


def test_positive_is_orange_negative_is_purple_and_zero_is_transparent() -> None:
    pixels = rgba((1, 1, 2.0), (5, 4, -1.0), region=(40, 0, 180, 140), photo=(200, 140))
    red, _, blue, alpha = pixels[30, 70]  # the middle of row 1, column 1
    assert red > blue + 100
    assert alpha > 210
    red, _, blue, alpha = pixels[110, 130]
    assert blue > red
    assert 100 < alpha < 130, "half as strong, half as opaque"
    assert pixels[70, 100, 3] == 0
    assert not pixels[:, :40, 3].any(), "outside the region"


def test_the_margin_of_a_view_beyond_the_grid_is_drawn_as_the_nearest_cell() -> None:
    values = np.full((7, 7), 1.0)
    region, view = (20, 0, 160, 140), (30, 10, 170, 150)
    picture = overlay(values, region, (200, 160), views=[view])
    alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    inside = np.zeros((160, 200), dtype=bool)
    inside[10:150, 30:170] = True
    assert (alpha[inside] == 230).all()
    assert not alpha[~inside].any(), "outside the view, even inside the grid"


def test_the_value_of_full_colour_can_be_given() -> None:
    picture = overlay(np.ones((3, 3)), (0, 0, 9, 9), (9, 9), strongest=2)
    assert abs(int(picture.convert("RGBA").getpixel((4, 4))[3]) - 115) <= 1  # type: ignore[index]


def test_cells_outside_the_photo_are_cut_off() -> None:
    region = (-64.0, -52.0, 160.0, 172.0)  # a photo of 96 x 120 pixels is padded to 224 x 224
    pixels = rgba((0, 0, 9.0), (2, 4, 3.0), region=region, photo=(96, 120))
    assert pixels.shape == (120, 96, 4)
    y, x = np.unravel_index(pixels[:, :, 3].argmax(), pixels.shape[:2])
    assert 4 <= (x + 64) / 32 < 5
    assert 2 <= (y + 52) / 32 < 3
    assert pixels[y, x, 3] < 100, "the scale includes the cells that are cut off"


@pytest.mark.parametrize(
    ("photo", "size"),
    [((4000, 1000), (1024, 256)), ((20000, 2), (1024, 1)), ((1, 1), (1, 1)), ((7, 30), (7, 30))],
)
def test_the_overlay_has_the_aspect_ratio_of_the_photo_and_a_limited_size(
    photo: tuple[int, int], size: tuple[int, int]
) -> None:
    assert overlay(np.ones((3, 5)), (0, 0, *photo), photo).size == size


def test_colour_blind_people_can_tell_the_colours_apart() -> None:
    # In linear RGB; Viénot, Brettel and Mollon 1999, "Digital video colourmaps for checking the
    # legibility of displays by dichromats".
    protan = np.array(((0.11238, 0.88762, 0), (0.11238, 0.88762, 0), (0.00401, -0.00401, 1)))
    deutan = np.array(((0.29275, 0.70725, 0), (0.29275, 0.70725, 0), (-0.02234, 0.02234, 1)))
    linear = (PALETTE[:, :3] / 255) ** 2.2
    for seen in (linear, linear @ protan.T, linear @ deutan.T):
        apart = abs(
            np.clip(seen[1:128], 0, 1) ** (1 / 2.2) - np.clip(seen[:128:-1], 0, 1) ** (1 / 2.2)
        )
        strong = apart.max(axis=1)[:64]  # from the ends to half of the scale
        assert strong.min() > 0.2
    assert PALETTE[128, 3] == 0
    assert PALETTE[1, 3] == PALETTE[255, 3] == 230


def test_a_data_uri_contains_the_file() -> None:
    picture = overlay(np.arange(49.0).reshape(7, 7), (0, 0, 10, 10), (10, 10))
    start, content = data_uri(picture, "PNG").split(",")
    assert start == "data:image/png;base64"
    again = Image.open(BytesIO(b64decode(content))).convert("RGBA")
    assert again.tobytes() == picture.convert("RGBA").tobytes()
