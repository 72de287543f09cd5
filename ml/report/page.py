"""The report of a training run: one self-contained HTML page, and its plots as SVG files.

It is made from the run folder alone, and from the photos if they still exist. The page says what
is missing. It loads nothing from the network and runs no scripts.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ml.data.class_folders import class_of
from ml.errors import ModelError
from ml.files import atomic_write
from ml.model import Network
from ml.models.card import Card
from ml.models.checkpoint import load
from ml.predictor import Predictor
from ml.report import diagram, plots
from ml.report.gallery import (
    MOST_PHOTOS,
    PHOTOS_PER_CLASS,
    show_prediction,
    thumbnail,
    worst_errors,
)
from ml.run_folder import (
    PredictionTable,
    RunFolder,
    confused_pairs,
    read_run,
    suspected_label_errors,
)

MOST_ROWS = 100  # in a table of classes
MOST_LISTED = 50  # excluded files, near-duplicates
MOST_PAIRS = 10
MOST_SUSPECTED = 24
THUMBNAIL_CLASSES, THUMBNAILS_PER_CLASS = 40, 6
Plots = dict[str, str]
"""SVG by file name."""


class Model(NamedTuple):
    """The run's model; each part is None if no file in the run folder provides it."""

    predictor: Predictor | None
    network: Network | None
    card: Card | None


def write_report(run: Path) -> Path:
    """Write `report.html` and its plots into a run folder; return the path of the page.

    Raises:
        DataError: if it is not the folder of a training run.
    """
    folder, model = read_run(run), _load_model(run)
    size = model.card.preprocessing.size if model.card else 224
    blocks = diagram.blocks(model.network, size) if model.network else []
    predictions = folder.predictions.of(folder.reported_split) if folder.predictions else None
    best_epoch = _best_epoch(folder, model.card)
    drawn = _training_plots(folder, best_epoch) | _result_plots(folder, predictions, model.card)
    if blocks:
        drawn["network"] = diagram.draw(blocks)
    text = (
        _environment()
        .get_template("report.html.jinja")
        .render(
            name=run.resolve().name,
            run=folder,
            card=model.card,
            best_epoch=best_epoch,
            plots={name: _inline(svg) for name, svg in drawn.items()},
            last={metric: _last_values(folder, metric) for metric in ("accuracy", "loss")},
            results=_results(folder),
            errors=_errors(folder, predictions, model.predictor),
            suspected_held_out=_suspected(folder.predictions, folder.photos),
            suspected_training=_suspected(folder.label_audit, folder.photos),
            data=_data(folder),
            blocks=blocks,
            layers=diagram.layers(model.network, size) if model.network else [],
            size=size,
            settings=_flatten(folder.config),
            limits=_limits(),
        )
    )
    for name, svg in drawn.items():
        _write(run / f"{name}.svg", svg.replace("<svg ", '<svg style="background: #fff" ', 1))
    return _write(run / "report.html", text)


def _load_model(run: Path) -> Model:
    predictor, network, card = None, None, None
    # model.safetensors comes last because only its card has the metrics.
    for name in ("best.safetensors", "model.safetensors"):
        with suppress(ModelError):
            network, card = load(run / name)
    with suppress(ModelError):
        predictor = Predictor(run / "model.onnx")
        card = predictor.card
    return Model(predictor, network, card)


def _best_epoch(folder: RunFolder, card: Card | None) -> int | None:
    recorded = folder.metrics.get("training", {}).get("best_epoch")
    return recorded or (card.scores.get("epoch") if card else None)


def _limits() -> dict[str, int]:
    """How much the page shows at most, for its notes on what is left out."""
    return {
        "errors_per_class": PHOTOS_PER_CLASS,
        "errors": MOST_PHOTOS,
        "curves": plots.MOST_CLASSES,
        "cells": plots.MOST_CELLS,
        "rows": MOST_ROWS,
        "listed": MOST_LISTED,
    }


def _training_plots(folder: RunFolder, best_epoch: int | None) -> Plots:
    history, reported = folder.history, folder.reported_split
    if not history:
        return {}
    drawn = {name: plots.progress(history, name, best_epoch) for name in ("accuracy", "loss")}
    drawn["learning-rate"] = plots.learning_rate(history)
    known = [label for label in folder.classes if f"{reported}_f1_{label}" in history]
    by_f1 = sorted(known, key=lambda label: history[f"{reported}_f1_{label}"][-1])
    shown = [label for label in known if label in by_f1[: plots.MOST_CLASSES]]
    for split in dict.fromkeys(("train", reported)) if shown else ():
        drawn[f"classes-{split}"] = plots.by_class(history, split, shown, best_epoch)
    return drawn


def _result_plots(
    folder: RunFolder, predictions: PredictionTable | None, card: Card | None
) -> Plots:
    drawn = {}
    matrix = np.array(folder.metrics.get(folder.reported_split, {}).get("confusion", []))
    if matrix.size:
        wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * matrix.diagonal()
        kept = np.sort(np.argsort(-wrong, kind="stable")[: plots.MOST_CELLS])
        counts = matrix[np.ix_(kept, kept)].tolist()
        totals = matrix.sum(axis=1)[kept].tolist()
        names = [folder.classes[i] for i in kept]
        drawn["confusion-counts"] = plots.confusion(counts, totals, names, shares=False)
        drawn["confusion-shares"] = plots.confusion(counts, totals, names, shares=True)
    if predictions and predictions.file:
        drawn["reliability"] = plots.reliability(predictions)
        drawn["confidence"] = plots.confidences(predictions, card.threshold if card else 0.0)
        drawn["coverage"] = plots.coverage(predictions)
    return drawn


def _last_values(folder: RunFolder, metric: str) -> str:
    """The last value of each curve, as text."""
    form = "{} {:.1%}" if metric == "accuracy" else "{} {:.3f}"
    values = (
        form.format(split, folder.history[f"{split}_{metric}"][-1])
        for split in plots.SPLITS
        if f"{split}_{metric}" in folder.history
    )
    return ", ".join(values).replace("%", "\N{NO-BREAK SPACE}%")


def _results(folder: RunFolder) -> dict[str, Any]:
    """Metrics of the reported split; if there are many classes, those with the lowest F1."""
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


def _errors(
    folder: RunFolder, predictions: PredictionTable | None, predictor: Predictor | None
) -> list[Any]:
    if predictions is None:
        return []
    if predictor and predictor.card.classes != predictions.classes:
        predictor = None  # the model file is from another run
    return worst_errors(predictions, folder.photos, predictor)


def _suspected(table: PredictionTable | None, photos: Path) -> dict[str, Any]:
    """Suspected label errors: their number, and the first ones with thumbnails."""
    if not table:
        return {}
    rows = suspected_label_errors(table)
    shown = [show_prediction(table, row, photos) for row in rows[:MOST_SUSPECTED]]
    return {"count": len(rows), "photos": len(table.file), "shown": shown}


def _data(folder: RunFolder) -> dict[str, Any]:
    """Photo counts and thumbnails; if there are many classes, those with the fewest photos."""
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
    """Thumbnails of a few evenly spaced photos of a class; missing photos are skipped."""
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


def _inline(svg: str) -> str:
    """Remove the namespace, which inline SVG does not need."""
    return svg.replace(' xmlns="http://www.w3.org/2000/svg"', "")


def _write(path: Path, text: str) -> Path:
    with atomic_write(path) as partial:
        # File names that are not Unicode contain surrogates, which UTF-8 cannot encode.
        partial.write_text(text, encoding="utf-8", errors="replace")
    return path
