"""Draw out-of-distribution (OOD) pictures, which show none of the classes.

They are for smoke tests, and easy: a model that rejects them all may still accept other photos,
such as one of a meal.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ml.data.synthetic import Floats, sky, to_image

LETTERS = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789    .,")


def synthesize_ood(folder: Path, images_per_kind: int = 100, seed: int = 0) -> None:
    """Write `folder/<kind>/<kind>-0001.jpg` and so on; the same seed gives the same pictures."""
    for number, kind in enumerate(KINDS):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for i in range(1, images_per_kind + 1):
            image = draw_ood(kind, np.random.default_rng((seed, number, i)))
            image.save(folder / kind / f"{kind}-{i:04}.jpg", quality=88)


def draw_ood(kind: str, rng: np.random.Generator) -> Image.Image:
    """Draw a picture of one of the `KINDS`, in the sizes of `ml.data.synthetic`."""
    width, height = (int(side) for side in rng.integers(180, 421, size=2))
    return KINDS[kind](width, height, rng)


def _text(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    paper, ink = rng.uniform(170, 255, 3), rng.uniform(0, 90, 3)
    page = to_image(np.full((height, width, 3), paper))
    pen, size = ImageDraw.Draw(page), int(rng.integers(11, 40))
    for top in range(size // 2, height, int(size * 1.4)):
        line = "".join(rng.choice(LETTERS, 2 * width // size))
        pen.text((size, top), line, tuple(ink.astype(int)), ImageFont.load_default(size))
    return page


def _texture(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Draw noise of several scales, compressed in one direction, like wood, cloth or stone."""
    surface = np.zeros((height, width))
    squeeze = rng.uniform(1, 8)
    for cells in (8, 24, 72):
        grid = rng.standard_normal((cells, max(2, round(cells / squeeze)))).astype(np.float32)
        grain = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        surface += np.asarray(grain) * rng.uniform(0.2, 1)
    return _blend(surface / np.abs(surface).max() / 2 + 0.5, rng)


def _gradient(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    x, y = _grid(width, height, rng.uniform(0, 2 * np.pi))
    ramp = np.hypot(x, y) if rng.random() < 0.5 else x
    return _blend((ramp - ramp.min()) / np.ptp(ramp), rng)


def _noise(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    grain = int(rng.choice((1, 1, 2, 4, 8)))
    pixels = rng.uniform(0, 255, (height // grain + 1, width // grain + 1, 3))
    whole = pixels.repeat(grain, axis=0).repeat(grain, axis=1)[:height, :width]
    return to_image(whole if rng.random() < 0.7 else whole[..., :1].repeat(3, axis=2))


def _pattern(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Draw stripes, a chequerboard, dots or rings."""
    x, y = _grid(width, height, rng.uniform(0, np.pi)) * rng.uniform(2, 16)
    patterns = (np.sin(x * 6), np.sin(x * 6) * np.sin(y * 6), np.sin(np.hypot(x, y) * 6))
    dots = 0.3 - np.hypot(x % 1 - 0.5, y % 1 - 0.5)
    return _blend((patterns + (dots,))[rng.integers(4)] > 0, rng)


def _grid(width: int, height: int, turn: float) -> Floats:
    """Return rotated coordinates, (2, H, W), centred on the picture, in units of its width."""
    y, x = (np.mgrid[:height, :width] - np.array((height, width))[:, None, None] / 2) / width
    return np.array((x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)))


def _blend(mix: npt.NDArray[Any], rng: np.random.Generator) -> Image.Image:
    """Blend two random colours by weights of 0 to 1, (H, W)."""
    first, second = rng.uniform(0, 255, (2, 3))
    return to_image(first + (second - first) * mix[..., None])


KINDS: dict[str, Callable[[int, int, np.random.Generator], Image.Image]] = {
    "text": _text,
    "texture": _texture,
    "sky": sky,
    "gradient": _gradient,
    "noise": _noise,
    "pattern": _pattern,
}
