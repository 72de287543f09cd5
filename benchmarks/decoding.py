"""Measure each step from JPEG bytes to the network's input, compared with Pillow.

    python benchmarks/decoding.py [--repeats 30]

It runs on one thread, with generated photos of 640 x 480 and 4000 x 3000 pixels with sensor noise.
Each figure is the smallest processor time of all repeats: other programs can only add to it.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from timeit import repeat

import numpy as np
import simplejpeg
from PIL import Image
from rich.console import Console
from rich.table import Table

from ml.data.synthetic import CLASSES, draw, to_image
from ml.images.colour import Pixels
from ml.images.decode import MAX_PIXELS, decode
from ml.images.formats import recognise
from ml.images.jpeg import decode_jpeg
from ml.images.limits import check_scans, check_structure
from ml.images.preprocessing import Preprocessing, boxes, network_input
from ml.images.resize import resize, resize_with_pillow
from ml.predictor import SHIPPED_MODEL, Predictor


def photo(width: int, height: int) -> bytes:
    """Generate a noisy photo as a JPEG of quality 90."""
    rng = np.random.default_rng(0)
    large = np.asarray(draw(CLASSES[0], rng)[0].resize((width, height)), np.float64)
    buffer = BytesIO()
    to_image(large + 3 * rng.standard_normal(large.shape)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def pillow(data: bytes, preprocessing: Preprocessing) -> Pixels:
    """Decode and resize with Pillow alone, at full size."""
    with Image.open(BytesIO(data)) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    (box,) = boxes(pixels.shape[1], pixels.shape[0], preprocessing)
    return resize_with_pillow(pixels, box, preprocessing.size)


def steps(data: bytes, predictor: Predictor) -> dict[str, Callable[[], object]]:
    """Return the timed steps by name; the last four combine several steps."""
    preprocessing = predictor.card.preprocessing.model_copy(update={"grid": 1})
    side = preprocessing.needed_side
    reduced = decode(data, needed_side=side).pixels
    (box,) = boxes(reduced.shape[1], reduced.shape[0], preprocessing)
    header = Image.open(BytesIO(data))
    return {
        "recognise": lambda: recognise(data),
        "check the structure": partial(check_structure, data, "JPEG"),
        "check the scans": partial(check_scans, data, *header.size),
        "header and EXIF, Pillow": lambda: Image.open(BytesIO(data)).getexif(),
        "header, pixels and orientation": lambda: decode_jpeg(data, MAX_PIXELS, side),
        "pixels, not reduced": lambda: simplejpeg.decode_jpeg(data, "RGB"),
        "pixels, not reduced, Pillow": lambda: Image.open(BytesIO(data)).load(),
        "resize": lambda: resize(reduced, box, preprocessing.size),
        "resize, Pillow": lambda: resize_with_pillow(reduced, box, preprocessing.size),
        "decode": lambda: decode(data, needed_side=side),
        "decode and resize": lambda: network_input(
            decode(data, needed_side=side).pixels, preprocessing
        ),
        "decode and resize, Pillow": lambda: pillow(data, preprocessing),
        "decode, resize and inference": lambda: predictor.predict(data),
    }


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_args().repeats
    predictor = Predictor(SHIPPED_MODEL, threads=1)
    columns = {"640x480": photo(640, 480), "4000x3000": photo(4000, 3000)}
    table = Table("step, ms", *(f"{name}, {len(d) / 1e3:.0f} kB" for name, d in columns.items()))
    timed = [steps(data, predictor) for data in columns.values()]
    for name in timed[0]:
        best = (
            min(repeat(of[name], timer=time.process_time, number=1, repeat=repeats)) * 1000
            for of in timed
        )
        table.add_row(name, *(f"{ms:.3f}" for ms in best))
    Console().print(table)


if __name__ == "__main__":
    main()
