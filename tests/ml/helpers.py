"""Read the cards of model files, and write faulty model files."""

from pathlib import Path

import onnx

from ml.export.onnx import stamp
from ml.models.card import Card
from ml.models.onnx_file import read_metadata
from ml.predictor import SHIPPED_MODEL


def overwrite_parameters(model: Path) -> None:
    """Overwrite parameters so that only the self-test detects it."""
    other = model.with_suffix(".other")
    data = bytearray(model.read_bytes())
    middle = len(data) // 2  # among the float32 parameters
    data[middle : middle + 40_000] = bytes(40_000)
    other.write_bytes(data)
    stamp(other, card_of(other))  # updates the hash
    other.replace(model)


def rename_input(model: Path) -> None:
    """Write the shipped model with an input that has another name."""
    other = onnx.load(SHIPPED_MODEL)
    for node in other.graph.node:
        node.input[:] = ["photo" if name == "image" else name for name in node.input]
    other.graph.input[0].name = "photo"
    onnx.helper.set_model_props(other, card_of(SHIPPED_MODEL).to_metadata())
    onnx.save(other, model)


def card_of(model: Path) -> Card:
    return Card.from_metadata(read_metadata(model))
