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
from sklearn.metrics import ConfusionMatrixDisplay

from ml.run_folder import History, PredictionTable

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


def progress(history: History, metric: str, best_epoch: int | None) -> str:
    """Draw accuracy or loss of every split by epoch."""
    with rc_context(STYLE):
        drawing = Figure((NARROW, 2.6), layout="constrained")
        axes = drawing.subplots()
        for split, dashes in SPLITS.items():
            if f"{split}_{metric}" in history:
                values = history[f"{split}_{metric}"]
                axes.plot(history["epoch"], values, dashes, marker="o", label=split)
        _epoch_axis(axes, best_epoch)
        axes.set_ylabel(metric)
        axes.legend()
        return _svg(drawing, metric)


def learning_rate(history: History) -> str:
    """Draw the learning rate at the end of each epoch."""
    with rc_context(STYLE):
        drawing = Figure((NARROW, 2.6), layout="constrained")
        axes = drawing.subplots()
        axes.plot(history["epoch"], history["learning_rate"], marker="o")
        _epoch_axis(axes, None)
        axes.set_ylabel("learning rate")
        return _svg(drawing, "learning-rate")


def by_class(history: History, split: str, classes: Sequence[str], best_epoch: int | None) -> str:
    """Draw precision, recall and F1 of each class by epoch."""
    with rc_context(STYLE):
        drawing = Figure((WIDE, 5.8), layout="constrained")
        panels = drawing.subplots(3, sharex=True, sharey=True)
        lines = []
        for axes, metric in zip(panels, ("precision", "recall", "f1"), strict=True):
            values = [history[f"{split}_{metric}_{label}"] for label in classes]
            lines = [axes.plot(history["epoch"], each, marker="o")[0] for each in values]
            axes.set_title("F1" if metric == "f1" else metric, loc="left")
            axes.set_ylim(-0.03, 1.03)
            _epoch_axis(axes, best_epoch)
        for axes in panels[:-1]:
            axes.set_xlabel("")
        names = [_short(label) for label in classes]
        drawing.legend(lines, names, loc="outside lower center", ncols=2)
        return _svg(drawing, f"classes-{split}")


def confusion(
    counts: Sequence[Sequence[int]], totals: Sequence[int], classes: Sequence[str], shares: bool
) -> str:
    """Draw the confusion matrix.

    Args:
        totals: the number of photos of each class, which the shares are of.
        shares: print percentages instead of counts.
    """
    matrix = np.array(counts, dtype=float)
    rows = matrix / np.maximum(np.array(totals), 1)[:, None]
    with rc_context(STYLE | {"axes.grid": False}):
        drawing = Figure((WIDE, 4.2), layout="constrained")
        axes = drawing.subplots()
        # Shade by share in both cases; shading by count would show the largest class only.
        display = ConfusionMatrixDisplay(rows, display_labels=[_short(name) for name in classes])
        display.plot(
            ax=axes,
            cmap=FADE,
            colorbar=False,
            include_values=False,
            xticks_rotation=40 if len(classes) <= 8 else 90,
            im_kw={"vmin": 0, "vmax": 1},
        )
        for (i, j), share in np.ndenumerate(rows):
            if matrix[i, j]:
                text = f"{share:.0%}" if shares else f"{matrix[i, j]:.0f}"
                size = 10 if len(classes) <= 10 else 5
                axes.text(j, i, text, ha="center", va="center", size=size)
        axes.set(xlabel="predicted", ylabel="label")
        if len(classes) <= 8:
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        return _svg(drawing, "confusion-shares" if shares else "confusion-counts")


def reliability(predictions: PredictionTable, bins: int = 15) -> str:
    """Draw accuracy against confidence; the area of a dot is its number of photos."""
    index = np.minimum((predictions.confidence * bins).astype(int), bins - 1)
    groups = [index == b for b in range(bins) if (index == b).any()]
    confidence = [predictions.confidence[group].mean() for group in groups]
    accuracy = [predictions.correct[group].mean() for group in groups]
    with rc_context(STYLE):
        drawing = Figure((NARROW, 2.8), layout="constrained")
        axes = drawing.subplots()
        axes.plot([0, 1], [0, 1], "--", color=INK, alpha=0.5, marker="", label="perfect")
        axes.plot(confidence, accuracy, marker="", alpha=0.6)
        sizes = [12 + 240 * group.mean() for group in groups]
        axes.scatter(confidence, accuracy, sizes, alpha=0.8, label="predictions", zorder=3)
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.04), ylim=(0, 1.04))
        axes.legend(loc="upper left")
        return _svg(drawing, "reliability")


def confidences(predictions: PredictionTable, threshold: float) -> str:
    """Draw histograms of the confidence of correct and of wrong predictions."""
    with rc_context(STYLE):
        drawing = Figure((NARROW, 2.8), layout="constrained")
        axes = drawing.subplots()
        parts = [
            predictions.confidence[predictions.correct],
            predictions.confidence[~predictions.correct],
        ]
        edges = [step / 20 for step in range(21)]
        axes.hist(parts, edges, label=["correct", "wrong"], color=COLOURS[:2], log=True)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        if threshold > 0:
            axes.axvline(threshold, color=INK, ls=":", label="threshold")
        axes.set(xlabel="confidence", ylabel="photos (log scale)", xlim=(0, 1))
        axes.legend(loc="upper left")
        return _svg(drawing, "confidence")


def coverage(predictions: PredictionTable) -> str:
    """Draw the accuracy of accepted predictions against coverage, over all thresholds."""
    order = np.argsort(-predictions.confidence, kind="stable")
    kept = np.arange(1, len(order) + 1)
    accuracy = np.cumsum(predictions.correct[order]) / kept
    with rc_context(STYLE):
        drawing = Figure((NARROW, 2.8), layout="constrained")
        axes = drawing.subplots()
        axes.plot(kept / len(order), accuracy, marker="")
        count = int(predictions.accepted.sum())
        if 0 < count < len(order):
            share = predictions.correct[predictions.accepted].mean()
            axes.plot(count / len(order), share, "o", color=COLOURS[1], ms=7, label="threshold")
            axes.legend(loc="lower left")
        axes.set(xlabel="coverage (share accepted)", ylabel="accuracy of accepted")
        axes.set_xlim(0, 1.02)
        return _svg(drawing, "coverage")


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
        warnings.filterwarnings(
            "ignore", "Glyph .* missing"
        )  # the browser's fonts may have the glyph
        figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor").replace("xlink:href", "href")
    return re.sub(r' id="[\w.]+_\d+"| xmlns:xlink="[^"]*"', "", text)
