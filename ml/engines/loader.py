"""Open a model file: choose the engine and the precision, and run the model's self-test."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from ml.engines.base import Engine, EngineName
from ml.engines.self_test import SelfTest
from ml.errors import ModelError
from ml.models.card import Card
from ml.models.onnx_file import ModelFile, read_metadata

EngineChoice = Literal["auto", EngineName]
PrecisionChoice = Literal["auto", "float32", "int8"]

MAX_LOST_ACCURACY, MAX_ADDED_CALIBRATION_ERROR = 0.003, 0.01
"""The most that int8 may lose or add to be chosen by `auto`."""

log = logging.getLogger("skyspotter")


class Opened(NamedTuple):
    """A file and the engine that runs its bytes."""

    file: ModelFile
    engine: Engine


def open_engine(model: Path | ModelFile, engine: EngineChoice = "auto", threads: int = 1) -> Engine:
    """Open exactly this file and run its self-test. `auto` is ONNX Runtime.

    Raises:
        ModelError: if the file is missing, damaged or not a Skyspotter model, if the engine is
            not installed, or if the self-test fails.
    """
    file = ModelFile.read(model)
    file.verify()
    self_test = SelfTest.from_metadata(file.metadata)
    opened = _class_of("onnxruntime" if engine == "auto" else engine)(file, threads)
    if self_test:
        self_test.check(opened)
    else:
        log.info("%s has no self-test: the results of the engine are not checked", file.path)
    return opened


def open_best(
    model: Path,
    engine: EngineChoice = "auto",
    precision: PrecisionChoice = "auto",
    threads: int = 1,
) -> Opened:
    """Open a model file, or the int8 file beside it: `model.int8.onnx` beside `model.onnx`.

    The precision `auto` uses the int8 file if it loses almost no accuracy and passes its self-test
    on this machine. If `model` itself is int8, `auto` opens it.

    Raises:
        ModelError: as `open_engine`, or if there is no file of that precision.
    """

    def opened(path: Path | ModelFile) -> Opened:
        file = ModelFile.read(path)
        return Opened(file, open_engine(file, engine, threads))

    card = Card.from_metadata(read_metadata(model))
    if precision == card.precision or (precision == "auto" and card.precision == "int8"):
        return opened(model)
    if precision == "float32":
        raise ModelError(f"{model} is an int8 model. Choose a float32 model, or allow int8.")
    beside = int8_beside(model)
    if precision == "int8":
        return opened(_int8_of(beside, card))
    if beside.is_file() and engine != "torch":
        try:
            int8 = _int8_of(beside, card)
            _check_cost(int8.card)
            return opened(int8)
        except ModelError as error:
            log.warning("using %s instead of %s: %s", model.name, beside.name, error)
    return opened(model)


def int8_beside(model: Path) -> Path:
    """Return the path of the int8 file that belongs to a float32 file."""
    return model.with_suffix(f".int8{model.suffix}")


def _int8_of(path: Path, float32: Card) -> ModelFile:
    """Read an int8 file and check that it was made from the float32 model."""
    int8 = ModelFile.read(path)
    same = {"classes", "preprocessing", "temperature", "threshold", "version"}
    if int8.card.model_dump(include=same) != float32.model_dump(include=same):
        raise ModelError(
            "The int8 file was made from another model, or before calibration. Export it again."
        )
    return int8


def _check_cost(int8: Card) -> None:
    """Check that int8 loses almost no accuracy and adds almost no calibration error."""
    if (measured := int8.quantised) is None:
        raise ModelError("It is not an int8 model.")
    lost = measured.accuracy_float32 - measured.accuracy
    if lost > (allowed := MAX_LOST_ACCURACY):
        raise ModelError(f"It loses {lost:.1%} of accuracy; {allowed:.1%} is allowed.")
    added = measured.calibration_error - measured.calibration_error_float32
    if added > (allowed := MAX_ADDED_CALIBRATION_ERROR):
        raise ModelError(f"It adds {added:.1%} to the calibration error; {allowed:.1%} is allowed.")


def _class_of(engine: EngineName) -> Callable[[ModelFile, int], Engine]:
    """Import only this engine, because the packages of the others may not be installed."""
    try:
        if engine == "openvino":
            from ml.engines.openvino import OpenVinoEngine

            return OpenVinoEngine
        if engine == "torch":
            from ml.engines.torch import TorchEngine

            return TorchEngine
    except ModuleNotFoundError as error:
        extra = "training" if engine == "torch" else engine
        raise ModelError(
            f"The engine {engine} needs the package {error.name}: "
            f"run `pip install --constraint constraints.txt --editable '.[{extra}]'`."
        ) from error
    from ml.engines.onnxruntime import OnnxEngine

    return OnnxEngine
