"""Export trained parameters to an ONNX file and check that it gives the results of PyTorch."""

import logging
import warnings
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import torch
from PIL import Image, ImageOps

from ml.data.synthetic import CLASSES, draw
from ml.engines.base import Pixels
from ml.engines.onnxruntime import OnnxEngine
from ml.engines.self_test import SIDE, SelfTest
from ml.errors import ExportError, ModelError
from ml.files import atomic_write
from ml.images.preprocessing import Preprocessing, network_input
from ml.model import NormalisedNetwork
from ml.models.card import Card
from ml.models.checkpoint import load
from ml.models.onnx_file import HASH, read_metadata

TOLERANCE = 1e-3
"""Largest allowed difference from PyTorch, of logits and evidence; 1e-5 is usual."""
SELF_TEST_PICTURES = 4  # each costs one inference when the model is opened
SELF_TEST_TOLERANCE = {"float32": 0.02, "int8": 0.1}
"""Largest allowed difference of a logit. If int8 sums saturate, as on Haswell, it is 0.16."""


def export(parameters: Path, output: Path, inputs: Pixels | None = None) -> float:
    """Write `output` from a safetensors file, or from the best checkpoint of a run folder.

    Args:
        inputs: RGB bytes (N, size, size, 3) for the comparison; by default drawn pictures.

    Returns:
        The largest difference from PyTorch, of logits and evidence.

    Raises:
        ModelError: if the parameters cannot be read.
        ExportError: if the results differ from PyTorch's. No file is written then.
    """
    if parameters.is_dir():
        finished = parameters / "model.safetensors"  # only a finished run has it, with its scores
        parameters = finished if finished.exists() else parameters / "best.safetensors"
    if parameters.suffix != ".safetensors":
        raise ModelError(f"{parameters} is not a run folder or a safetensors file.")
    network, card = load(parameters)
    normalised = NormalisedNetwork(network).eval()
    inputs = drawn_inputs(card.preprocessing) if inputs is None else inputs
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as partial:
        partial.write_bytes(_to_onnx(normalised, card))
        difference = _verify(normalised, partial, inputs)
        add_self_test(partial)
        return difference


def stamp(file: Path, card: Card) -> None:
    """Replace the card in the metadata of an ONNX file; change nothing else."""
    others = {k: v for k, v in read_metadata(file).items() if k not in Card.model_fields}
    _write_metadata(file, others | card.to_metadata())


def add_self_test(file: Path) -> None:
    """Add a self-test to an ONNX file: drawn pictures and the file's own logits for them."""
    engine = OnnxEngine(file)
    drawn = (_drawn(3, number) for number in range(SELF_TEST_PICTURES))
    pictures = np.stack([np.asarray(ImageOps.fit(picture, (SIDE, SIDE))) for picture in drawn])
    self_test = SelfTest.of(engine, pictures, SELF_TEST_TOLERANCE[engine.card.precision])
    _write_metadata(file, read_metadata(file) | self_test.to_metadata())


def _write_metadata(file: Path, metadata: dict[str, str]) -> None:
    model = onnx.load_model(file)
    network_hash = sha256(model.graph.SerializeToString()).hexdigest()
    onnx.helper.set_model_props(model, metadata | {HASH: network_hash})
    with atomic_write(file) as partial:
        onnx.save_model(model, partial)


def drawn_inputs(preprocessing: Preprocessing, count: int = 16) -> Pixels:
    """Return the views of `count` drawn pictures, (N, size, size, 3), to compare networks on."""
    pictures = (_drawn(2, number) for number in range(count))
    return np.concatenate([network_input(picture, preprocessing) for picture in pictures])


def _drawn(seed: int, number: int) -> Image.Image:
    return draw(CLASSES[number % len(CLASSES)], np.random.default_rng((seed, number)))[0]


def _to_onnx(network: NormalisedNetwork, card: Card) -> bytes:
    size = card.preprocessing.size
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        program = torch.onnx.export(
            network,
            (example,),
            input_names=["image"],
            output_names=["logits", "evidence"],
            dynamic_shapes={"image": {0: torch.export.Dim("N")}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, card.to_metadata())
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString()
    return serialised


@torch.no_grad()
def _verify(network: NormalisedNetwork, file: Path, inputs: Pixels) -> float:
    """Return the largest difference from PyTorch, or raise ExportError if it is too large."""
    engine, difference, same_labels = OnnxEngine(file), 0.0, True
    for start in range(0, len(inputs), 16):  # in batches, to limit memory
        pixels = inputs[start : start + 16]
        expected = [output.numpy() for output in network(torch.from_numpy(pixels))]
        found = engine.run(pixels)
        same_labels &= bool((found[0].argmax(1) == expected[0].argmax(1)).all())
        gaps = (float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))
        difference = max(difference, *gaps)
    if not same_labels or not difference <= TOLERANCE:
        raise ExportError(
            f"The exported model differs from PyTorch by up to {difference:.2g} on "
            f"{len(inputs)} inputs ({TOLERANCE:g} is allowed). Nothing was written."
        )
    return difference
