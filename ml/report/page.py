"""The report of a training run: one self-contained HTML page, and its plots as SVG files.

It is made from the run folder alone, and from the photos if they still exist. The page names the
missing files. It loads nothing from the network and runs no scripts.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ml.data.class_folders import class_of
from ml.errors import ModelError
from ml.files import atomic_write
from ml.model import Network
from ml.models.card import Card
from ml.models.checkpoint import load
from ml.predictor import Predictor
from ml.report import diagram, plots
from ml.report.gallery import PHOTOS_PER_CLASS, show_prediction, thumbnail, worst_errors
from ml.run_folder import (
    PredictionTable,
    RunFolder,
    confused_pairs,
    read_run,
    suspected_label_errors,
)

MOST_ROWS = 100  # in a table of classes
MOST_PAIRS = 10  # of confused classes
MOST_SUSPECTED = 24  # label errors
THUMBNAIL_CLASSES, THUMBNAILS_PER_CLASS = 40, 6
LIMITS = {"errors": PHOTOS_PER_CLASS, "curves": plots.MOST_CLASSES, "cells": plots.MOST_CELLS}
"""For the page's notes on what it leaves out."""


def write_report(run: Path) -> Path:
    """Write `report.html` and its plots into a run folder; return the path of the page.

    Raises:
        DataError: if it is not the folder of a training run.
    """
    folder, (predictor, network, card) = read_run(run), _load_model(run)
    reported = folder.reported_split
    size = card.preprocessing.size if card else 224
    blocks = diagram.blocks(network, size) if network else []
    predictions = folder.predictions.of(reported) if folder.predictions else None
    recorded = folder.metrics.get("training", {}).get("best_epoch")
    best_epoch = recorded or (card.scores.get("epoch") if card else None)
    confusion = folder.metrics.get(reported, {}).get("confusion", [])
    drawn = plots.training_plots(folder.history, reported, best_epoch)
    threshold = card.threshold if card else 0.0
    drawn |= plots.result_plots(confusion, folder.classes, predictions, threshold)
    if blocks:
        drawn["network"] = diagram.draw(blocks)
    if predictor and predictor.card.classes != tuple(folder.classes):
        predictor = None  # the model file is from another run
    template = _environment().get_template("report.html.jinja")
    text = template.render(
        name=run.resolve().name,
        run=folder,
        card=card,
        best_epoch=best_epoch,
        plots=drawn,
        last={metric: _last_values(folder, metric) for metric in ("accuracy", "loss")},
        results=_results(folder),
        errors=worst_errors(predictions, folder.photos, predictor) if predictions else [],
        suspected_held_out=_suspected(folder.predictions, folder.photos),
        suspected_training=_suspected(folder.label_audit, folder.photos),
        data=_data(folder),
        blocks=blocks,
        layers=diagram.layers(network, size) if network else [],
        size=size,
        settings=_flatten(folder.config),
        limits=LIMITS,
    )
    for name, svg in drawn.items():
        _write(run / f"{name}.svg", svg.replace("<svg ", '<svg style="background: #fff" ', 1))
    return _write(run / "report.html", text)


def _load_model(run: Path) -> tuple[Predictor | None, Network | None, Card | None]:
    """Return the run's model; each part is None if no file in the run folder has it."""
    predictor, network, card = None, None, None
    # model.safetensors comes last because only its card has the metrics.
    for name in ("best.safetensors", "model.safetensors"):
        with suppress(ModelError):
            network, card = load(run / name)
    with suppress(ModelError):
        predictor = Predictor(run / "model.onnx")
        card = predictor.card
    return predictor, network, card


def _last_values(folder: RunFolder, metric: str) -> str:
    """Return the last value of each curve as text."""
    form = "{} {:.1%}" if metric == "accuracy" else "{} {:.3f}"
    values = (
        form.format(split, folder.history[f"{split}_{metric}"][-1])
        for split in plots.SPLITS
        if f"{split}_{metric}" in folder.history
    )
    return ", ".join(values).replace("%", "\N{NO-BREAK SPACE}%")


def _results(folder: RunFolder) -> dict[str, Any]:
    """Return the reported split's metrics; at most `MOST_ROWS` classes, with the lowest F1."""
    metrics = folder.metrics.get(folder.reported_split)
    if not metrics:
        return {}
    by_f1 = sorted(metrics["classes"].items(), key=lambda row: row[1]["f1"])
    kept = {label for label, _ in by_f1[:MOST_ROWS]}
    pairs = confused_pairs(metrics["confusion"], folder.classes)
    return {
        **metrics,
        "rows": {label: of for label, of in metrics["classes"].items() if label in kept},
        "pairs": pairs[:MOST_PAIRS],
        "all_pairs": len(pairs),
    }


def _suspected(table: PredictionTable | None, photos: Path) -> dict[str, Any]:
    """Return the number of suspected label errors, and the first ones with thumbnails."""
    if not table:
        return {}
    rows = suspected_label_errors(table)
    shown = [show_prediction(table, row, photos) for row in rows[:MOST_SUSPECTED]]
    return {"count": len(rows), "photos": len(table.file), "shown": shown}


def _data(folder: RunFolder) -> dict[str, Any]:
    """Return thumbnails and numbers of photos; at most `MOST_ROWS` classes, with the fewest."""
    counts = folder.data["counts"]
    totals = {label: sum(of[label] for of in counts.values()) for label in folder.classes}
    order = {"train": 0, "validation": 1, "test": 2}
    files: dict[str, list[str]] = {label: [] for label in folder.classes}
    for file in folder.data["files"]:
        files[class_of(file)].append(file)
    return {
        "splits": sorted(counts, key=lambda split: order.get(split, 3)),
        "totals": totals,
        "rows": sorted(sorted(totals, key=lambda label: totals[label])[:MOST_ROWS]),
        "sizes": folder.data.get("sizes"),
        "thumbnails": {
            label: _thumbnails(files[label], folder.photos)
            for label in folder.classes[:THUMBNAIL_CLASSES]
        },
    }


def _thumbnails(files: list[str], photos: Path) -> list[str]:
    """Return thumbnails of a few evenly spaced photos of a class; skip missing photos."""
    step = max(1, len(files) // THUMBNAILS_PER_CLASS)
    chosen = files[::step][:THUMBNAILS_PER_CLASS]
    uris = (thumbnail(photos / file, side=112, limit=3000) for file in chosen)
    return [uri for uri in uris if uri]


def _flatten(settings: dict[str, Any]) -> dict[str, Any]:
    """Move nested settings to the top level, with joined names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        flat |= {f"{name} {key}".strip(): of for key, of in inner}
    return flat


def _environment() -> Environment:
    """Jinja with escaping, as class names and file names may contain HTML."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}\N{NO-BREAK SPACE}%"
    environment.filters["duration"] = _duration
    return environment


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    nonzero = [f"{number}\N{NO-BREAK SPACE}{unit}" for number, unit in parts if number]
    return " ".join(nonzero[:2]) or "less than a second"


def _write(path: Path, text: str) -> Path:
    with atomic_write(path) as partial:
        # File names that are not Unicode contain surrogates, which UTF-8 cannot encode.
        partial.write_text(text, encoding="utf-8", errors="replace")
    return path
