"""Choosing the file and the engine. Only the cards of the int8 files say int8: this is fast."""

import logging
import shutil
import sys
from pathlib import Path

import onnx
import pytest

from ml.engines.loader import int8_beside, open_best, open_engine
from ml.engines.onnxruntime import OnnxEngine
from ml.errors import ModelError
from ml.export.onnx import add_self_test, stamp
from ml.models.card import Card, Quantised
from ml.models.onnx_file import read_metadata
from ml.predictor import SHIPPED_MODEL, Predictor
from tests.ml.helpers import card_of, overwrite_parameters, rename_input

MEASURED = Quantised(
    split="validation",
    photos=100,
    accuracy=0.948,
    accuracy_float32=0.95,
    calibration_error=0.03,
    calibration_error_float32=0.03,
    label_agreement=0.99,
    largest_probability_difference=0.1,
)


def restamp(model: Path, **fields: object) -> None:
    stamp(model, card_of(model).model_copy(update=fields))


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a self-test."""
    model = tmp_path_factory.mktemp("checked") / "model.onnx"
    shutil.copy(SHIPPED_MODEL, model)
    add_self_test(model)
    return model


@pytest.fixture
def pair(checked: Path, tmp_path: Path) -> Path:
    """A model with an int8 file beside it."""
    model = tmp_path / "model.onnx"
    shutil.copy(checked, model)
    shutil.copy(checked, int8_beside(model))
    restamp(int8_beside(model), quantised=MEASURED)
    return model


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="skyspotter")
    return caplog


def test_the_int8_file_lies_beside_the_model() -> None:
    assert int8_beside(Path("a/model.onnx")) == Path("a/model.int8.onnx")


@pytest.mark.parametrize(
    ("precision", "chosen"), [("auto", "int8"), ("int8", "int8"), ("float32", "float32")]
)
def test_the_requested_precision_is_opened(pair: Path, precision: str, chosen: str) -> None:
    assert open_best(pair, precision=precision).engine.card.precision == chosen  # type: ignore[arg-type]


def test_predictor_opens_the_given_file_and_predictor_open_the_best_one(pair: Path) -> None:
    assert Predictor(pair).card.precision == "float32"
    assert Predictor(int8_beside(pair)).card.precision == "int8"
    assert Predictor.open(pair).card.precision == "int8"
    assert Predictor.open(pair, max_pixels=7).max_pixels == 7


def test_a_given_int8_file_is_opened_unless_float32_is_required(pair: Path) -> None:
    assert open_best(int8_beside(pair)).engine.card.precision == "int8"
    with pytest.raises(ModelError, match="int8"):
        open_best(int8_beside(pair), precision="float32")


def test_without_an_int8_file(pair: Path, logged: pytest.LogCaptureFixture) -> None:
    int8_beside(pair).unlink()
    assert open_best(pair).engine.card.precision == "float32"
    assert logged.records == []
    with pytest.raises(ModelError, match=r"model\.int8\.onnx"):
        open_best(pair, precision="int8")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"version": "0.0.0+other"}, "another model"),
        ({"temperature": 3.0}, "before calibration"),
        ({"quantised": MEASURED.model_copy(update={"accuracy": 0.93})}, "loses 2.0%"),
        ({"quantised": MEASURED.model_copy(update={"calibration_error": 0.05})}, "adds 2.0%"),
        ({"quantised": None}, "not an int8"),
    ],
)
def test_auto_does_not_choose_unsuitable_int8(
    pair: Path, logged: pytest.LogCaptureFixture, fields: dict[str, object], reason: str
) -> None:
    restamp(int8_beside(pair), **fields)
    assert open_best(pair).engine.card.precision == "float32"
    assert reason in logged.text


def test_int8_of_another_model_is_refused(pair: Path) -> None:
    stamp(pair, Card.from_metadata(read_metadata(pair)).model_copy(update={"version": "2.0"}))
    with pytest.raises(ModelError, match="another model"):
        open_best(pair, precision="int8")


def test_int8_that_fails_its_test_is_not_used(pair: Path, logged: pytest.LogCaptureFixture) -> None:
    overwrite_parameters(int8_beside(pair))
    OnnxEngine(int8_beside(pair))  # it loads without an error
    assert open_best(pair).engine.card.precision == "float32"
    assert "using model.onnx instead of model.int8.onnx" in logged.text
    assert "logits are off by" in logged.text
    with pytest.raises(ModelError, match="off by"):
        open_best(pair, precision="int8")


def test_damaged_int8_is_not_used(pair: Path, logged: pytest.LogCaptureFixture) -> None:
    int8_beside(pair).write_bytes(b"nothing")
    assert open_best(pair).engine.card.precision == "float32"
    assert "damaged" in logged.text


def test_a_model_that_fails_its_self_test_is_refused(pair: Path) -> None:
    overwrite_parameters(pair)
    with pytest.raises(ModelError, match="off by"):
        Predictor(pair)


def test_a_file_with_one_changed_byte_is_refused(pair: Path) -> None:
    data = bytearray(pair.read_bytes())
    data[len(data) // 2] ^= 1
    pair.with_suffix(".new").write_bytes(data)
    pair.with_suffix(".new").replace(pair)
    with pytest.raises(ModelError, match="damaged"):
        Predictor(pair)


def test_a_model_with_other_inputs_is_refused(tmp_path: Path) -> None:
    rename_input(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="has the inputs"):
        Predictor(tmp_path / "model.onnx")


def test_an_older_file_without_a_self_test_is_opened(
    tmp_path: Path, logged: pytest.LogCaptureFixture
) -> None:
    shutil.copy(SHIPPED_MODEL, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    onnx.helper.set_model_props(model, card_of(SHIPPED_MODEL).to_metadata())
    onnx.save(model, tmp_path / "model.onnx")
    assert open_engine(tmp_path / "model.onnx").card == card_of(SHIPPED_MODEL)
    assert "has no self-test" in logged.text


def test_torch_opens_the_float32_file(pair: Path) -> None:
    shutil.copy(SHIPPED_MODEL.with_suffix(".safetensors"), pair.with_suffix(".safetensors"))
    opened = open_best(pair, engine="torch").engine
    assert (opened.name, opened.card.precision) == ("torch", "float32")
    with pytest.raises(ModelError, match="float32"):
        open_best(pair, engine="torch", precision="int8")


@pytest.mark.parametrize(
    ("engine", "package", "extra"),
    [("openvino", "openvino", "openvino"), ("torch", "torch", "training")],
)
def test_a_missing_package_is_reported_with_the_command_to_install_it(
    monkeypatch: pytest.MonkeyPatch, engine: str, package: str, extra: str
) -> None:
    monkeypatch.delitem(sys.modules, f"ml.engines.{engine}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelError, match=rf"needs the package {package}.*\[{extra}\]"):
        open_engine(SHIPPED_MODEL, engine)  # type: ignore[arg-type]
