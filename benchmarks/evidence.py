"""Does the evidence mean something? Measured on photos that say where their object is.

Each map explains the answer that was given, and is judged in three ways:

- Pointing game: the strongest place lies inside the object's box (Zhang et al. 2016, "Top-down
  Neural Attention by Excitation Backprop", https://arxiv.org/abs/1608.00507; without its margin).
- Deletion: the class's probability while the strongest places go first; the area under the curve
  is small where the map is right (Petsiuk et al. 2018, "RISE", https://arxiv.org/abs/1806.07421).
- Insertion: the same while they come first into a blurred photo; the area is large.

Beside the evidence stand Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391), at
the end of the backbone as is usual, and a map that always points to the centre. At the maps that
are pooled for the logits Grad-CAM would be the evidence itself, less its constant and what is
negative, for all that follows is affine.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from rich.console import Console
from rich.table import Table

from ml.cpus import on_all_cpus
from ml.data.sample import Sample
from ml.errors import DataError
from ml.evidence import Floats, spread
from ml.images.decode import decode, read
from ml.images.preprocessing import (
    PADDING,
    STRIDE,
    Box,
    Preprocessing,
    boxes,
    network_input,
    region,
)
from ml.model import Network, normalise
from ml.models.checkpoint import load
from ml.models.engine import Pixels
from ml.models.probability import probabilities
from ml.predictor import Predictor
from ml.progress import track_progress

STEPS = 16
CORNERS = ("x0", "y0", "x1", "y1")
FIGURES = ("pointing", "deletion", "insertion")


class Explained(NamedTuple):
    """A photo as the network saw it, with maps of what made it answer so."""

    pixels: Pixels  # (1, size, size, 3)
    label: int
    box: Box  # of the object, in these pixels
    maps: dict[str, Floats]  # each (size, size)


def judge(predictor: Predictor, parameters: Path, samples: Sequence[Sample]) -> dict[str, Any]:
    """Play the pointing game, delete and insert, on one view of each photo.

    Args:
        predictor: whose evidence is judged.
        parameters: the safetensors of the same model, which Grad-CAM needs.
        samples: photos; those count whose `columns` have their object's box, in pixels.

    Returns:
        The number of photos, the mean share of the view that a box covers, and each map's three
        figures with the standard errors of their means.

    Raises:
        DataError: where no photo has a box.
        ModelError: where the parameters cannot be read.
    """
    boxed = [(sample, box) for sample in samples if (box := _box(sample))]
    if not boxed:
        raise DataError(
            "No photo says where its object is: index.csv needs the columns x0, y0, x1, y1. "
            "`python -m ml synthesize` draws pictures that have them."
        )
    network, _ = load(parameters)
    # Grad-CAM takes one photo after the other; the curves are measured beside it.
    in_turn = track_progress(boxed, "Explaining")
    photos = (_explain(predictor, network, sample, box) for sample, box in in_turn)
    measured = list(on_all_cpus(lambda photo: _measure(predictor, photo), photos))
    return {
        "photos": len(boxed),
        "box": float(np.mean([share for share, _ in measured])),
        "maps": _means([figures for _, figures in measured]),
    }


def grad_cam(network: Network, pixels: Pixels, label: int) -> Floats:
    """Weigh the backbone's last maps by their mean gradients, and keep what is positive.

    Args:
        pixels: (1, size, size, 3).

    Returns:
        (size / 32, size / 32)
    """
    kept: list[torch.Tensor] = []
    hook = network.features[-1].register_forward_hook(lambda _, __, maps: kept.append(maps))
    try:
        logits = network(normalise(torch.from_numpy(pixels))).logits
    finally:
        hook.remove()
    (maps,) = kept  # (1, 1280, 7, 7)
    (gradients,) = torch.autograd.grad(logits[0, label], maps)
    weighed = (gradients.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1)[0]
    return F.relu(weighed).detach().double().numpy()


def curve_areas(
    predictor: Predictor, pixels: Pixels, label: int, heat: Floats
) -> tuple[float, float]:
    """Areas under a class's probability, with the hottest places deleted first and inserted first.

    What is deleted becomes the mean colour. What is inserted replaces a blurred photo, by a
    Gaussian of a twentieth of its side. Either takes `STEPS` equal steps from none to all.

    Args:
        pixels: (1, size, size, 3).
        heat: (size, size).
    """
    rank = np.empty(heat.size, dtype=int)
    rank[np.argsort(-heat, axis=None, kind="stable")] = np.arange(heat.size)
    count = np.linspace(0, heat.size, STEPS + 1)[:, None, None]
    done = (rank.reshape(heat.shape) < count)[..., None]  # (STEPS + 1, size, size, 1)
    blur = ImageFilter.GaussianBlur(len(heat) / 20)
    blurred = np.asarray(Image.fromarray(pixels[0]).filter(blur))
    stages = np.where(done, np.array(PADDING, np.uint8), pixels), np.where(done, pixels, blurred)
    logits, _ = predictor.engine.run(np.concatenate(stages))
    chances = probabilities(logits, predictor.card.temperature)[:, label]
    deleted, inserted = chances.reshape(2, -1)
    return float(np.trapezoid(deleted, dx=1 / STEPS)), float(np.trapezoid(inserted, dx=1 / STEPS))


def show_judgement(scores: dict[str, Any], console: Console) -> None:
    """Print what `judge` measured as a table."""
    console.print(
        f"{scores['photos']} photos whose objects are known to cover {scores['box']:.0%} of the "
        "view; ± is one standard error"
    )
    table = Table("map", *FIGURES)
    for kind, figures in scores["maps"].items():
        cells = (f"{figures[it]['mean']:.3f} ± {figures[it]['error']:.3f}" for it in FIGURES)
        table.add_row(kind, *cells)
    console.print(table)


def _box(sample: Sample) -> Box | None:
    try:
        left, top, right, bottom = (float(sample.columns.get(name) or "nan") for name in CORNERS)
    except ValueError as error:
        raise DataError(f"index.csv: the box of {sample.path.name} is not four numbers.") from error
    return (left, top, right, bottom) if left < right and top < bottom else None


def _explain(predictor: Predictor, network: Network, sample: Sample, box: Box) -> Explained:
    preprocessing = predictor.card.preprocessing.model_copy(update={"views": 1})
    photo = decode(read(sample.path), needed_side=preprocessing.needed_side)
    ((left, top, right, _),) = boxes(photo.info.width, photo.info.height, preprocessing)
    pixels = network_input(photo.pixels, preprocessing)
    logits, evidence = predictor.engine.run(pixels)
    label = int(logits[0].argmax())
    maps = {"evidence": evidence[0, label], "Grad-CAM": grad_cam(network, pixels, label)}
    heats = {kind: _heat(cells, preprocessing) for kind, cells in maps.items()}
    size = preprocessing.size
    across = np.arange(size) - (size - 1) / 2
    heats["centre"] = -(across**2 + across[:, None] ** 2)
    x0, y0, x1, y1 = (np.array(box) - (left, top) * 2) * size / (right - left)
    return Explained(pixels, label, (x0, y0, x1, y1), heats)


def _heat(cells: Floats, preprocessing: Preprocessing) -> Floats:
    """Spread a view's cells over its pixels: (7, 7) to (size, size); outer cells reach the edge."""
    size = preprocessing.size
    left, top, right, bottom = region((0, 0, size, size), preprocessing)
    wider = (left - STRIDE, top - STRIDE, right + STRIDE, bottom + STRIDE)
    return spread(np.pad(cells, 1, mode="edge"), wider, (size, size), (size, size))


def _measure(
    predictor: Predictor, photo: Explained
) -> tuple[float, dict[str, tuple[float, float, float]]]:
    """The share of the view that the object's box covers, and each map's figures."""
    size = len(photo.pixels[0])
    left, top, right, bottom = (min(max(edge, 0), size) for edge in photo.box)
    figures = {}
    for kind, heat in photo.maps.items():
        y, x = np.unravel_index(heat.argmax(), heat.shape)
        hit = left <= x + 0.5 < right and top <= y + 0.5 < bottom
        figures[kind] = (float(hit), *curve_areas(predictor, photo.pixels, photo.label, heat))
    return (right - left) * (bottom - top) / size**2, figures


def _means(
    measured: list[dict[str, tuple[float, float, float]]],
) -> dict[str, dict[str, dict[str, float]]]:
    means = {}
    for kind in measured[0]:
        figures = np.array([of[kind] for of in measured])  # (N, 3)
        errors = figures.std(axis=0) / len(figures) ** 0.5
        pairs = zip(FIGURES, figures.mean(axis=0), errors, strict=True)
        means[kind] = {name: {"mean": float(m), "error": float(e)} for name, m, e in pairs}
    return means
