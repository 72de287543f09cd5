"""One training run from end to end: look at the data, train, export, measure, write it all down."""

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
from ml.errors import DataError, SkyspotterError, listing
from ml.evaluation.evaluate import show_metrics
from ml.export.onnx import export, stamp
from ml.files import write_json
from ml.images.decode import decode
from ml.images.preprocessing import Preprocessing, Strategy, network_input
from ml.models.checkpoint import load, parameters_of, save
from ml.models.engine import Pixels
from ml.predictor import Predictor
from ml.report.page import write_report
from ml.run_folder import LABEL_AUDIT, OLD_LABEL_AUDIT
from ml.runs.calibrate import calibrate, show_calibration, write_predictions
from ml.runs.label_audit import audit_labels
from ml.trainer import STATE, Trainer
from ml.training.config import Config, Wanted
from ml.training.distributed import processes

RESULTS = ("model.onnx", "model.safetensors", "predictions.csv", "metrics.json", "report.html")
"""What a finished run has, and no other."""

SHORTER_SIDE = 256 / 224
"""Of the resized photo, in sides of the network's input: the usual one."""


def run(config: Config, console: Console, resume: bool = False) -> Path:
    """Train as `config` says; returns the model.onnx to serve.

    Under `torchrun` all its processes train together. After one of them has died and all are
    started anew, they go on from the last epoch, as with `resume`.

    Args:
        resume: go on with the run in `config.output`.

    Raises:
        DataError, ModelError, ExportError
    """
    started, asked = time.monotonic(), config
    model = config.output / "model.onnx"
    with processes() as team:
        console = console if team.leads else Console(quiet=True)
        if any(team.gather([team.restarted])):
            resume = resume or team.share(lambda: _begun(asked))
        config, folder, preprocessing = team.share(lambda: prepare(asked, resume, console))
        trainer = Trainer(config, folder, preprocessing, console, team, started, resume)
        if resume:
            console.print(
                f"Going on after epoch {trainer.standing.epoch} of {trainer.standing.epochs}."
            )
        if team.share(lambda: _finished(config.output)) and trainer.over():
            console.print(f"{config.output} is finished: nothing is missing.", markup=False)
            return model
        if team.leads:
            begin(config, folder, resume)
        stopped = trainer.run()
        if team.leads:
            training = trainer.standing.summary(stopped) | {
                "environment": trainer.device.environment()
            }
            folder = drop_unreadable(folder, trainer.unreadable)
            try:
                _finish(config, folder, training, console)
            except KeyboardInterrupt as error:
                raise SkyspotterError(
                    f"Stopped before all was written: train --resume {config.output} does the rest."
                ) from error
    return model


def _begun(config: Config) -> bool:
    """Whether the run folder is this very run's: an earlier one may not have been cleared yet."""
    return (config.output / STATE).exists() and config.is_that_of(config.output)


def _finished(output: Path) -> bool:
    return all((output / name).exists() for name in RESULTS)


def prepare(
    config: Config, resume: bool, console: Console
) -> tuple[Config, ImageFolder, Preprocessing]:
    """Look at the data, and choose what is to be chosen; a run that goes on keeps what it has."""
    output = config.output
    config = Config.read(output) if resume else config
    output.mkdir(parents=True, exist_ok=True)
    data = config.data or _draw(output)
    if resume:
        folder = restore_split(data, output / "data.json", config.limit_data, console)
    else:
        ood = tuple(scan_ood(config.others)) if config.others else ()
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
        grid=config.views,
    )
    return replace(config, strategy=strategy), folder, preprocessing


def begin(config: Config, folder: ImageFolder, resume: bool) -> None:
    """Clear the run folder of what is no longer so, and write down what begins.

    All that can be wrong with the settings has shown by now: a slip of the pen must not cost an
    earlier run.
    """
    learnt = ("best.safetensors", "last.safetensors", "history.csv", STATE)
    for name in (*RESULTS, LABEL_AUDIT, OLD_LABEL_AUDIT, *(() if resume else learnt)):
        (config.output / name).unlink(missing_ok=True)
    if not resume:
        write_json(config.output / "data.json", folder.summary())
        config.write()


def choose_strategy(folder: ImageFolder, wanted: Wanted, size: int = 224) -> tuple[Strategy, str]:
    """Pick the resizing strategy from the photos' sizes, and say why."""
    if wanted != "auto":
        return wanted, "as asked for"
    sides = np.array([min(sample.size) for sample in folder.of("train") if min(sample.size)])
    close = float(((sides >= 0.9 * size) & (sides <= 1.16 * size)).mean())
    if close >= 0.9:
        return "native", f"{close:.0%} of the photos are about as large as the network's input"
    return "shorter-side", f"the photos' shorter sides run from {sides.min()} to {sides.max()}"


def _finish(
    config: Config, folder: ImageFolder, training: dict[str, Any], console: Console
) -> None:
    """Export the best epoch, calibrate and measure it as it is served; write it all down."""
    output = config.output
    model, best = output / "model.onnx", output / "best.safetensors"
    network, card = load(best)
    difference = export(best, model, _inputs(folder, card.preprocessing))
    console.print(f"{model}: agrees with PyTorch to {difference:.1e}.", markup=False)
    settled = calibrate(Predictor(model), folder, config.precision)
    for split in settled.logits:
        console.print(f"[bold]{split}[/bold]")
        show_metrics(settled.metrics[split], console)
    show_calibration(settled, console)
    write_predictions(output / "predictions.csv", folder, settled)
    save(output / "model.safetensors", parameters_of(network), settled.card)
    stamp(model, settled.card)
    rejected = audit_labels(config, folder, settled.card, console)
    training["not_judged"] = rejected.reason if rejected else ""
    write_json(output / "metrics.json", settled.metrics | {"training": training})
    console.print(f"Look at it: {write_report(output)}", markup=False)
    console.print(f"Serve it: SKYSPOTTER_MODEL={model} make serve", markup=False)


def _draw(output: Path) -> Path:
    folder = output / "pictures"
    synthesize(folder)
    return folder


def _check(folder: ImageFolder, console: Console) -> None:
    """Say what to know of a folder, and refuse one that cannot be trained on."""
    for warning in warnings(folder):
        console.print(warning, style="yellow", markup=False, highlight=False)
    if len(folder.classes) < 2:
        raise DataError(
            f"{folder.root} holds usable photos of {len(folder.classes)} classes"
            f"{': ' * bool(folder.classes)}{listing(folder.classes)}, and at least 2 are needed: "
            "make one folder per class with its photos inside."
        )
    missing = set(folder.classes) - {sample.label for sample in folder.of("train")}
    if missing:
        raise DataError(
            f"No photos are left to train {listing(sorted(missing))} on: "
            "add some, or lower --test and --validation."
        )


def _inputs(folder: ImageFolder, preprocessing: Preprocessing) -> Pixels | None:
    """Views of some real photos, to compare the exported network on; None where there are none."""
    samples = (folder.of("validation") or folder.of("train"))[::5][:32]
    side = preprocessing.needed_side
    photos = [decode(s.path.read_bytes(), needed_side=side) for s in samples if can_decode(s.path)]
    views = [network_input(photo.pixels, preprocessing) for photo in photos]
    return np.concatenate(views) if views else None
