"""The report's plots, by matplotlib, as SVG in the page's text colour."""

import re
import warnings
from collections.abc import Sequence
from io import StringIO
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from ml.run_folder import Floats, History, PredictionTable

Plots = dict[str, str]
"""SVG by file name."""

MOST_CLASSES = 8
"""Curves in a plot; if there are more classes, those with the lowest F1 are drawn."""
MOST_CELLS = 25
"""Rows of a confusion matrix; if there are more classes, those with most errors are drawn."""
WIDE, NARROW = 4.7, 3.6  # inches, for two or three plots side by side with equal font sizes
INK = "#010203"  # becomes `currentColor`
COLOURS = ["#2f81f7", "#e5534b", "#2da44e", "#bf8700", "#a371f7", "#d4609e", "#1b9aaa", "#8a8f98"]
FADE = LinearSegmentedColormap.from_list("fade", ["#2f81f700", "#2f81f7a0"])
STYLE: Any = {
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.prop_cycle": f"cycler('color', {COLOURS})",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "axes.titleweight": "bold",
    "font.size": 9,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "legend.frameon": False,
    "lines.markersize": 3,
    "svg.fonttype": "none",  # keep text as text, for search, screen readers and the page's fonts
    "text.color": INK,
    "text.parse_math": False,  # a class name may contain $
    "xtick.color": INK,
    "ytick.color": INK,
}
SPLITS = {"train": "-", "validation": "--", "test": "-"}


@rc_context(STYLE)
def training_plots(history: History, reported: str, best_epoch: int | None) -> Plots:
    """Draw the metrics by epoch, and mark the best epoch.

    Args:
        history: the columns of `history.csv`.
        reported: the split whose metrics of each class are drawn, beside those of training.
    """
    if not history:
        return {}
    figures = {name: _metric(history, name, best_epoch) for name in ("accuracy", "loss")}
    figures["learning-rate"] = _learning_rate(history)
    prefix = f"{reported}_f1_"
    known = [name.removeprefix(prefix) for name in history if name.startswith(prefix)]
    lowest = sorted(known, key=lambda label: history[prefix + label][-1])[:MOST_CLASSES]
    shown = [label for label in known if label in lowest]
    for split in dict.fromkeys(("train", reported)) if shown else ():
        figures[f"classes-{split}"] = _by_class(history, split, shown, best_epoch)
    return {name: _svg(figure, name) for name, figure in figures.items()}


@rc_context(STYLE)
def result_plots(
    confusion: list[list[int]],
    classes: Sequence[str],
    predictions: PredictionTable | None,
    threshold: float,
) -> Plots:
    """Draw the confusion matrix and the confidences of the predictions.

    Args:
        confusion: numbers of photos by true and predicted class, (C, C); empty leaves it out.
        classes: the names of the C classes.
        predictions: for the reported split.
        threshold: of the confidence; 0 if all predictions are accepted.
    """
    figures = {}
    matrix = np.array(confusion, dtype=float)
    if matrix.size:
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * matrix.diagonal()
        kept = np.sort(np.argsort(-wrong, kind="stable")[:MOST_CELLS])
        names = [_short(classes[i]) for i in kept]
        matrix, shares = matrix[np.ix_(kept, kept)], shares[np.ix_(kept, kept)]
        figures["confusion-counts"] = _confusion(shares, names, matrix, "{:.0f}")
        figures["confusion-shares"] = _confusion(shares, names, shares, "{:.0%}")
    if predictions and predictions.file.size:
        figures["reliability"] = _reliability(predictions)
        figures["confidence"] = _confidences(predictions, threshold)
        figures["coverage"] = _coverage(predictions)
    return {name: _svg(figure, name) for name, figure in figures.items()}


def _metric(history: History, metric: str, best_epoch: int | None) -> Figure:
    """Draw accuracy or loss of every split by epoch."""
    figure, axes = _subplot(NARROW, 2.6)
    for split, dashes in SPLITS.items():
        if f"{split}_{metric}" in history:
            values = history[f"{split}_{metric}"]
            axes.plot(history["epoch"], values, dashes, marker="o", label=split)
    _epoch_axis(axes, best_epoch)
    axes.set_ylabel(metric)
    axes.legend()
    return figure


def _learning_rate(history: History) -> Figure:
    figure, axes = _subplot(NARROW, 2.6)
    axes.plot(history["epoch"], history["learning_rate"], marker="o")
    _epoch_axis(axes, None)
    axes.set_ylabel("learning rate")
    return figure


def _by_class(
    history: History, split: str, classes: Sequence[str], best_epoch: int | None
) -> Figure:
    """Draw precision, recall and F1 of each class by epoch."""
    figure = Figure((WIDE, 5.8), layout="constrained")
    panels = figure.subplots(3, sharex=True, sharey=True)
    for axes, metric in zip(panels, ("precision", "recall", "f1"), strict=True):
        for label in classes:
            axes.plot(history["epoch"], history[f"{split}_{metric}_{label}"], marker="o")
        axes.set_title("F1" if metric == "f1" else metric, loc="left")
        axes.set_ylim(-0.03, 1.03)
        _epoch_axis(axes, best_epoch)
        axes.label_outer()
    names = [_short(label) for label in classes]
    figure.legend(panels[0].lines[: len(classes)], names, loc="outside lower center", ncols=2)
    return figure


def _confusion(shares: Floats, classes: Sequence[str], values: Floats, form: str) -> Figure:
    """Draw a confusion matrix, (C, C): `values` in the format `form`, shaded by `shares`."""
    few = len(classes) <= 8
    with rc_context({"axes.grid": False}):
        figure, axes = _subplot(WIDE, 4.2)
        # Shade by share in both plots; shading by number would show the largest class only.
        axes.imshow(shares, cmap=FADE, vmin=0, vmax=1)
        axes.set_xticks(
            range(len(classes)),
            classes,
            rotation=40 if few else 90,
            ha="right" if few else "center",
            rotation_mode="anchor" if few else "default",
        )
        axes.set_yticks(range(len(classes)), classes)
        for (i, j), value in np.ndenumerate(values):
            if value:
                size = 10 if len(classes) <= 10 else 5
                axes.text(j, i, form.format(value), ha="center", va="center", size=size)
        axes.set(xlabel="predicted", ylabel="label")
    return figure


def _reliability(predictions: PredictionTable, bins: int = 15) -> Figure:
    """Draw accuracy against confidence; the area of a dot is its number of photos."""
    index = np.minimum((predictions.confidence * bins).astype(int), bins - 1)
    groups = [index == b for b in range(bins) if (index == b).any()]
    confidence = [predictions.confidence[group].mean() for group in groups]
    accuracy = [predictions.correct[group].mean() for group in groups]
    figure, axes = _subplot(NARROW, 2.8)
    axes.plot([0, 1], [0, 1], "--", color=INK, alpha=0.5, marker="", label="perfect")
    axes.plot(confidence, accuracy, marker="", alpha=0.6)
    sizes = [12 + 240 * group.mean() for group in groups]
    axes.scatter(confidence, accuracy, sizes, alpha=0.8, label="predictions", zorder=3)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.04), ylim=(0, 1.04))
    axes.legend(loc="upper left")
    return figure


def _confidences(predictions: PredictionTable, threshold: float) -> Figure:
    """Draw histograms of the confidence of correct and of wrong predictions."""
    figure, axes = _subplot(NARROW, 2.8)
    correct = predictions.correct
    parts = [predictions.confidence[correct], predictions.confidence[~correct]]
    edges = [step / 20 for step in range(21)]
    axes.hist(parts, edges, label=["correct", "wrong"], color=COLOURS[:2], log=True)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    if threshold > 0:
        axes.axvline(threshold, color=INK, ls=":", label="threshold")
    axes.set(xlabel="confidence", ylabel="photos (log scale)", xlim=(0, 1))
    axes.legend(loc="upper left")
    return figure


def _coverage(predictions: PredictionTable) -> Figure:
    """Draw the accuracy of accepted predictions against coverage, over all thresholds."""
    order = np.argsort(-predictions.confidence, kind="stable")
    kept = np.arange(1, len(order) + 1)
    figure, axes = _subplot(NARROW, 2.8)
    axes.plot(kept / len(order), np.cumsum(predictions.correct[order]) / kept, marker="")
    count = int(predictions.accepted.sum())
    if 0 < count < len(order):
        accuracy = predictions.correct[predictions.accepted].mean()
        axes.plot(count / len(order), accuracy, "o", color=COLOURS[1], ms=7, label="threshold")
        axes.legend(loc="lower left")
    axes.set(xlabel="coverage (fraction accepted)", ylabel="accuracy of accepted")
    axes.set_xlim(0, 1.02)
    return figure


def _subplot(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure((width, height), layout="constrained")
    return figure, figure.subplots()


def _epoch_axis(axes: Axes, best_epoch: int | None) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if best_epoch:
        axes.axvline(best_epoch, color=INK, alpha=0.5, ls=":", label="best epoch")


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:21]}…"


def _svg(figure: Figure, name: str) -> str:
    """Return the figure as SVG; `name` makes its element ids unique on the page."""
    buffer = StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        # The browser's fonts may have the glyph.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor").replace("xlink:href", "href")
    return re.sub(r' id="[\w.]+_\d+"| xmlns:xlink="[^"]*"', "", text)
