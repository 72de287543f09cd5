"""Photos made on the fly; nothing here needs the internet or a file that is not in the repo."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ml.card import Card
from ml.predictor import SHIPPED_MODEL, Predictor
from ml.preprocessing import Preprocessing
from ml.synthesize import CLASSES, draw, synthesize


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    """An image file's bytes."""
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def picture(label: str = "Flying Birds", seed: int = 1) -> Image.Image:
    """A drawn picture of a class."""
    return draw(label, np.random.default_rng(seed))[0]


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A JPEG of a drawn bird."""
    return encoded(picture(), "JPEG", quality=90)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder with ten pictures of each class."""
    folder = tmp_path_factory.mktemp("drawn")
    synthesize(folder, images_per_class=10)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An image folder of a test's own, with ten pictures of two classes."""
    synthesize(tmp_path / "drawn", images_per_class=5)
    (tmp_path / "photos").mkdir()
    for label in CLASSES[:2]:
        (tmp_path / "drawn" / label).rename(tmp_path.joinpath("photos", label))
    return tmp_path / "photos"


@pytest.fixture(scope="session")
def shipped() -> Predictor:
    """The shipped model, loaded."""
    return Predictor(SHIPPED_MODEL)


@pytest.fixture
def card() -> Card:
    """A card as training writes it, with names that are hard on encodings."""
    return Card(
        version="0.0.0+test",
        classes=(*CLASSES[:3], 'Gleit"flug 🪂'),
        preprocessing=Preprocessing(strategy="native", views=2),
        temperature=1.5,
        scores={"validation": {"accuracy": 0.5}},
    )
