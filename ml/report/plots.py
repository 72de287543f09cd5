"""The report's plots: matplotlib draws them, as SVG that takes the page's colour for its ink."""

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
"""Curves in one plot; of more classes those with the lowest F1 are drawn."""
MOST_CELLS = 25
"""Rows of a confusion matrix; of more classes those with the most mistakes are drawn."""
WIDE, NARROW = 4.7, 3.6  # inches: two and three side by side on the page, letters alike
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
    "svg.fonttype": "none",  # text stays text: to be searched, read aloud, in the page's fonts
    "text.color": INK,
    "text.parse_math": False,  # a class may be named $5$
    "xtick.color": INK,
    "ytick.color": INK,
}
SPLITS = {"train": "-", "validation": "--", "test": "-"}


def progress(history: History, figure: str, best: int | None) -> str:
    """Accuracy or loss of every split against the epoch, as SVG."""
    with rc_context(STYLE):
        drawing = Figure((NARROW, 2.6), layout="constrained")
        axes = drawing.subplots()
        for split, dashes in SPLITS.items():
            if f"{split}_{figure}" in history:
                values = history[f"{split}_{figure}"]
                axes.plot(history["epoch"], values, dashes, marker="o", label=split)
        _epochs(axes, history, best)
        axes.set_ylabel(figure)
        axes.legend()
        return _svg(drawing, figure)


def learning_rate(history: History) -> str:
    """The learning rate at the end of each epoch, as SVG."""
    with rc_context(STYLE):
        drawing = Figure((NARROW, 2.6), layout="constrained")
        axes = drawing.subplots()
        axes.plot(history["epoch"], history["learning_rate"], marker="o")
        _epochs(axes, history, None)
        axes.set_ylabel("learning rate")
        return _svg(drawing, "learning-rate")


def by_class(history: History, split: str, classes: Sequence[str], best: int | None) -> str:
    """Precision, recall and F1 of each class against the epoch, as SVG."""
    with rc_context(STYLE):
        drawing = Figure((WIDE, 5.8), layout="constrained")
        panels = drawing.subplots(3, sharex=True, sharey=True)
        lines = []
        for axes, figure in zip(panels, ("precision", "recall", "f1"), strict=True):
            values = [history[f"{split}_{figure}_{label}"] for label in classes]
            lines = [axes.plot(history["epoch"], each, marker="o")[0] for each in values]
            axes.set_title("F1" if figure == "f1" else figure, loc="left")
            axes.set_ylim(-0.03, 1.03)
            _epochs(axes, history, best)
        for axes in panels[:-1]:
            axes.set_xlabel("")
        names = [_short(label) for label in classes]
        drawing.legend(lines, names, loc="outside lower center", ncols=2)
        return _svg(drawing, f"classes-{split}")


def confusion(
    counts: Sequence[Sequence[int]], totals: Sequence[int], classes: Sequence[str], shares: bool
) -> str:
    """The confusion matrix, as counts or as shares of `totals`, each class's photos, as SVG."""
    matrix = np.array(counts, dtype=float)
    rows = matrix / np.maximum(np.array(totals), 1)[:, None]
    with rc_context(STYLE | {"axes.grid": False}):
        drawing = Figure((WIDE, 4.2), layout="constrained")
        axes = drawing.subplots()
        # The shade is the share in both, or the largest class would be all there is to see.
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
        axes.set(xlabel="answer", ylabel="truth")
        if len(classes) <= 8:
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        return _svg(drawing, "confusion-shares" if shares else "confusion-counts")


def reliability(answers: PredictionTable, bins: int = 15) -> str:
    """How often answers of one confidence are right, as SVG; a dot's area is its photos."""
    which = np.minimum((answers.confidence * bins).astype(int), bins - 1)
    groups = [which == b for b in range(bins) if (which == b).any()]
    confidence = [answers.confidence[group].mean() for group in groups]
    accuracy = [answers.right[group].mean() for group in groups]
    with rc_context(STYLE):
        drawing = Figure((NARROW, 2.8), layout="constrained")
        axes = drawing.subplots()
        axes.plot([0, 1], [0, 1], "--", color=INK, alpha=0.5, marker="", label="perfect")
        axes.plot(confidence, accuracy, marker="", alpha=0.6)
        sizes = [12 + 240 * group.mean() for group in groups]
        axes.scatter(confidence, accuracy, sizes, alpha=0.8, label="answers", zorder=3)
        axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1.04), ylim=(0, 1.04))
        axes.legend(loc="upper left")
        return _svg(drawing, "reliability")


def confidences(answers: PredictionTable, threshold: float) -> str:
    """How sure the right and the wrong answers are, as SVG."""
    with rc_context(STYLE):
        drawing = Figure((NARROW, 2.8), layout="constrained")
        axes = drawing.subplots()
        parts = [answers.confidence[answers.right], answers.confidence[~answers.right]]
        edges = [step / 20 for step in range(21)]
        axes.hist(parts, edges, label=["right", "wrong"], color=COLOURS[:2], log=True)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        if threshold > 0:
            axes.axvline(threshold, color=INK, ls=":", label="threshold")
        axes.set(xlabel="confidence", ylabel="photos (logarithmic)", xlim=(0, 1))
        axes.legend(loc="upper left")
        return _svg(drawing, "confidence")


def coverage(answers: PredictionTable) -> str:
    """Accuracy of the answers that are kept when the least sure are refused, as SVG."""
    order = np.argsort(-answers.confidence, kind="stable")
    kept = np.arange(1, len(order) + 1)
    accuracy = np.cumsum(answers.right[order]) / kept
    with rc_context(STYLE):
        drawing = Figure((NARROW, 2.8), layout="constrained")
        axes = drawing.subplots()
        axes.plot(kept / len(order), accuracy, marker="")
        count = int(answers.accepted.sum())
        if 0 < count < len(order):
            share = answers.right[answers.accepted].mean()
            axes.plot(count / len(order), share, "o", color=COLOURS[1], ms=7, label="threshold")
            axes.legend(loc="lower left")
        axes.set(xlabel="coverage (share answered)", ylabel="accuracy of these")
        axes.set_xlim(0, 1.02)
        return _svg(drawing, "coverage")


def _epochs(axes: Axes, history: History, best: int | None) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if best:
        axes.axvline(best, color=INK, alpha=0.5, ls=":", label="best epoch")


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:21]}…"


def _svg(figure: Figure, name: str) -> str:
    """Draw; `name` keeps the identifiers of plots on one page apart."""
    buffer = StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's fonts may have it
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor").replace("xlink:href", "href")
    return re.sub(r' id="[\w.]+_\d+"| xmlns:xlink="[^"]*"', "", text)
