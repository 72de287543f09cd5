import shutil
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from rich.console import Console

from ml.cli.inspect import inspect
from ml.engines.base import Engine
from ml.engines.loader import int8_beside, open_best, open_engine
from ml.engines.self_test import SelfTest
from ml.errors import DataError
from ml.export.int8 import export_int8
from ml.export.onnx import drawn_inputs, stamp
from ml.models.card import Split
from ml.models.checkpoint import load, parameters_of, save
from ml.models.onnx_file import read_metadata
from ml.predictor import SHIPPED_MODEL, Predictor

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped parameters as float32 and int8, calibrated and measured on drawn pictures."""
    folder = tmp_path_factory.mktemp("quantised")
    network, card = load(SHIPPED_MODEL.with_suffix(".safetensors"))
    card = card.model_copy(update={"split": Split(test=0, validation=0.3), "version": "1"})
    save(folder / "model.safetensors", parameters_of(network), card)
    shutil.copy(SHIPPED_MODEL, folder / "model.onnx")
    stamp(folder / "model.onnx", card)
    export_int8(folder / "model.safetensors", folder / "model.int8.onnx", drawn)
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def int8(model: Path) -> Engine:
    return open_engine(int8_beside(model))


@pytest.fixture(scope="module")
def float32(model: Path) -> Engine:
    return open_engine(model)


def test_the_card_compares_int8_with_float32(int8: Engine, float32: Engine) -> None:
    quantised = int8.card.quantised
    assert quantised is not None
    assert (quantised.split, quantised.photos) == ("validation", 12)
    assert int8.card.scores["validation"]["accuracy"] == quantised.accuracy
    assert quantised.label_agreement > 0.8
    assert 0 < quantised.largest_probability_difference < 0.5
    assert (int8.card.precision, float32.card.precision) == ("int8", "float32")
    kept = float32.card.model_dump(exclude={"scores", "quantised"})
    assert int8.card.model_dump(exclude={"scores", "quantised"}) == kept


def test_logits_are_close_to_those_of_float32(int8: Engine, float32: Engine) -> None:
    pixels = drawn_inputs(int8.card.preprocessing, 12)
    difference = np.abs(int8.run(pixels)[0] - float32.run(pixels)[0]).max(axis=1)
    assert 0 < np.median(difference) < 0.3


def test_the_mean_of_the_evidence_is_the_logit(int8: Engine) -> None:
    logits, evidence = int8.run(drawn_inputs(int8.card.preprocessing, 3))
    assert evidence.shape == (3, 4, 7, 7)
    np.testing.assert_allclose(evidence.mean(axis=(2, 3)), logits, atol=1e-4)


def test_the_first_stages_and_the_head_stay_float32(model: Path) -> None:
    graph = onnx.load(int8_beside(model)).graph
    assert int8_beside(model).stat().st_size < 0.4 * model.stat().st_size
    assert [value.name for value in graph.output] == ["logits", "evidence"]
    made_by = {name: node for node in graph.node for name in node.output}
    rounded = {
        node.name
        for node in graph.node
        if node.op_type in ("Conv", "Gemm")
        and made_by.get(node.input[1], node).op_type == "DequantizeLinear"
    }
    whole = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    # Three of the first stages, and in the head two reductions, the evidence's and the logits'.
    assert len(whole) - len(rounded) == 3 + 4
    assert not any(node.name in rounded for node in graph.node if "evidence" in node.output)


def test_openvino_gives_the_same_logits_in_the_precision_it_opens() -> None:
    theirs = open_best(SHIPPED_MODEL, "openvino").engine
    ours = open_best(SHIPPED_MODEL, precision=theirs.card.precision).engine
    pixels = drawn_inputs(ours.card.preprocessing, 8)
    np.testing.assert_allclose(theirs.run(pixels)[0], ours.run(pixels)[0], atol=0.2)


def test_the_shipped_int8_file_was_made_from_the_shipped_model() -> None:
    assert Predictor.open().card.precision == "int8"


def test_the_self_test_of_int8_detects_float32(model: Path, float32: Engine) -> None:
    self_test = SelfTest.from_metadata(read_metadata(int8_beside(model)))
    assert self_test is not None
    assert self_test.difference(float32) > 0.02  # more than the tolerance of float32


def test_both_precisions_can_be_opened(model: Path) -> None:
    assert open_best(model, precision="int8").engine.card.precision == "int8"
    assert open_best(model, precision="float32").engine.card.precision == "float32"


def test_inspect_shows_the_comparison_with_float32(model: Path) -> None:
    screen = StringIO()
    inspect(int8_beside(model), as_json=False, console=Console(file=screen, width=120))
    assert "int8" in screen.getvalue()
    assert "same label" in screen.getvalue()


def test_a_folder_without_held_out_photos_is_refused(
    float32: Engine, model: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsplit = float32.card.model_copy(update={"split": Split(test=0, validation=0)})

    def exported(_: Path, output: Path) -> None:  # exporting takes seconds
        shutil.copy(model, output)
        stamp(output, unsplit)

    monkeypatch.setattr("ml.export.int8.export", exported)
    with pytest.raises(DataError, match="validation or test photos"):
        export_int8(tmp_path / "model.safetensors", tmp_path / "out" / "model.onnx", drawn)
    assert not (tmp_path / "out").exists()
