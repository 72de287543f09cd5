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
from tests.ml.report.helpers import write_answers, write_history, write_json

NASTY = ["$x^2$", '<img src=x onerror="alert(1)">', "_under 🪂 & co", "it's 'a' {{ 7 * 7 }}"]


def test_the_network_is_drawn_at_the_models_size(again: Path) -> None:
    network, card = load(again / "model.safetensors")
    preprocessing = card.preprocessing.model_copy(update={"size": 96, "shorter_side": 110})
    card = card.model_copy(update={"preprocessing": preprocessing})
    save(again / "model.safetensors", parameters_of(network), card)
    stamp(again / "model.onnx", card)
    write_report(again)
    assert "those of one 96 x 96 photo" in words(again)
    assert "3 x 96 x 96" in words(again)
    assert "3 x 224 x 224" not in words(again)


@pytest.fixture
def again(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run to take things out of."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def page(run: Path) -> ElementTree.Element:
    """The report, which is well-formed enough for an XML parser."""
    text = (run / "report.html").read_text(encoding="utf-8")
    return ElementTree.fromstring(text.split("<!DOCTYPE html>")[1])


def words(run: Path) -> str:
    return " ".join("".join(page(run).itertext()).split())


def table(run: Path, first: str) -> dict[str, list[str]]:
    """The body of the table whose header begins with these words, by the first column."""
    for found in page(run).iter("table"):
        header = [" ".join(cell.itertext()) for cell in found.iter("th")]
        if " ".join(header).startswith(first):
            rows = [["".join(cell.itertext()) for cell in row] for row in found.iter("tr")]
            return {row[0]: row[1:] for row in rows[1:]}
    raise AssertionError(f"no table {first}")


def test_figures_are_those_of_the_runs_files(finished: Path, folder: ImageFolder) -> None:
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


def test_it_opens_anywhere(finished: Path) -> None:
    text = (finished / "report.html").read_text(encoding="utf-8")
    assert "http" not in text
    assert not re.search(r"<(script|link|iframe)|@import|url\((?!#)", text)
    for element in page(finished).iter():
        for name in ("src", "href"):
            assert element.get(name, "#").startswith(("#", "data:image/"))
        if element.tag == "img":
            assert element.get("alt") is not None
    assert len(text) < 5_000_000


def test_identifiers_are_unique_and_every_reference_meets_one(finished: Path) -> None:
    identifiers = [e.get("id") for e in page(finished).iter() if e.get("id")]
    assert len(identifiers) == len(set(identifiers))
    text = (finished / "report.html").read_text(encoding="utf-8")
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)) <= {
        pair for name in identifiers for pair in ((name, ""), ("", name))
    }


def test_plots_stand_beside_it(finished: Path) -> None:
    drawn = {path.stem for path in finished.glob("*.svg")}
    assert drawn == {
        *("accuracy", "loss", "learning-rate", "classes-train", "classes-test", "network"),
        *("confusion-counts", "confusion-shares", "reliability", "confidence", "coverage"),
    }
    for path in finished.glob("*.svg"):
        ElementTree.parse(path)


def test_every_wrong_answer_of_so_few_is_in_the_gallery(finished: Path) -> None:
    wrong = json.loads((finished / "metrics.json").read_text(encoding="utf-8"))["test"]["wrong"]
    (gallery,) = (e for e in page(finished).iter("section") if e.get("id") == "mistakes")
    shown = ["".join(item.itertext()) for item in gallery.iter("li")]
    assert len(shown) == len(wrong) > 0
    assert all(any(it["file"] in text for text in shown) for it in wrong)
    assert all(len(list(item.iter("img"))) == 2 for item in gallery.iter("li"))


def test_suspected_labels_of_training_photos_are_shown(again: Path, folder: ImageFolder) -> None:
    assert "They are not judged. There is no doubts.csv." in words(again)
    scores = json.loads((again / "metrics.json").read_text(encoding="utf-8"))
    scores["training"]["not_judged"] = "The time budget is for training."
    write_json(again / "metrics.json", scores)
    write_report(again)
    assert "They are not judged. The time budget is for training." in words(again)
    classes, train = folder.classes, folder.of("train")[2:]
    files = [("train", f"{s.label}/{s.path.name}", s.label) for s in train]
    answers = np.eye(len(classes))[[classes.index(sample.label) for sample in train]]
    answers[[0, -1]] = answers[[-1, 0]]
    write_answers(again, files, classes, answers, "doubts.csv")
    write_report(again)
    assert f"2 of {len(train)} training photos are given to another class" in words(again)
    assert "Not judged: 2 of classes with too few groups" in words(again)
    items = [
        item for item in page(again).iter("li") if train[0].path.name in "".join(item.itertext())
    ]
    assert [img.get("alt") for item in items for img in item.iter("img")] == [
        f"{train[0].label} taken for {train[-1].label}"
    ]


def test_settings_and_data_are_enough_and_what_is_missing_is_said(again: Path) -> None:
    for path in again.iterdir():
        if path.name not in ("config.json", "data.json"):
            path.unlink()
    for name in ("model.onnx", "best.safetensors"):
        (again / name).write_bytes(b"damaged" * 20)
    write_report(again)
    text = words(again)
    assert "There is no predictions.csv with test photos" in text
    assert "The run has not been measured" in text
    assert "No epoch was finished" in text
    assert "There is no readable model" in text
    (again / "data.json").unlink()
    with pytest.raises(DataError, match="no run folder"):
        write_report(again)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("predictions.csv", "There is no predictions.csv with test photos"),
        ("metrics.json", "There are no scores for this split"),
    ],
)
def test_one_file_is_missing(again: Path, missing: str, said: str) -> None:
    (again / missing).unlink()
    write_report(again)
    assert said in words(again)


def test_photos_deleted_since_are_said_to_be(again: Path) -> None:
    config = {"data": str(again / "gone"), "split": {"seed": 5}}
    write_json(again / "config.json", config)
    (again / "history.csv").unlink()
    write_report(again)
    assert "The photo is no longer there." in words(again)
    assert "split seed" in words(again)


def test_without_a_test_split_validation_stands_in_and_is_called_so(again: Path) -> None:
    for name in ("data.json", "metrics.json"):
        content = json.loads((again / name).read_text(encoding="utf-8"))
        content.get("counts", content).pop("test")
        write_json(again / name, content)
    write_report(again)
    assert "There is no test split" in words(again)


def test_names_of_classes_are_nothing_but_names(tmp_path: Path) -> None:
    fake_run(tmp_path, NASTY, photos=2, epochs=1)
    write_report(tmp_path)
    text = words(tmp_path)
    assert all(" ".join(label.split()) in text for label in NASTY)
    assert not [e for e in page(tmp_path).iter("img") if e.get("onerror")]


def test_of_many_classes_the_matrix_of_those_with_most_mistakes(tmp_path: Path) -> None:
    fake_run(tmp_path, [f"class {i:02}" for i in range(30)], photos=3, epochs=1)
    write_report(tmp_path)
    assert "Of 30 classes the 25 with the most mistakes" in words(tmp_path)
    assert (tmp_path / "confusion-counts.svg").exists()


@pytest.mark.slow
def test_a_thousand_classes_stay_small_and_the_cuts_are_said(tmp_path: Path) -> None:
    fake_run(tmp_path, [f"class {i:04}" for i in range(1000)], photos=3, epochs=5)
    assert write_report(tmp_path).stat().st_size < 5_000_000
    text = words(tmp_path)
    assert "Of 1000 classes the 8 with the lowest F1" in text
    assert "Of 1000 classes no matrix is kept" in text
    assert "No class was taken for another" not in text
    assert "The 100 classes with the lowest F1, of 1000" in text


def fake_run(run: Path, classes: list[str], photos: int, epochs: int) -> None:
    """A run folder without a model or photos, with answers by chance."""
    truth = np.repeat(np.arange(len(classes)), photos)
    answers = np.random.default_rng(1).dirichlet(np.ones(len(classes)), len(truth))
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
    write_json(run / "metrics.json", {"test": measure(answers, truth, classes)})
    write_history(run, classes, epochs)
    write_answers(run, files, classes, answers)
