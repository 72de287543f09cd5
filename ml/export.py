"""From trained parameters to the ONNX file that is served: written only if it agrees."""

import io
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from ml.card import Card
from ml.checkpoint import load, replacing
from ml.engine import OnnxEngine, Pixels
from ml.errors import ExportError, ModelError
from ml.model import Network, Output, normalise
from ml.preprocessing import Preprocessing, network_input
from ml.synthesize import CLASSES, draw

TOLERANCE = 1e-3
"""Largest difference of a logit that still counts as the same network; 1e-5 is usual."""


class Served(nn.Module):
    """The network with normalisation in front: what stands in the ONNX file."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Output:
        """RGB bytes (N, H, W, 3) to logits (N, C) and evidence (N, C, H/32, W/32)."""
        output: Output = self.network(normalise(image))
        return output


def export(parameters: Path, output: Path, inputs: Pixels | None = None) -> float:
    """Write `output` from a safetensors file, or the best of a run folder.

    Args:
        inputs: (N, size, size, 3) RGB bytes to compare both on; drawn pictures by default.

    Returns:
        The largest difference of a logit or a cell of the evidence from PyTorch's.

    Raises:
        ModelError: where the parameters cannot be read.
        ExportError: where the file would disagree with PyTorch; it is not written then.
    """
    if parameters.is_dir():  # a finished run's model carries its scores, an unfinished has none
        finished = parameters / "model.safetensors"
        parameters = finished if finished.exists() else parameters / "best.safetensors"
    if parameters.suffix != ".safetensors":
        raise ModelError(f"{parameters} is neither a run folder nor a safetensors file.")
    network, card = load(parameters)
    served = Served(network).eval()
    if inputs is None:
        inputs = drawn_inputs(card.preprocessing)
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as partial:
        partial.write_bytes(_to_onnx(served, card))
        return _verify(served, partial, inputs)


def stamp(file: Path, card: Card) -> None:
    """Replace the card of an ONNX file and leave the network as it is."""
    model = onnx.load_model(file)
    onnx.helper.set_model_props(model, card.to_metadata())
    with replacing(file) as partial:
        onnx.save_model(model, partial)


def drawn_inputs(preprocessing: Preprocessing, count: int = 16) -> Pixels:
    """Views of drawn pictures, (N, size, size, 3): something to compare networks on anywhere."""
    pictures = [
        draw(CLASSES[i % len(CLASSES)], np.random.default_rng((2, i)))[0] for i in range(count)
    ]
    return np.concatenate([network_input(picture, preprocessing) for picture in pictures])


def _to_onnx(served: Served, card: Card) -> bytes:
    size = card.preprocessing.size
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter, nobody's to act on
        program = torch.onnx.export(
            served,
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
    buffer = io.BytesIO()
    onnx.save_model(model, buffer)
    return buffer.getvalue()


@torch.no_grad()
def _verify(served: Served, file: Path, inputs: Pixels) -> float:
    engine, difference, same_labels = OnnxEngine(file), 0.0, True
    for start in range(0, len(inputs), 16):  # a batch's worth of memory
        pixels = inputs[start : start + 16]
        expected = [output.numpy() for output in served(torch.from_numpy(pixels))]
        found = engine.run(pixels)
        same_labels &= bool((found[0].argmax(1) == expected[0].argmax(1)).all())
        gaps = (float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))
        difference = max(difference, *gaps)
    if not same_labels or not difference <= TOLERANCE:
        raise ExportError(
            f"The exported model differs from PyTorch by up to {difference:.2g} on "
            f"{len(inputs)} inputs ({TOLERANCE:g} is allowed): nothing was written."
        )
    return difference
