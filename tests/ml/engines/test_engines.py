"""All engines give the same results for the same photos."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ml.engines.base import Engine, Pixels
from ml.engines.loader import open_engine
from ml.errors import ModelError
from ml.export.onnx import add_self_test, drawn_inputs, stamp
from ml.predictor import SHIPPED_MODEL

ENGINES = ("onnxruntime", "openvino", "torch")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model with a new self-test."""
    folder = tmp_path_factory.mktemp("model")
    for suffix in (".onnx", ".safetensors"):
        shutil.copy(SHIPPED_MODEL.with_suffix(suffix), folder)
    add_self_test(folder / "model.onnx")
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def opened(model: Path) -> Callable[[str], Engine]:
    engines: dict[str, Engine] = {}

    def get(name: str) -> Engine:
        if name not in engines:
            engines[name] = open_engine(model, name)  # type: ignore[arg-type]
        return engines[name]

    return get


@pytest.fixture(scope="module")
def pixels(opened: Callable[[str], Engine]) -> Pixels:
    return drawn_inputs(opened("onnxruntime").card.preprocessing, 8)


@pytest.mark.parametrize("name", ENGINES)
def test_all_engines_agree(opened: Callable[[str], Engine], pixels: Pixels, name: str) -> None:
    engine = opened(name)
    assert engine.name == name
    assert engine.card == opened("onnxruntime").card
    logits, evidence = engine.run(pixels)
    expected = opened("onnxruntime").run(pixels)
    assert logits.dtype == evidence.dtype == np.float32
    np.testing.assert_allclose(logits, expected[0], atol=1e-3)
    np.testing.assert_allclose(evidence, expected[1], atol=1e-3)
    np.testing.assert_allclose(evidence.mean(axis=(2, 3)), logits, atol=1e-4)
    assert np.ptp(logits, axis=0).min() > 1  # the photos have different logits


@pytest.mark.parametrize("name", ENGINES)
def test_use_from_several_threads(
    opened: Callable[[str], Engine], pixels: Pixels, name: str
) -> None:
    engine = opened(name)
    alone = [engine.run(pixels[i : i + 1])[0] for i in range(len(pixels))]
    with ThreadPoolExecutor(4) as pool:
        order = [i % len(pixels) for i in range(24)]
        together = list(pool.map(lambda i: engine.run(pixels[i : i + 1])[0], order))
    for i, logits in zip(order, together, strict=True):
        np.testing.assert_allclose(logits, alone[i], atol=1e-5)


@pytest.mark.parametrize("name", ENGINES)
def test_results_are_not_overwritten(
    opened: Callable[[str], Engine], pixels: Pixels, name: str
) -> None:
    """An engine must not return memory that its next call writes to."""
    first, _ = opened(name).run(pixels[:1])
    before = first.copy()
    opened(name).run(pixels[1:2])
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("name", ENGINES)
def test_a_damaged_network_is_refused(model: Path, tmp_path: Path, name: str) -> None:
    data = model.read_bytes()
    start = data.index(b"network.features.0")  # inside the graph: the metadata stays intact
    (tmp_path / "model.onnx").write_bytes(data[:1000] + bytes(start - 1000) + data[start:])
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="model"):
        open_engine(tmp_path / "model.onnx", name)  # type: ignore[arg-type]


def test_parameters_of_another_version_are_refused(model: Path, tmp_path: Path) -> None:
    for file in model.parent.iterdir():
        shutil.copy(file, tmp_path)
    card = open_engine(model).card.model_copy(update={"version": "0.0.0+other"})
    stamp(tmp_path / "model.onnx", card)
    with pytest.raises(ModelError, match=r"holds version .*, not 0\.0\.0\+other"):
        open_engine(tmp_path / "model.onnx", "torch")
