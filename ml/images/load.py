"""Read an image file and turn it into the network's input."""

from pathlib import Path

from ml.images.colour import Pixels
from ml.images.decode import decode, read
from ml.images.preprocessing import Preprocessing, network_input


def load_input(path: Path, preprocessing: Preprocessing) -> Pixels:
    """Read and decode an image file, and cut its views: (V, size, size, 3).

    Raises:
        ImageError, OSError
    """
    photo = decode(read(path), needed_side=preprocessing.needed_side)
    return network_input(photo.pixels, preprocessing)
