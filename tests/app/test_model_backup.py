import logging
from pathlib import Path

import pytest

from app.model_backup import FOLDER, Spare, look


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("bird.onnx", "bird.int8.onnx"):
        (folder / name).write_text(f"first {name}")
    return folder / "bird.onnx"


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shared").mkdir()
    monkeypatch.setenv(FOLDER, str(tmp_path / "shared"))
    return tmp_path / "shared"


def test_the_last_one_is_kept_with_what_lies_beside_it(model: Path, shared: Path) -> None:
    spare = Spare(model)
    assert spare.model() is None
    spare.keep(model, look(model))
    kept = spare.model()
    assert kept == shared / "bird.onnx"
    assert {file.name: file.read_text() for file in shared.iterdir()} == {
        "bird.onnx": "first bird.onnx",
        "bird.int8.onnx": "first bird.int8.onnx",
    }
    model.write_text("second")
    model.with_suffix(".int8.onnx").unlink()
    spare.keep(model, look(model))
    assert [file.read_text() for file in shared.iterdir()] == ["second"]
    assert Spare(model).model() == kept  # of a worker that starts later


def test_what_was_not_looked_at_is_not_kept(
    model: Path, shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file may be written over after it was opened and found sound."""
    spare, seen = Spare(model), look(model)
    spare.keep(model, seen)
    with caplog.at_level(logging.WARNING, "skyspotter"):
        for change in (
            lambda: model.write_text("something else"),
            lambda: model.with_suffix(".int8.onnx").write_text("something else"),
            model.unlink,
        ):
            change()
            caplog.clear()
            spare.keep(model, seen)
            assert "no copy of the model is kept" in caplog.text
            assert {file.name: file.read_text() for file in shared.iterdir()} == {
                "bird.onnx": "first bird.onnx",
                "bird.int8.onnx": "first bird.int8.onnx",
            }


def test_one_process_alone_keeps_none(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    spare = Spare(model)
    spare.keep(model, look(model))
    assert spare.model() is None


def test_what_cannot_be_copied_is_told_and_harms_nobody(
    model: Path, shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spare = Spare(model)
    (shared / "bird.onnx").mkdir()
    with caplog.at_level(logging.WARNING, "skyspotter"):
        spare.keep(model, look(model))
    assert "no copy of the model is kept" in caplog.text
    assert spare.model() is None
    assert {file.name for file in shared.iterdir()} == {"bird.onnx", "bird.int8.onnx"}
