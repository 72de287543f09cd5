import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from ml.images.preprocessing import PADDING, Box, Preprocessing, boxes, network_input, region
from tests.helpers import picture


def test_native_keeps_the_centre_pixels() -> None:
    image = Image.effect_noise((300, 260), 80).convert("RGB")
    pixels = network_input(image, Preprocessing(strategy="native"))
    assert pixels.shape == (1, 224, 224, 3)
    assert pixels.dtype == np.uint8
    assert (pixels[0] == np.asarray(image)[18 : 18 + 224, 38 : 38 + 224]).all()


def test_native_pads_what_is_smaller() -> None:
    image = Image.new("RGB", (100, 300), "red")
    (pixels,) = network_input(image, Preprocessing(strategy="native"))
    assert (pixels[:, :62] == PADDING).all()
    assert (pixels[:, 62:162] == (255, 0, 0)).all()
    assert (pixels[:, 162:] == PADDING).all()


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (105, 200), (256, 256), (3000, 2000)])
def test_shorter_side_is_resizing_then_cropping(size: tuple[int, int]) -> None:
    image = picture().resize(size)
    (pixels,) = network_input(image, Preprocessing(strategy="shorter-side"))
    # Oracle: the whole photo resized, then cropped.
    scale = 256 / min(size)
    whole = image.resize(
        (round(size[0] * scale), round(size[1] * scale)), Image.Resampling.BILINEAR
    )
    left, top = (whole.width - 224) // 2, (whole.height - 224) // 2
    expected = np.asarray(whole.crop((left, top, left + 224, top + 224)), dtype=float)
    assert np.abs(expected - pixels).mean() < 2


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (20000, 2), (223, 225)])
@pytest.mark.parametrize("strategy", ["native", "shorter-side"])
@pytest.mark.parametrize("grid", [1, 3])
def test_odd_sizes(size: tuple[int, int], strategy: str, grid: int) -> None:
    preprocessing = Preprocessing.model_validate({"strategy": strategy, "grid": grid})
    pixels = network_input(Image.new("RGB", size, "blue"), preprocessing)
    assert 1 <= len(pixels) <= grid**2
    assert pixels.shape[1:] == (224, 224, 3)


def test_grid_of_views_reaches_every_edge() -> None:
    places = boxes(500, 400, Preprocessing(strategy="native", grid=3))
    assert len(places) == 9
    assert places[0] == (0, 0, 224, 224)
    assert places[4] == (138, 88, 362, 312)
    assert places[-1] == (276, 176, 500, 400)


def test_views_that_coincide_are_one() -> None:
    assert len(boxes(224, 600, Preprocessing(strategy="native", grid=3))) == 3
    assert len(boxes(100, 100, Preprocessing(strategy="native", grid=3))) == 1


def test_a_crop_larger_than_the_resized_photo_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least size"):
        Preprocessing(strategy="shorter-side", size=288)


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [
        (224, (0, 0, 224, 224), (-16, -16, 208, 208)),
        (224, (100, 20, 548, 468), (68, -12, 516, 436)),  # photo twice the network's size
        (240, (0, 0, 240, 240), (-16, -16, 240, 240)),  # 8 cells, of which the last is cut
    ],
)
def test_evidence_lies_half_a_cell_up_and_left(size: int, box: Box, expected: Box) -> None:
    assert region(box, Preprocessing(size=size)) == pytest.approx(expected)
