"""A network of three classes without training: the strongest of red, green and blue."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from ml.images.preprocessing import Preprocessing
from ml.models.card import Card

CLASSES = ("red", "green", "blue")
CARD = Card(
    version="0.0.0+colours",
    classes=CLASSES,
    preprocessing=Preprocessing(strategy="native", size=32),
    temperature=10.0,
    threshold=0.5,
)


def write_colours(path: Path, card: Card = CARD) -> Path:
    """Write it as a model file; its logits are the means of the channels."""
    nodes = [
        helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["numbers"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("GlobalAveragePool", ["planes"], ["evidence"]),
        helper.make_node("Flatten", ["evidence"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 32, 32, 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3]),
            helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["N", 3, 1, 1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, card.to_metadata())
    onnx.save(model, path)
    return path
