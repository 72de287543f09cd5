"""A training run from start to end: read the data, train, export, measure, write the report."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ml.data.checks import warnings
from ml.data.image_folder import ImageFolder, scan, scan_ood
from ml.data.recorded_split import can_decode, drop_unreadable, limit_samples, restore_split
from ml.data.split import split_folder
from ml.data.synthetic import synthesize
from ml.engines.base import Pixels
from ml.errors import DataError, SkyspotterError, listing
from ml.evaluation.evaluate import show_metrics
from ml.export.onnx import export, stamp
from ml.files import write_json
from ml.images.decode import decode
from ml.images.preprocessing import Preprocessing, Strategy, network_input
from ml.models.checkpoint import load, parameters_of, save
from ml.predictor import Predictor
from ml.report.page import write_report
from ml.run_folder import LABEL_AUDIT, OLD_LABEL_AUDIT
from ml.runs.calibrate import calibrate, show_calibration, write_predictions
from ml.runs.label_audit import audit_labels
from ml.trainer import Trainer
from ml.training.checkpoints import CHECKPOINT_FILES, STATE_FILE
from ml.training.config import Config, StrategyChoice
from ml.training.distributed import ProcessGroup, process_group
from ml.training.setup import Setup

RESULTS = ("model.onnx", "model.safetensors", "predictions.csv", "metrics.json", "report.html")
"""The files that only a finished run has."""

SHORTER_SIDE = 256 / 224
"""Ratio of a resized photo's shorter side to the input size, as usual for ImageNet."""


def run(config: Config, console: Console, resume: bool = False) -> Path:
    """Train with the settings of `config`, and return the path of the model.onnx.

    Under `torchrun` all its processes train together. If one of them dies and torchrun restarts
    them, they continue after the last epoch, as with `resume`.

    Args:
        resume: continue the run in `config.output`.

    Raises:
        DataError, ModelError, ExportError
    """
    started = time.monotonic()
    with process_group() as group:
        console = console if group.is_main else Console(quiet=True)
        # The trainer is freed before the group is destroyed: see `process_group`.
        _run_in(group, config, console, resume, started)
    return config.output / "model.onnx"


def _run_in(
    group: ProcessGroup, asked: Config, console: Console, resume: bool, started: float
) -> None:
    output = asked.output
    if any(group.gather([group.restarted])):
        # The folder may hold an earlier run with other settings that is not yet deleted.
        begun = group.broadcast(
            lambda: (output / STATE_FILE).exists() and asked.matches_run(output)
        )
        resume = resume or begun
    config, folder, preprocessing = group.broadcast(lambda: prepare(asked, resume, console))
    setup = Setup(config, folder, preprocessing, group, resume)
    trainer = Trainer(setup, console, started)
    if resume:
        console.print(f"Resuming after epoch {trainer.state.epoch} of {trainer.state.epochs}.")
    finished = group.broadcast(lambda: all((output / name).exists() for name in RESULTS))
    if finished and trainer.stop_reason():
        console.print(f"{output} is finished: nothing is missing.", markup=False)
        return
    if group.is_main:
        begin(config, folder, resume)
    stopped = trainer.run()
    if group.is_main:
        environment = {"environment": setup.device.environment()}
        folder = drop_unreadable(folder, trainer.metrics.unreadable)
        try:
            _finish(config, folder, trainer.state.summary(stopped) | environment, console)
        except KeyboardInterrupt as error:
            raise SkyspotterError(
                f"Stopped before all files were written: train --resume {output} writes the rest."
            ) from error


def prepare(
    config: Config, resume: bool, console: Console
) -> tuple[Config, ImageFolder, Preprocessing]:
    """Read the folder and choose the strategy. A resumed run keeps its settings and its split.

    Returns:
        the settings with the chosen strategy, the photos with their splits, the preprocessing.
    """
    output = config.output
    config = Config.read(output) if resume else config
    output.mkdir(parents=True, exist_ok=True)
    data = config.data or output / "pictures"
    if config.data is None:
        synthesize(data)
    if resume:
        folder = restore_split(data, output / "data.json", config.limit_data, console)
    else:
        ood = tuple(scan_ood(config.ood)) if config.ood else ()
        folder = replace(split_folder(scan(data), config.split), ood=ood)
        folder = limit_samples(folder, config.limit_data)
    _check(folder, console)
    strategy, reason = choose_strategy(folder, config.strategy, config.size)
    console.print(
        f"{len(folder.samples)} photos of {len(folder.classes)} classes, "
        f"{len(folder.dropped)} files left out. Strategy {strategy}: {reason}."
    )
    preprocessing = Preprocessing(
        strategy=strategy,
        size=config.size,
        shorter_side=round(config.size * SHORTER_SIDE),
        grid=config.grid,
    )
    return config.model_copy(update={"strategy": strategy}), folder, preprocessing


def begin(config: Config, folder: ImageFolder, resume: bool) -> None:
    """Delete outdated files from the run folder, and write `data.json` and `config.json`.

    Call it after everything is validated, so that a typo never deletes an earlier run.
    """
    names = (*RESULTS, LABEL_AUDIT, OLD_LABEL_AUDIT, *(() if resume else CHECKPOINT_FILES))
    for name in names:
        (config.output / name).unlink(missing_ok=True)
    if not resume:
        write_json(config.output / "data.json", folder.summary())
        config.write()


def choose_strategy(
    folder: ImageFolder, choice: StrategyChoice, size: int = 224
) -> tuple[Strategy, str]:
    """Choose the resizing strategy from the photos' sizes, and return it with the reason."""
    if choice != "auto":
        return choice, "as requested"
    sides = np.array([min(sample.size) for sample in folder.of("train") if min(sample.size)])
    close = float(((sides >= 0.9 * size) & (sides <= 1.16 * size)).mean())
    if close >= 0.9:
        return "native", f"{close:.0%} of the photos are about as large as the network's input"
    return "shorter-side", f"the photos' shorter sides run from {sides.min()} to {sides.max()}"


def _finish(
    config: Config, folder: ImageFolder, training: dict[str, Any], console: Console
) -> None:
    """Export the best epoch, calibrate and measure it with the serving path; write the results."""
    output = config.output
    model, best = output / "model.onnx", output / "best.safetensors"
    network, card = load(best)
    difference = export(best, model, _inputs(folder, card.preprocessing))
    console.print(f"{model}: agrees with PyTorch to {difference:.1e}.", markup=False)
    result = calibrate(Predictor(model), folder, config.target_precision)
    for split in result.logits:
        console.print(f"[bold]{split}[/bold]")
        show_metrics(result.metrics[split], console)
    show_calibration(result, console)
    write_predictions(output / "predictions.csv", folder, result)
    save(output / "model.safetensors", parameters_of(network), result.card)
    stamp(model, result.card)
    rejected = audit_labels(config, folder, result.card, console)
    training = training | {"not_judged": rejected.reason if rejected else ""}
    write_json(output / "metrics.json", result.metrics | {"training": training})
    console.print(f"Report: {write_report(output)}", markup=False)
    console.print(f"Serve it: SKYSPOTTER_MODEL={model} make serve", markup=False)


def _check(folder: ImageFolder, console: Console) -> None:
    """Print warnings about a folder, and raise DataError if it cannot be trained on."""
    for warning in warnings(folder):
        console.print(warning, style="yellow", markup=False, highlight=False)
    if len(folder.classes) < 2:
        raise DataError(
            f"At least 2 classes are needed, and {folder.root} has usable photos of "
            f"{listing(folder.classes) or 'none'}: put the photos of each class into one folder."
        )
    missing = set(folder.classes) - {sample.label for sample in folder.of("train")}
    if missing:
        raise DataError(
            f"No photos are left to train on for {listing(sorted(missing))}: "
            "add some, or lower --test and --validation."
        )


def _inputs(folder: ImageFolder, preprocessing: Preprocessing) -> Pixels | None:
    """Crops of some real photos to verify the export on; None if no photo can be read."""
    samples = (folder.of("validation") or folder.of("train"))[::5][:32]
    side = preprocessing.needed_side
    photos = [decode(s.path.read_bytes(), needed_side=side) for s in samples if can_decode(s.path)]
    views = [network_input(photo.pixels, preprocessing) for photo in photos]
    return np.concatenate(views) if views else None
