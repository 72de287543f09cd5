"""Export an int8 model: static quantisation, calibrated on training photos.

Weights are signed with a scale per channel. Activations are unsigned, which x86 multiplies fastest:
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnxruntime import quantization
from rich.console import Console

from ml.data.image_folder import scan
from ml.data.recorded_split import split_as_trained
from ml.data.sample import Sample
from ml.engines.base import Pixels
from ml.engines.onnxruntime import OnnxEngine
from ml.errors import DataError
from ml.evaluation.evaluate import evaluate_logits, predict_logits
from ml.export.onnx import add_self_test, export, stamp
from ml.files import atomic_write
from ml.images.decode import load_input
from ml.images.preprocessing import Preprocessing
from ml.models.card import Quantised
from ml.models.onnx_file import ModelFile
from ml.models.probability import probabilities
from ml.predictor import Predictor

CALIBRATION_PHOTOS = 256
"""Training photos to measure the ranges of the activations on; 512 photos were not better."""
FLOAT32_STAGES = ("network.features.0.", "network.features.1.")
"""The first two stages take almost no time and stay float32. Their few channels have very different
ranges: in int8 they would cause half of the error."""


def export_int8(parameters: Path, output: Path, data: Path) -> Quantised:
    """Write an int8 ONNX file from a safetensors file, or from the best checkpoint of a run folder.

    The temperature and the threshold are those of the float32 model. The card of the int8 file
    compares its accuracy and calibration with float32, on photos that were not used in training.

    Args:
        data: the image folder that the model was trained on; it is split as in training.

    Raises:
        ModelError, ExportError: as `export`.
        DataError: if the folder has no training photos, or no test and validation photos.
    """
    with TemporaryDirectory() as scratch:
        float32 = Path(scratch) / "float32.onnx"
        export(parameters, float32)
        run = parameters if parameters.is_dir() else parameters.parent
        split = ModelFile.read(float32).card.split
        folder = split_as_trained(scan(data), run, split, Console(stderr=True))
        training = folder.of("train")
        held_out = next((name for name in ("test", "validation") if folder.of(name)), None)
        if held_out is None or not training:
            raise DataError(f"{data} needs training photos, and validation or test photos.")
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(output) as partial:
            _quantise(float32, partial, training)
            quantised = _compare(float32, partial, held_out, folder.of(held_out))
            add_self_test(partial)
    return quantised


class _CalibrationPhotos(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Load the calibration photos for ONNX Runtime, one at a time."""

    def __init__(self, samples: Sequence[Sample], preprocessing: Preprocessing) -> None:
        self._inputs = ({"image": load_input(sample.path, preprocessing)} for sample in samples)

    def get_next(self) -> dict[str, Pixels] | None:
        return next(self._inputs, None)


def _quantise(float32: Path, output: Path, training: Sequence[Sample]) -> None:
    order = np.random.default_rng(0).permutation(len(training))[:CALIBRATION_PHOTOS]
    preprocessing = ModelFile.read(float32).card.preprocessing
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)  # hides advice on a pre-processing step that changes nothing here
    try:
        quantization.quantize_static(
            float32,
            output,
            _CalibrationPhotos([training[i] for i in order], preprocessing),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            nodes_to_exclude=_float32_nodes(onnx.load(float32).graph),
        )
    finally:
        root.setLevel(level)


def _float32_nodes(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes that stay float32: the first stages, the pooling and the rest.

    The mean of the evidence is exactly the logit. Rounding after the pooling would change that.
    """
    pooled = next(node.input[0] for node in graph.node if node.op_type == "ReduceMean")
    names, after = [], {pooled}
    for node in graph.node:  # in the order of computation
        if after.intersection(node.input):
            after.update(node.output)
            names.append(node.name)
        elif any(name.startswith(FLOAT32_STAGES) for name in node.input):
            names.append(node.name)
    return names


def _compare(float32: Path, int8: Path, split: str, samples: Sequence[Sample]) -> Quantised:
    """Compare int8 with float32, and write the card of the int8 file."""
    engines = (OnnxEngine(float32), OnnxEngine(int8))
    card = engines[0].card
    logits = [predict_logits(Predictor(engine=engine), samples) for engine in engines]
    before, after = (evaluate_logits(card, samples, of) for of in logits)
    answers = [probabilities(of, card.temperature) for of in logits]
    same = answers[0].argmax(axis=1) == answers[1].argmax(axis=1)
    quantised = Quantised(
        split=split,
        photos=len(samples),
        accuracy=after["accuracy"],
        accuracy_float32=before["accuracy"],
        calibration_error=after["calibration_error"],
        calibration_error_float32=before["calibration_error"],
        label_agreement=float(same.mean()),
        largest_probability_difference=float(np.abs(answers[0] - answers[1]).max()),
    )
    del after["wrong"]
    changes = {"scores": {split: after}, "quantised": quantised}
    stamp(int8, card.model_copy(update=changes))
    return quantised
