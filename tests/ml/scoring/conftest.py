from pathlib import Path

import pytest

from tests.ml.colours import write_colours
from tests.ml.scoring.helpers import many_photos


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_colours(tmp_path / "colours.onnx")


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """A folder with one photo."""
    return many_photos(tmp_path / "photos", 1)
