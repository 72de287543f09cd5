import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from ml.data.image_folder import ImageFolder
from ml.errors import DataError
from ml.evaluation.metrics import measure
from ml.export.onnx import stamp
from ml.models.checkpoint import load, parameters_of, save
from ml.report.page import write_report
from tests.ml.report.helpers import write_history, write_json, write_predictions

NASTY = ["$x^2$", '<img src=x onerror="alert(1)">', "_under 🪂 & co", "it's 'a' {{ 7 * 7 }}"]


def test_the_network_is_drawn_at_the_models_size(copied: Path) -> None:
    network, card = load(copied / "model.safetensors")
    preprocessing = card.preprocessing.model_copy(update={"size": 96, "shorter_side": 110})
    card = card.model_copy(update={"preprocessing": preprocessing})
    save(copied / "model.safetensors", parameters_of(network), card)
    stamp(copied / "model.onnx", card)
    write_report(copied)
    assert "are for one 96 x 96 photo" in words(copied)
    assert "3 x 96 x 96" in words(copied)
    assert "3 x 224 x 224" not in words(copied)


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def page(run: Path) -> ElementTree.Element:
    """The report, which must be well-formed XML."""
    text = (run / "report.html").read_text(encoding="utf-8")
    return ElementTree.fromstring(text.split("<!DOCTYPE html>")[1])


def words(run: Path) -> str:
    return " ".join("".join(page(run).itertext()).split())


def table(run: Path, first: str) -> dict[str, list[str]]:
    """The rows of the table whose header starts with `first`, by their first cell."""
    for found in page(run).iter("table"):
        header = [" ".join(cell.itertext()) for cell in found.iter("th")]
        if " ".join(header).startswith(first):
            rows = [["".join(cell.itertext()) for cell in row] for row in found.iter("tr")]
            return {row[0]: row[1:] for row in rows[1:]}
    raise AssertionError(f"no table {first}")


def test_numbers_are_those_of_the_run_folder(finished: Path, folder: ImageFolder) -> None:
    scores = json.loads((finished / "metrics.json").read_text(encoding="utf-8"))["test"]
    assert f"{100 * scores['accuracy']:.1f} % of {scores['photos']} test photos" in words(finished)
    for label, row in table(finished, "class precision").items():
        of = scores["classes"][label]
        figures = [f"{of[name]:.3f}" for name in ("precision", "recall", "f1")]
        assert row == [*figures, str(of["photos"])]
    counts = table(finished, "class train validation test")
    for label in folder.classes:
        expected = [
            sum(sample.label == label for sample in folder.of(split))
            for split in ("train", "validation", "test", "all")
        ]
        assert [*map(int, counts[label])] == expected
    assert "1 h 2 min" in words(finished)
    assert "validation photos alone" in words(finished)


def test_it_needs_no_network_and_no_scripts(finished: Path) -> None:
    text = (finished / "report.html").read_text(encoding="utf-8")
    assert "http" not in text
    assert not re.search(r"<(script|link|iframe)|@import|url\((?!#)", text)
    for element in page(finished).iter():
        for name in ("src", "href"):
            assert element.get(name, "#").startswith(("#", "data:image/"))
        if element.tag == "img":
            assert element.get("alt") is not None
    assert len(text) < 5_000_000


def test_ids_are_unique_and_every_reference_has_a_target(finished: Path) -> None:
    identifiers = [e.get("id") for e in page(finished).iter() if e.get("id")]
    assert len(identifiers) == len(set(identifiers))
    text = (finished / "report.html").read_text(encoding="utf-8")
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)) <= {
        pair for name in identifiers for pair in ((name, ""), ("", name))
    }


def test_plots_are_written_beside_it(finished: Path) -> None:
    drawn = {path.stem for path in finished.glob("*.svg")}
    assert drawn == {
        *("accuracy", "loss", "learning-rate", "classes-train", "classes-test", "network"),
        *("confusion-counts", "confusion-shares", "reliability", "confidence", "coverage"),
    }
    for path in finished.glob("*.svg"):
        ElementTree.parse(path)


def test_every_wrong_prediction_is_in_the_gallery(finished: Path) -> None:
    wrong = json.loads((finished / "metrics.json").read_text(encoding="utf-8"))["test"]["wrong"]
    (gallery,) = (e for e in page(finished).iter("section") if e.get("id") == "errors")
    shown = ["".join(item.itertext()) for item in gallery.iter("li")]
    assert len(shown) == len(wrong) > 0
    assert all(any(it["file"] in text for text in shown) for it in wrong)
    assert all(len(list(item.iter("img"))) == 2 for item in gallery.iter("li"))


@pytest.mark.parametrize("name", ["label_audit.csv", "doubts.csv"])
def test_suspected_label_errors_of_training_photos_are_shown(
    copied: Path, folder: ImageFolder, name: str
) -> None:
    assert "The labels were not checked. There is no label_audit.csv." in words(copied)
    scores = json.loads((copied / "metrics.json").read_text(encoding="utf-8"))
    scores["training"]["not_judged"] = "The time budget is for training."
    write_json(copied / "metrics.json", scores)
    write_report(copied)
    assert "The labels were not checked. The time budget is for training." in words(copied)
    classes, train = folder.classes, folder.of("train")[2:]
    files = [("train", f"{s.label}/{s.path.name}", s.label) for s in train]
    probabilities = np.eye(len(classes))[[classes.index(sample.label) for sample in train]]
    probabilities[[0, -1]] = probabilities[[-1, 0]]
    write_predictions(copied, files, classes, probabilities, name)
    write_report(copied)
    assert f"labels of 2 of {len(train)} training photos may be wrong" in words(copied)
    assert "Not checked: 2 photos that cannot be read, or whose class has too few groups" in words(
        copied
    )
    items = [
        item for item in page(copied).iter("li") if train[0].path.name in "".join(item.itertext())
    ]
    assert [img.get("alt") for item in items for img in item.iter("img")] == [
        f"{train[0].label} predicted as {train[-1].label}"
    ]


def test_config_and_data_are_enough_and_missing_files_are_named(copied: Path) -> None:
    for path in copied.iterdir():
        if path.name not in ("config.json", "data.json"):
            path.unlink()
    for name in ("model.onnx", "best.safetensors"):
        (copied / name).write_bytes(b"damaged" * 20)
    write_report(copied)
    text = words(copied)
    assert "predictions.csv has no test photos or is missing" in text
    assert "The run has not been measured" in text
    assert "No epoch was completed" in text
    assert "contains no readable model" in text
    (copied / "data.json").unlink()
    with pytest.raises(DataError, match="not a run folder"):
        write_report(copied)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("predictions.csv", "predictions.csv has no test photos or is missing"),
        ("metrics.json", "There are no metrics for this split"),
    ],
)
def test_a_missing_file_is_named(copied: Path, missing: str, said: str) -> None:
    (copied / missing).unlink()
    write_report(copied)
    assert said in words(copied)


def test_deleted_photos_are_named(copied: Path) -> None:
    config = {"data": str(copied / "gone"), "split": {"seed": 5}, "precision": 0.9}
    write_json(copied / "config.json", config)
    (copied / "history.csv").unlink()
    write_report(copied)
    assert "This photo no longer exists." in words(copied)
    assert "split seed" in words(copied)
    assert "target precision" in words(copied)


def test_without_a_test_split_validation_is_reported(copied: Path) -> None:
    for name in ("data.json", "metrics.json"):
        content = json.loads((copied / name).read_text(encoding="utf-8"))
        content.get("counts", content).pop("test")
        write_json(copied / name, content)
    write_report(copied)
    assert "There is no test split" in words(copied)


def test_class_names_are_escaped(tmp_path: Path) -> None:
    fake_run(tmp_path, NASTY, photos=2, epochs=1)
    write_report(tmp_path)
    text = words(tmp_path)
    assert all(" ".join(label.split()) in text for label in NASTY)
    assert not [e for e in page(tmp_path).iter("img") if e.get("onerror")]


def test_with_many_classes_the_matrix_shows_those_with_most_errors(tmp_path: Path) -> None:
    fake_run(tmp_path, [f"class {i:02}" for i in range(30)], photos=3, epochs=1)
    write_report(tmp_path)
    assert "Only the 25 classes with the most errors are drawn, of 30" in words(tmp_path)
    assert (tmp_path / "confusion-counts.svg").exists()


@pytest.mark.slow
def test_a_thousand_classes_give_a_small_page_that_names_its_limits(tmp_path: Path) -> None:
    fake_run(tmp_path, [f"class {i:04}" for i in range(1000)], photos=3, epochs=5)
    assert write_report(tmp_path).stat().st_size < 5_000_000
    text = words(tmp_path)
    assert "Only the 8 classes with the lowest final F1 are drawn, of 1000" in text
    assert "The confusion matrix is not stored for 1000 classes" in text
    assert "No class was confused with another" not in text
    assert "The 100 classes with the lowest F1, of 1000" in text


def fake_run(run: Path, classes: list[str], photos: int, epochs: int) -> None:
    """A run folder with random predictions, without a model or photos."""
    truth = np.repeat(np.arange(len(classes)), photos)
    probabilities = np.random.default_rng(1).dirichlet(np.ones(len(classes)), len(truth))
    files = [("test", f"{classes[label]}/{i}.jpg", classes[label]) for i, label in enumerate(truth)]
    write_json(run / "config.json", {"data": None})
    data = {
        "classes": classes,
        "counts": {"test": dict.fromkeys(classes, photos)},
        "dropped": [{"file": f"{classes[0]}/notes.txt", "reason": "Not an image."}] * 2000,
        "near_duplicates": [],
        "files": {file: split for split, file, _ in files},
    }
    write_json(run / "data.json", data)
    write_json(run / "metrics.json", {"test": measure(probabilities, truth, classes)})
    write_history(run, classes, epochs)
    write_predictions(run, files, classes, probabilities)
