import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ml.errors import DataError
from ml.run_folder import (
    confused_pairs,
    read_history,
    read_predictions,
    read_run,
    suspected_label_errors,
)


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


def test_predictions_are_read_back(predictions: Path) -> None:
    table = read_predictions(predictions, CLASSES)
    assert table is not None
    assert table.classes == CLASSES
    assert table.correct.tolist() == [True, False, True, False, True]
    test = table.of("test")
    assert test.file.tolist() == ["a, b/1.jpg", "$c/1.jpg", "$c/2.jpg", "$c/3.jpg"]
    assert test.accepted.tolist() == [True, True, False, False]
    np.testing.assert_allclose(test.truth_probability, [0.9, 0.9, 0.4, 1.0], atol=1e-3)


def test_a_label_is_suspected_if_another_class_is_as_likely_as_on_its_own_photos(
    predictions: Path,
) -> None:
    table = read_predictions(predictions, CLASSES)
    assert table is not None
    # The mean probability on photos of $c is 0.77, and 0.95 is more. For a, b it is 0.475.
    assert [table.file[row] for row in suspected_label_errors(table)] == ["a, b/2.jpg", "$c/2.jpg"]


def test_confused_pairs_are_sorted_by_number() -> None:
    pairs = confused_pairs([[5, 1, 0], [3, 7, 0], [0, 0, 0]], ["a", "b", "c"])
    assert [(pair["truth"], pair["predicted"], pair["photos"]) for pair in pairs] == [
        ("b", "a", 3),
        ("a", "b", 1),
    ]
    assert pairs[0]["share"] == 0.3


def test_missing_files_read_as_empty(tmp_path: Path) -> None:
    assert read_history(tmp_path / "history.csv") == {}
    assert read_predictions(tmp_path / "predictions.csv", CLASSES) is None
    assert read_predictions(write(tmp_path / "predictions.csv", HEADER), CLASSES) is None
    with pytest.raises(DataError, match="not a run folder"):
        read_run(tmp_path)


def test_the_label_audit_is_read_by_its_new_and_its_old_name(predictions: Path) -> None:
    run = predictions.parent
    (run / "config.json").write_text('{"data": null}')
    (run / "data.json").write_text(json.dumps({"classes": CLASSES, "counts": {}}))
    assert read_run(run).label_audit is None
    for name, file in (("doubts.csv", "$c/4.jpg"), ("label_audit.csv", "$c/5.jpg")):
        write(run / name, HEADER, ["train", file, "$c", "a, b", 0.7, 1, 1.2, 0.7, 0.3])
        folder = read_run(run)
        assert folder.label_audit is not None
        assert folder.label_audit.file.tolist() == [file]
        assert folder.predictions is not None
        assert "train" not in folder.predictions.split


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = {"torch", "sklearn", "scipy", "matplotlib", "PIL", "onnxruntime", "pydantic"}
    code = f"import sys, ml.run_folder; print(*({heavy!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
