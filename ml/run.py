"""One training run from end to end: look at the data, train, export, measure, write it all down."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ml.card import Card
from ml.checkpoint import load, parameters_of, replacing, save
from ml.engine import Pixels
from ml.errors import DataError, listing
from ml.evaluate import show
from ml.export import export, stamp
from ml.folder import Folder, divide, scan
from ml.image import decode
from ml.inspection import warnings
from ml.predictor import Predictor
from ml.preprocessing import Preprocessing, Strategy, network_input
from ml.report import report
from ml.served import settle, show_calibration, write_predictions
from ml.synthesize import synthesize
from ml.trainer import Config, Trainer, Wanted

SHORTER_SIDE = 256 / 224
"""Of the resized photo, in sides of the network's input: the usual one."""


def run(config: Config, console: Console) -> Path:
    """Train as `config` says; returns the model.onnx to serve.

    Raises:
        DataError, ModelError, ExportError
    """
    config.output.mkdir(parents=True, exist_ok=True)
    folder = divide(scan(config.data or _draw(config.output)), config.split)
    _check(folder, console)
    strategy, reason = choose_strategy(folder, config.strategy)
    console.print(
        f"{len(folder.samples)} photos of {len(folder.classes)} classes, "
        f"{len(folder.dropped)} files left out. Strategy {strategy}: {reason}."
    )
    _write_json(config.output / "config.json", asdict(config) | {"strategy": strategy})
    _write_json(config.output / "data.json", folder.summary())
    preprocessing = Preprocessing(
        strategy=strategy,
        size=config.size,
        shorter_side=round(config.size * SHORTER_SIDE),
        views=config.views,
    )
    Trainer(config, folder, preprocessing, console).run()
    return _finish(config.output, folder, config.precision, console)


def choose_strategy(folder: Folder, wanted: Wanted) -> tuple[Strategy, str]:
    """Pick the resizing strategy from the photos' sizes, and say why."""
    if wanted != "auto":
        return wanted, "as asked for"
    sides = np.array([min(sample.size) for sample in folder.of("train")])
    close = float(((sides >= 200) & (sides <= 260)).mean())
    if close >= 0.9:
        return "native", f"{close:.0%} of the photos are about as large as the network's input"
    return "shorter-side", f"the photos' shorter sides run from {sides.min()} to {sides.max()}"


def _finish(output: Path, folder: Folder, precision: float, console: Console) -> Path:
    """Export the best epoch, calibrate and measure it as it is served; write it all down."""
    model, best = output / "model.onnx", output / "best.safetensors"
    network, card = load(best)
    difference = export(best, model, _inputs(folder, card.preprocessing))
    console.print(f"{model}: agrees with PyTorch to {difference:.1e}.", markup=False)
    settled = settle(Predictor(model), folder, precision)
    for split in settled.logits:
        console.print(f"[bold]{split}[/bold]")
        show(settled.metrics[split], console)
    show_calibration(settled, console)
    _write_json(output / "metrics.json", settled.metrics)
    write_predictions(output / "predictions.csv", folder, settled)
    save(output / "model.safetensors", parameters_of(network), settled.card)
    stamp(model, settled.card)
    console.print(f"Look at it: {report(output)}", markup=False)
    console.print(f"Serve it: SKYSPOTTER_MODEL={model} make serve", markup=False)
    return model


def _draw(output: Path) -> Path:
    folder = output / "pictures"
    synthesize(folder)
    return folder


def _check(folder: Folder, console: Console) -> None:
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


def _inputs(folder: Folder, preprocessing: Preprocessing) -> Pixels:
    """Views of some real photos, to compare the exported network on."""
    samples = (folder.of("validation") or folder.of("train"))[::5][:32]
    images = (decode(sample.path.read_bytes()).image for sample in samples)
    return np.concatenate([network_input(image, preprocessing) for image in images])


def _write_json(path: Path, content: Any) -> None:
    with replacing(path) as partial:
        text = json.dumps(content, indent=2, default=_plain)
        partial.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, Preprocessing | Card) else str(value)
