import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from ml.engines.loader import open_engine
from ml.errors import ModelError
from ml.models.card import Card
from ml.models.onnx_file import ModelFile, read_metadata
from ml.predictor import SHIPPED_MODEL
from tests.helpers import ROOT


def test_the_metadata_is_the_same_as_with_onnx() -> None:
    expected = {entry.key: entry.value for entry in onnx.load(SHIPPED_MODEL).metadata_props}
    assert read_metadata(SHIPPED_MODEL) == expected
    assert Card.from_metadata(expected).classes


def test_unusual_keys_and_values(tmp_path: Path) -> None:
    texts = {"": "no name", "empty": "", "Größe 🪂": "x" * 70_000}
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
    onnx.helper.set_model_props(model, texts)
    onnx.save(model, tmp_path / "m.onnx")
    assert read_metadata(tmp_path / "m.onnx") == texts


def test_a_file_without_metadata(tmp_path: Path) -> None:
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])), tmp_path / "m.onnx")
    assert read_metadata(tmp_path / "m.onnx") == {}


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.9, 0.99, 0.99995])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    data = SHIPPED_MODEL.read_bytes()
    (tmp_path / "m.onnx").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match=r"m\.onnx is not an ONNX model, or is damaged"):
        read_metadata(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    "content",
    [
        b"not a model",
        b"\xff" * 100,
        b"<!doctype html>",
        b"\x72\x03\x0a\x01\xff",
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_a_file_that_is_not_a_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.onnx"):
        Card.from_metadata(read_metadata(tmp_path / "m.onnx"))


def test_the_bytes_that_were_read_run_even_if_the_file_changes(tmp_path: Path) -> None:
    model = Path(shutil.copy(SHIPPED_MODEL, tmp_path))
    file = ModelFile.read(model)
    model.write_bytes(b"")
    assert open_engine(file).card == file.card == Card.from_metadata(read_metadata(SHIPPED_MODEL))


def test_overwriting_a_file_while_it_is_read_does_not_crash(tmp_path: Path) -> None:
    """If the file were mapped into memory, truncating it would kill the process (SIGBUS)."""
    check = f"""
import shutil, threading, time
import shutil
import subprocess
import sys
from pathlib import Path
from ml.errors import ModelError
from ml.engines.loader import open_best
from ml.predictor import SHIPPED_MODEL
from tests.helpers import ROOT

model, end = Path({str(tmp_path)!r}) / "model.onnx", time.monotonic() + 2
def write():
    while time.monotonic() < end:
        model.write_bytes(b"")
        shutil.copy(SHIPPED_MODEL, model)
threading.Thread(target=write).start()
opened = refused = 0
while time.monotonic() < end or not opened:
    try:
        opened += bool(open_best(model).engine)
    except ModelError:
        refused += 1
"""
    run = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.onnx"):
        with pytest.raises(ModelError, match="There is no model file"):
            read_metadata(path)
