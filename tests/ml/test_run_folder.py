import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ml.errors import DataError
from ml.run_folder import confused, doubtful_labels, read_answers, read_history, read_run


def write(path: Path, *rows: Sequence[object]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows(rows)
    return path


CLASSES = ("a, b", "$c")
HEADER = ["split", "file", "truth", "answer", "confidence", "accepted", "loss", "p:a, b", "p:$c"]


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    return write(
        tmp_path / "predictions.csv",
        HEADER,
        ["test", "a, b/1.jpg", "a, b", "a, b", 0.9, 1, 0.105, 0.9, 0.1],
        ["validation", "a, b/2.jpg", "a, b", "$c", 0.95, 1, 2.996, 0.05, 0.95],
        ["test", "$c/1.jpg", "$c", "$c", 0.9, 1, 0.105, 0.1, 0.9],
        ["test", "$c/2.jpg", "$c", "a, b", 0.6, 0, 0.916, 0.6, 0.4],
        ["test", "$c/3.jpg", "$c", "$c", 1.0, 0, 0.0, 0.0, 1.0],
    )


def test_answers_are_read_back(predictions: Path) -> None:
    answers = read_answers(predictions, CLASSES)
    assert answers is not None
    assert answers.classes == CLASSES
    assert answers.right.tolist() == [True, False, True, False, True]
    test = answers.of("test")
    assert test.file == ("a, b/1.jpg", "$c/1.jpg", "$c/2.jpg", "$c/3.jpg")
    assert test.accepted.tolist() == [True, True, False, False]
    np.testing.assert_allclose(test.truth_probability, [0.9, 0.9, 0.4, 1.0], atol=1e-3)


def test_a_label_is_doubtful_where_another_class_is_as_sure_as_its_own_photos(
    predictions: Path,
) -> None:
    answers = read_answers(predictions, CLASSES)
    assert answers is not None
    # Photos of $c get 0.77 on average, and 0.95 is more; those of a, b get 0.475, and 0.6 is.
    assert [answers.file[row] for row in doubtful_labels(answers)] == ["a, b/2.jpg", "$c/2.jpg"]


def test_confused_pairs_come_by_number() -> None:
    pairs = confused([[5, 1, 0], [3, 7, 0], [0, 0, 0]], ["a", "b", "c"])
    assert [(pair["truth"], pair["answer"], pair["photos"]) for pair in pairs] == [
        ("b", "a", 3),
        ("a", "b", 1),
    ]
    assert pairs[0]["share"] == 0.3


def test_what_is_missing_reads_as_nothing(tmp_path: Path) -> None:
    assert read_history(tmp_path / "history.csv") == {}
    assert read_answers(tmp_path / "predictions.csv", CLASSES) is None
    assert read_answers(write(tmp_path / "predictions.csv", HEADER), CLASSES) is None
    with pytest.raises(DataError, match="no run folder"):
        read_run(tmp_path)


def test_training_photos_are_read_apart(predictions: Path) -> None:
    run = predictions.parent
    (run / "config.json").write_text('{"data": null}')
    (run / "data.json").write_text(json.dumps({"classes": CLASSES, "counts": {}}))
    assert read_run(run).doubts is None
    write(run / "doubts.csv", HEADER, ["train", "$c/4.jpg", "$c", "a, b", 0.7, 1, 1.2, 0.7, 0.3])
    record = read_run(run)
    assert record.doubts is not None
    assert record.doubts.file == ("$c/4.jpg",)
    assert record.answers is not None
    assert "train" not in record.answers.split
