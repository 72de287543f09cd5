import json
import shutil
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from ml.cli.inspect import folder_facts, inspect, show_folder, show_model
from ml.data.checks import warnings
from ml.data.image_folder import ImageFolder, scan
from ml.data.sample import Sample
from ml.data.split import split_folder
from ml.errors import ModelError
from ml.models.card import Card, Split
from tests.helpers import encoded, picture


@pytest.fixture
def imbalanced(drawn: Path, tmp_path: Path) -> Path:
    """One class of ten photos and one of one, an empty one, a bad file and a small photo."""
    root = tmp_path / "set"
    shutil.copytree(drawn / "Flying Birds", root / "[red]birds")
    for name in ("one 🪁", "empty"):
        (root / name).mkdir()
    (root / "one 🪁" / "a.png").write_bytes(encoded(picture("Winged Drones", 7), "PNG"))
    (root / "[red]birds" / "page.jpg").write_text("<!doctype html>")
    small = picture(seed=77).resize((40, 30))
    (root / "[red]birds" / "small.png").write_bytes(encoded(small, "PNG"))
    return root


def printed(*arguments: object, show: object) -> str:
    screen = StringIO()
    assert callable(show)
    show(*arguments, Console(file=screen, width=150))
    return screen.getvalue()


def test_facts_of_a_folder(imbalanced: Path) -> None:
    facts = folder_facts(split_folder(scan(imbalanced), Split()))
    assert facts["formats"] == {"JPEG": 10, "PNG": 2}
    assert facts["sizes"]["shorter_side"]["smallest"] == 30
    assert facts["sizes"]["longer_side"]["middle"] > 100
    said = " ".join(facts["warnings"])
    for word in (
        "empty",
        "imbalanced: 11 photos",
        "Fewer than 20",
        "no test photos of: one 🪁",
        "pixels wide or high: 1 photo.",
    ):
        assert word in said, word


def test_a_good_folder_has_no_warnings(tmp_path: Path) -> None:
    samples = tuple(
        Sample(tmp_path / f"{label}{i}", label, group=f"{label}{i}", size=(300, 200))
        for label in "ab"
        for i in range(40)
    )
    assert warnings(split_folder(ImageFolder(tmp_path, ("a", "b"), samples, (), ()), Split())) == []


def test_a_folder_as_text(imbalanced: Path) -> None:
    text = printed(split_folder(scan(imbalanced), Split()), show=show_folder)
    for word in (
        "[red]birds",
        "one 🪁",
        "page.jpg",
        "not an image",
        "shorter side: 30 to",
        "2 PNG",
    ):
        assert word in text, word


def test_only_some_of_ten_thousand_classes_are_shown(tmp_path: Path) -> None:
    labels = tuple(f"{number:05}" for number in range(10_000))
    samples = tuple(
        Sample(
            tmp_path / label / f"{i}", label, group=str(tmp_path / label / f"{i}"), size=(99, 99)
        )
        for label in labels
        for i in range(3)
    )
    folder = split_folder(ImageFolder(tmp_path, labels, samples, (), ()), Split())
    text = printed(folder, show=show_folder)
    assert len(text.splitlines()) < 100
    assert "10000 classes" in text
    assert "and 9990 more" in text


def test_a_folder_without_classes(tmp_path: Path) -> None:
    text = printed(tmp_path, False, show=inspect)
    assert "0 photos" in text
    assert "At least 2 classes" in text
    assert json.loads(printed(tmp_path, True, show=inspect))["sizes"] == {}


def test_a_model_as_text(card: Card, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x" * 1_500_000)
    f1 = {label: {"f1": 0.25} for label in card.classes}
    card = card.model_copy(update={"scores": {"test": {"accuracy": 0.987, "classes": f1}}})
    text = printed(card, tmp_path / "model.onnx", show=show_model)
    for word in ("0.0.0+test", "native", "1.5 MB", "98.70%", "0.250", 'Gleit"flug 🪂', "1.5"):
        assert word in text, word


def test_a_damaged_model(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("no model")
    with pytest.raises(ModelError, match="not an ONNX model"):
        inspect(tmp_path, False, Console(quiet=True))  # as a run folder
