import logging
from pathlib import Path

import pytest

from app.model_backup import FOLDER_VARIABLE, ModelBackup, fingerprints


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
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "shared"))
    return tmp_path / "shared"


def test_the_last_model_is_saved_with_the_files_beside_it(model: Path, shared: Path) -> None:
    backup = ModelBackup(model)
    assert backup.path() is None
    backup.save(model, fingerprints(model))
    copy = backup.path()
    assert copy == shared / "bird.onnx"
    assert {file.name: file.read_text() for file in shared.iterdir()} == {
        "bird.onnx": "first bird.onnx",
        "bird.int8.onnx": "first bird.int8.onnx",
    }
    model.write_text("second")
    model.with_suffix(".int8.onnx").unlink()
    backup.save(model, fingerprints(model))
    assert [file.read_text() for file in shared.iterdir()] == ["second"]
    assert ModelBackup(model).path() == copy  # in a worker that starts later


def test_a_file_that_changed_after_loading_is_not_saved(
    model: Path, shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file may be overwritten after the model was loaded from it."""
    backup, loaded = ModelBackup(model), fingerprints(model)
    backup.save(model, loaded)
    with caplog.at_level(logging.WARNING, "skyspotter"):
        for change in (
            lambda: model.write_text("something else"),
            lambda: model.with_suffix(".int8.onnx").write_text("something else"),
            model.unlink,
        ):
            change()
            caplog.clear()
            backup.save(model, loaded)
            assert "cannot keep a copy of the model" in caplog.text
            assert {file.name: file.read_text() for file in shared.iterdir()} == {
                "bird.onnx": "first bird.onnx",
                "bird.int8.onnx": "first bird.int8.onnx",
            }


def test_a_single_process_saves_no_copy(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    backup = ModelBackup(model)
    backup.save(model, fingerprints(model))
    assert backup.path() is None


def test_a_failed_copy_is_logged(
    model: Path, shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backup = ModelBackup(model)
    (shared / "bird.onnx").mkdir()
    with caplog.at_level(logging.WARNING, "skyspotter"):
        backup.save(model, fingerprints(model))
    assert "cannot keep a copy of the model" in caplog.text
    assert backup.path() is None
    assert {file.name for file in shared.iterdir()} == {"bird.onnx", "bird.int8.onnx"}
