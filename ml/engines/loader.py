"""Opening a model file: which engine runs it, in which precision, and whether it computes right."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from ml.errors import ModelError
from ml.models.card import Card
from ml.models.engine import Engine, EngineName
from ml.models.onnx_file import ModelFile, read_metadata
from ml.models.self_test import Reference

EngineChoice = Literal["auto", EngineName]
PrecisionChoice = Literal["auto", "float32", "int8"]

LARGEST_COST = 0.003
"""What int8 may cost of the accuracy and still be chosen by `auto`; one photo is no measure."""
LARGEST_CALIBRATION_COST = 0.01
"""What it may add to the calibration error."""

log = logging.getLogger("skyspotter")


class Opened(NamedTuple):
    """A model that runs."""

    file: ModelFile
    """The one asked for, or the int8 one beside it."""
    engine: Engine
    """What runs these very bytes."""


def open_engine(model: Path | ModelFile, engine: EngineChoice = "auto", threads: int = 1) -> Engine:
    """Open this very file, and check it against the reference inputs that it carries.

    `auto` is ONNX Runtime: ARCHITECTURE.md has the figures.

    Raises:
        ModelError: where the file is missing, damaged or of another kind, where the engine is
            not installed, or where it does not compute what it should.
    """
    file = ModelFile.read(model)
    file.verify()
    reference = Reference.from_metadata(file.metadata)
    opened = _class_of("onnxruntime" if engine == "auto" else engine)(file, threads)
    if reference is None:
        log.info("%s carries no reference inputs: what it computes is not checked", file.path)
    else:
        reference.check(opened)
    return opened


def open_best(
    model: Path,
    engine: EngineChoice = "auto",
    precision: PrecisionChoice = "auto",
    threads: int = 1,
) -> Opened:
    """Open a model file, or the int8 file beside it: `model.int8.onnx` beside `model.onnx`.

    `auto` takes int8 where that costs next to no accuracy and computes right on this machine.
    A model file that is int8 itself is taken as it is.

    Raises:
        ModelError: as `open_engine`, or where there is none of that precision.
    """

    def opened(path: Path | ModelFile) -> Opened:
        file = ModelFile.read(path)
        return Opened(file, open_engine(file, engine, threads))

    card = Card.from_metadata(read_metadata(model))
    if precision == card.precision or (precision == "auto" and card.precision == "int8"):
        return opened(model)
    if precision == "float32":
        raise ModelError(f"{model} is an int8 model: name a float32 one, or allow int8.")
    beside = int8_beside(model)
    if precision == "int8":
        return opened(_stand_in(beside, card))
    if beside.is_file() and engine != "torch":
        try:
            int8 = _stand_in(beside, card)
            _cheap(int8.card)
            return opened(int8)
        except ModelError as error:
            log.warning("%s is not used, %s is: %s", beside.name, model.name, error)
    return opened(model)


def int8_beside(model: Path) -> Path:
    """Where the int8 file of a float32 one lies."""
    return model.with_suffix(f".int8{model.suffix}")


def _stand_in(path: Path, float32: Card) -> ModelFile:
    """Read an int8 file, and make sure that it stands for the float32 one."""
    int8 = ModelFile.read(path)
    same = {"classes", "preprocessing", "temperature", "threshold", "version"}
    if int8.card.model_dump(include=same) != float32.model_dump(include=same):
        raise ModelError(
            "The int8 file was made from another model, or before calibrating: export it again."
        )
    return int8


def _cheap(int8: Card) -> None:
    """Make sure that it costs next to nothing."""
    of = int8.quantised
    if of is None:
        raise ModelError("It is no int8 model.")
    if of.cost > LARGEST_COST:
        raise ModelError(f"It costs {of.cost:.1%} of accuracy; {LARGEST_COST:.1%} is allowed.")
    if of.calibration_cost > LARGEST_CALIBRATION_COST:
        raise ModelError(f"It adds {of.calibration_cost:.1%} to the calibration error.")


def _class_of(engine: EngineName) -> Callable[[ModelFile, int], Engine]:
    """Import what the engine needs, and nothing of the others."""
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
