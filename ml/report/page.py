"""The report of a training run: one page that opens anywhere, and its plots as files beside it.

It is made of the run folder's files, the model among them, and of the photos where they still
are; what is missing is said on the page. It loads nothing from elsewhere and runs no script.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

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
from ml.report.gallery import MOST_MISTAKES, WORST, mistakes, shown, thumbnail
from ml.run_folder import PredictionTable, RunFolder, confused, doubtful_labels, read_run

MOST_ROWS = 100  # in a table of classes
MOST_LISTED = 50  # files left out, near-duplicates
MOST_PAIRS = 10
MOST_DOUBTFUL = 24
CLASSES_SHOWN, PHOTOS_OF_EACH = 40, 6
Plots = dict[str, str]


def write_report(run: Path) -> Path:
    """Write a run folder's `report.html` and the plots beside it; returns the page.

    Raises:
        DataError: where the folder is none of a training run.
    """
    record = read_run(run)
    predictor, network, card = _model(run)
    best = record.metrics.get("training", {}).get("best_epoch") or (
        card.scores.get("epoch") if card else None
    )
    answers = record.answers.of(record.judged) if record.answers else None
    size = card.preprocessing.size if card else 224
    blocks = diagram.blocks(network, size) if network else []
    pictures = _training_plots(record, best) | _result_plots(record, answers, card)
    if blocks:
        pictures["network"] = diagram.draw(blocks)
    page = _environment().get_template("report.html.jinja")
    text = page.render(
        name=run.resolve().name,
        record=record,
        best=best,
        card=card,
        plots={name: _inline(svg) for name, svg in pictures.items()},
        results=_results(record),
        last={figure: _last(record, figure) for figure in ("accuracy", "loss")},
        mistakes=mistakes(answers, record.root, _same(predictor, answers)) if answers else [],
        doubtful=_doubtful(record.answers, record.root),
        trained=_doubtful(record.doubts, record.root),
        data=_data(record),
        blocks=blocks,
        layers=diagram.layers(network, size) if network else [],
        size=size,
        settings=_flat(record.config),
        limits={"worst": WORST, "mistakes": MOST_MISTAKES, "curves": plots.MOST_CLASSES}
        | {"cells": plots.MOST_CELLS, "rows": MOST_ROWS, "listed": MOST_LISTED},
    )
    for name, svg in pictures.items():
        _write(run / f"{name}.svg", svg.replace("<svg ", '<svg style="background: #fff" ', 1))
    return _write(run / "report.html", text)


def _model(run: Path) -> tuple[Predictor | None, Network | None, Card | None]:
    """The model that is served, its network and its card: as much of them as there is."""
    predictor, network, card = None, None, None
    for name in ("best.safetensors", "model.safetensors"):  # the second one knows its scores
        with suppress(ModelError):
            network, card = load(run / name)
    with suppress(ModelError):
        predictor = Predictor(run / "model.onnx")
        card = predictor.card
    return predictor, network, card


def _same(predictor: Predictor | None, answers: PredictionTable) -> Predictor | None:
    """The predictor, if it is of the classes that the answers are of."""
    return predictor if predictor and predictor.card.classes == answers.classes else None


def _training_plots(record: RunFolder, best: int | None) -> Plots:
    history = record.history
    if not history:
        return {}
    drawn = {figure: plots.progress(history, figure, best) for figure in ("accuracy", "loss")}
    drawn["learning-rate"] = plots.learning_rate(history)
    known = [label for label in record.classes if f"{record.judged}_f1_{label}" in history]
    worst = sorted(known, key=lambda label: history[f"{record.judged}_f1_{label}"][-1])
    few = [label for label in known if label in worst[: plots.MOST_CLASSES]]
    for split in dict.fromkeys(("train", record.judged)) if few else ():
        drawn[f"classes-{split}"] = plots.by_class(history, split, few, best)
    return drawn


def _result_plots(record: RunFolder, answers: PredictionTable | None, card: Card | None) -> Plots:
    drawn = {}
    matrix = np.array(record.metrics.get(record.judged, {}).get("confusion", []))
    if matrix.size:
        wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * matrix.diagonal()
        kept = np.sort(np.argsort(-wrong, kind="stable")[: plots.MOST_CELLS])
        few = matrix[np.ix_(kept, kept)].tolist()
        totals = matrix.sum(axis=1)[kept].tolist()
        names = [record.classes[i] for i in kept]
        drawn["confusion-counts"] = plots.confusion(few, totals, names, shares=False)
        drawn["confusion-shares"] = plots.confusion(few, totals, names, shares=True)
    if answers and answers.file:
        drawn["reliability"] = plots.reliability(answers)
        drawn["confidence"] = plots.confidences(answers, card.threshold if card else 0.0)
        drawn["coverage"] = plots.coverage(answers)
    return drawn


def _results(record: RunFolder) -> dict[str, Any]:
    """The scores of the split that the run is judged by, classes with the lowest F1 if many."""
    scores = record.metrics.get(record.judged)
    if not scores:
        return {}
    rows = sorted(scores["classes"].items(), key=lambda row: row[1]["f1"])[:MOST_ROWS]
    pairs = confused(scores["confusion"], record.classes)
    kept = {label for label, _ in rows}
    return {
        **scores,
        "rows": {label: of for label, of in scores["classes"].items() if label in kept},
        "pairs": pairs[:MOST_PAIRS],
        "all_pairs": len(pairs),
    }


def _last(record: RunFolder, figure: str) -> str:
    """What a curve ends with, in words."""
    shown_as = "{} {:.1%}" if figure == "accuracy" else "{} {:.3f}"
    return ", ".join(
        shown_as.format(split, record.history[f"{split}_{figure}"][-1]).replace(
            "%", "\N{NO-BREAK SPACE}%"
        )
        for split in plots.SPLITS
        if f"{split}_{figure}" in record.history
    )


def _doubtful(answers: PredictionTable | None, root: Path) -> dict[str, Any]:
    if not answers:
        return {}
    rows = doubtful_labels(answers)
    shown_rows = [shown(answers, row, root) for row in rows[:MOST_DOUBTFUL]]
    return {"count": len(rows), "photos": len(answers.file), "shown": shown_rows}


def _data(record: RunFolder) -> dict[str, Any]:
    """Counts and thumbnails of each class, those with the fewest photos if there are many."""
    counts = record.data["counts"]
    totals = {label: sum(of[label] for of in counts.values()) for label in record.classes}
    order = {"train": 0, "validation": 1, "test": 2}
    files: dict[str, list[str]] = {label: [] for label in record.classes}
    for file in record.data["files"]:
        files[class_of(file)].append(file)
    return {
        "splits": sorted(counts, key=lambda split: order.get(split, 3)),
        "totals": totals,
        "rows": sorted(sorted(totals, key=lambda label: totals[label])[:MOST_ROWS]),
        "sizes": record.data.get("sizes"),
        "thumbnails": {
            label: _thumbnails(files[label], record.root)
            for label in record.classes[:CLASSES_SHOWN]
        },
    }


def _thumbnails(files: list[str], root: Path) -> list[str]:
    """A few of a class's photos from all over it; fewer where some are gone."""
    few = files[:: max(1, len(files) // PHOTOS_OF_EACH)][:PHOTOS_OF_EACH]
    drawn = (thumbnail(root / file, side=112, limit=3000) for file in few)
    return [uri for uri in drawn if uri]


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of settings beside the others."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        flat |= {f"{name} {key}".strip(): of for key, of in inner}
    return flat


def _environment() -> Environment:
    """Every value is escaped: names of classes and files are whatever their owner chose."""
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
    said = [f"{number}\N{NO-BREAK SPACE}{unit}" for number, unit in parts if number]
    return " ".join(said[:2]) or "under a second"


def _inline(svg: str) -> str:
    """An SVG file's text as part of a page, where it needs no namespace."""
    return svg.replace(' xmlns="http://www.w3.org/2000/svg"', "")


def _write(path: Path, text: str) -> Path:
    with atomic_write(path) as partial:
        # A file name that is no Unicode has a sign that UTF-8 has not.
        partial.write_text(text, encoding="utf-8", errors="replace")
    return path
