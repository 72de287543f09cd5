import csv
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from ml.cli.output import predict_files, write_predictions
from ml.errors import Rejected
from ml.images.decode import ImageInfo
from ml.predictor import Prediction, Predictor

Files = list[tuple[Path, Rejected | None]]


@pytest.fixture
def files(photo: bytes, tmp_path: Path) -> Files:
    (tmp_path / 'a, "quoted" 🪁 [red].jpg').write_bytes(photo)
    (tmp_path / "b.jpg").write_text("not an image")
    (tmp_path / "c.jpg").write_bytes(photo)
    found = [(path, None) for path in sorted(tmp_path.iterdir())]
    return [*found, (Path("d*"), Rejected("No file matches."))]


def test_predictions_are_in_the_order_of_the_files(shipped: Predictor, files: Files) -> None:
    found = list(predict_files(shipped, files))
    assert [path for path, _ in found] == [path for path, _ in files]
    first, second, third, fourth = (result for _, result in found)
    assert isinstance(first, Prediction)
    assert isinstance(second, Rejected)
    assert isinstance(third, Prediction)
    assert first.probabilities == third.probabilities
    assert first.probabilities == shipped.predict(files[0][0]).probabilities
    assert "not an image" in second.reason
    assert fourth == Rejected("No file matches.")


def test_csv_output(shipped: Predictor, files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    failed = write_predictions(predict_files(shipped, files), "csv", shipped.card.classes)
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["file"] for row in rows] == [str(path) for path, _ in files]
    assert [bool(row["error"]) for row in rows] == [False, True, False, True]
    assert [path for path, _ in failed] == [files[1][0], files[3][0]]
    expected = shipped.predict(files[0][0])
    assert rows[0]["label"] == expected.label
    assert float(rows[0]["confidence"]) == pytest.approx(expected.confidence, abs=1e-6)
    assert rows[0]["accepted"] == str(int(expected.accepted))
    assert (int(rows[0]["width"]), rows[0]["format"]) == (expected.photo.width, "JPEG")


def test_a_line_break_in_a_file_name_is_quoted_in_csv(capsys: pytest.CaptureFixture[str]) -> None:
    write_predictions([(Path("a\nb.jpg"), Rejected("a reason"))], "csv", ["bird"])
    (row,) = csv.DictReader(StringIO(capsys.readouterr().out))
    assert (row["file"], row["error"]) == ("a\nb.jpg", "a reason")


def test_json_lines_hold_the_whole_prediction(
    shipped: Predictor, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    write_predictions(predict_files(shipped, files), "jsonl", shipped.card.classes)
    first, second, *_ = map(json.loads, capsys.readouterr().out.splitlines())
    expected = shipped.predict(files[0][0])
    assert first["probabilities"] == expected.probabilities
    assert ImageInfo(**first["image"]) == expected.photo
    assert first["accepted"] == expected.accepted
    assert second["file"] == str(files[1][0])
    assert "not an image" in second["error"]


def test_table_output(shipped: Predictor, files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    write_predictions(predict_files(shipped, files), "table", shipped.card.classes)
    first, third, *counts = capsys.readouterr().out.splitlines()
    assert first.endswith(str(files[0][0]))
    assert third.endswith(str(files[2][0]))
    given = [shipped.predict(path) for path, _ in (files[0], files[2])]
    assert given[0].label in first
    for label in {answer.label for answer in given}:
        accepted = [answer.accepted for answer in given if answer.label == label]
        (row,) = (line.replace("│", " ").split() for line in counts if label in line)
        assert row[-2:] == [str(len(accepted)), str(accepted.count(False))]


def test_a_row_is_written_before_the_next_file_is_listed(
    shipped: Predictor, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    prediction = shipped.predict(files[0][0])
    seen = []

    def slowly() -> Iterator[tuple[Path, Rejected]]:
        for number in range(3):
            yield Path(f"{number}"), Rejected("a reason")
            seen.append(capsys.readouterr().out.splitlines()[-1])

    write_predictions(slowly(), "jsonl", list(prediction.probabilities))
    assert [json.loads(line)["file"] for line in seen] == ["0", "1", "2"]
