"""Measure whether the evidence points at the object, on pictures with known bounding boxes.

    python benchmarks/evidence.py [MODEL] [FOLDER] [--split test]

FOLDER has an index.csv with each object's bounding box in the columns x0, y0, x1 and y1. The
model's parameters must be beside MODEL, as model.safetensors. Without FOLDER, the script draws
200 pictures and measures all of them. Each map explains the class that the model predicted:

- Pointing game: the strongest point is inside the object's box (Zhang et al. 2016, "Top-down
  Neural Attention by Excitation Backprop", https://arxiv.org/abs/1608.00507; without its margin).
- Deletion: the class's probability while the strongest pixels are removed first. A good map has a
  small area under this curve (Petsiuk et al. 2018, "RISE", https://arxiv.org/abs/1806.07421).
- Insertion: the same while the strongest pixels are added first to a blurred photo. A good map has
  a large area.

The baselines are Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391) at the end of
the backbone, as is usual, and a map that always points at the centre. Grad-CAM at the feature maps
that are pooled into the logits would be the evidence without its constant and its negative values,
because all later layers are affine.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from rich.console import Console
from rich.table import Table

from ml.cpus import in_threads
from ml.data.image_folder import scan
from ml.data.recorded_split import split_as_trained
from ml.data.sample import Sample
from ml.data.synthetic import synthesize
from ml.engines.base import Pixels
from ml.errors import DataError, SkyspotterError
from ml.evidence import Floats, interpolate
from ml.images.decode import decode, read
from ml.images.preprocessing import (
    PADDING,
    Box,
    Preprocessing,
    boxes,
    network_input,
    region,
)
from ml.model import Network, normalise
from ml.models.checkpoint import load
from ml.models.probability import probabilities
from ml.predictor import SHIPPED_MODEL, Predictor
from ml.progress import track_progress

STEPS = 16
BOX_COLUMNS = ("x0", "y0", "x1", "y1")
METRICS = ("pointing", "deletion", "insertion")
Scores = tuple[float, float, float]  # in the order of METRICS


class ExplainedPhoto(NamedTuple):
    """A view of a photo, with one saliency map per method for the predicted class."""

    pixels: Pixels  # (1, size, size, 3)
    label: int
    box: Box  # of the object, in these pixels
    maps: dict[str, Floats]  # each (size, size)


def compare_maps(
    predictor: Predictor, parameters: Path, samples: Sequence[Sample]
) -> dict[str, Any]:
    """Measure the evidence and the baselines on one view of each photo.

    Args:
        predictor: the model whose evidence is measured.
        parameters: the safetensors file of the same model, which Grad-CAM needs.
        samples: photos; those without a bounding box in their `columns` are skipped.

    Returns:
        The number of photos, the mean fraction of the view that a box covers, and for each map
        the mean and the standard error of the three metrics.

    Raises:
        DataError: if no photo has a bounding box.
        ModelError: if the parameters cannot be read.
    """
    boxed = [(sample, box) for sample in samples if (box := _bounding_box(sample))]
    if not boxed:
        raise DataError(
            "No photo has a bounding box: index.csv needs the columns x0, y0, x1, y1. "
            "`python -m ml synthesize` draws pictures that have them."
        )
    network, _ = load(parameters)
    # Grad-CAM handles one photo at a time; meanwhile all cores measure the curves.
    in_turn = track_progress(boxed, "Explaining")
    photos = (_explain(predictor, network, sample, box) for sample, box in in_turn)
    measured = list(in_threads(lambda photo: _measure(predictor, photo), photos))
    return {
        "photos": len(boxed),
        "box": float(np.mean([covered for covered, _ in measured])),
        "maps": _summarise([scores for _, scores in measured]),
    }


def grad_cam(network: Network, pixels: Pixels, label: int) -> Floats:
    """Weight the backbone's last feature maps by their mean gradients; keep positive values.

    Args:
        pixels: (1, size, size, 3).

    Returns:
        (size / 32, size / 32)
    """
    captured: list[torch.Tensor] = []
    hook = network.features[-1].register_forward_hook(lambda _, __, maps: captured.append(maps))
    try:
        logits = network(normalise(torch.from_numpy(pixels))).logits
    finally:
        hook.remove()
    (maps,) = captured  # (1, 1280, 7, 7)
    (gradients,) = torch.autograd.grad(logits[0, label], maps)
    weighted = (gradients.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1)[0]
    return F.relu(weighted).detach().double().numpy()


def curve_areas(
    predictor: Predictor, pixels: Pixels, label: int, saliency: Floats
) -> tuple[float, float]:
    """Return the areas under the deletion curve and the insertion curve of a class.

    Deleted pixels get the mean colour. Inserted pixels replace those of a blurred photo (a
    Gaussian of a twentieth of its side). Each curve has `STEPS` equal steps.

    Args:
        pixels: (1, size, size, 3).
        saliency: (size, size).
    """
    rank = np.empty(saliency.size, dtype=int)
    rank[np.argsort(-saliency, axis=None, kind="stable")] = np.arange(saliency.size)
    count = np.linspace(0, saliency.size, STEPS + 1)[:, None, None]
    done = (rank.reshape(saliency.shape) < count)[..., None]  # (STEPS + 1, size, size, 1)
    blur = ImageFilter.GaussianBlur(len(saliency) / 20)
    blurred = np.asarray(Image.fromarray(pixels[0]).filter(blur))
    stages = np.where(done, np.array(PADDING, np.uint8), pixels), np.where(done, pixels, blurred)
    logits, _ = predictor.engine.run(np.concatenate(stages))
    curves = probabilities(logits, predictor.card.temperature)[:, label]
    deleted, inserted = curves.reshape(2, -1)
    return float(np.trapezoid(deleted, dx=1 / STEPS)), float(np.trapezoid(inserted, dx=1 / STEPS))


def show_comparison(results: dict[str, Any], console: Console) -> None:
    """Print the result of `compare_maps` as a table."""
    console.print(
        f"{results['photos']} photos with bounding boxes, which cover {results['box']:.0%} of the "
        "view; ± is one standard error"
    )
    table = Table("map", *METRICS)
    for method, scores in results["maps"].items():
        cells = (f"{scores[it]['mean']:.3f} ± {scores[it]['error']:.3f}" for it in METRICS)
        table.add_row(method, *cells)
    console.print(table)


def _bounding_box(sample: Sample) -> Box | None:
    values = (float(sample.columns.get(name) or "nan") for name in BOX_COLUMNS)
    try:
        left, top, right, bottom = values
    except ValueError as error:
        raise DataError(f"index.csv: the box of {sample.path.name} is not four numbers.") from error
    return (left, top, right, bottom) if left < right and top < bottom else None


def _explain(predictor: Predictor, network: Network, sample: Sample, box: Box) -> ExplainedPhoto:
    preprocessing = predictor.card.preprocessing.model_copy(update={"grid": 1})
    photo = decode(read(sample.path), needed_side=preprocessing.needed_side)
    ((left, top, right, _),) = boxes(photo.info.width, photo.info.height, preprocessing)
    pixels = network_input(photo.pixels, preprocessing)
    logits, evidence = predictor.engine.run(pixels)
    label = int(logits[0].argmax())
    cells = {"evidence": evidence[0, label], "Grad-CAM": grad_cam(network, pixels, label)}
    maps = {method: _to_pixels(of, preprocessing) for method, of in cells.items()}
    size = preprocessing.size
    offset = np.arange(size) - (size - 1) / 2
    maps["centre"] = -(offset**2 + offset[:, None] ** 2)
    x0, y0, x1, y1 = (np.array(box) - (left, top) * 2) * size / (right - left)
    return ExplainedPhoto(pixels, label, (x0, y0, x1, y1), maps)


def _to_pixels(cells: Floats, preprocessing: Preprocessing) -> Floats:
    """Interpolate a view's cells to its pixels, (7, 7) to (size, size), up to the edges."""
    size = preprocessing.size
    return interpolate(cells, region((0, 0, size, size), preprocessing), (size, size), (size, size))


def _measure(predictor: Predictor, photo: ExplainedPhoto) -> tuple[float, dict[str, Scores]]:
    """Return the fraction of the view that the object's box covers, and each map's scores."""
    size = len(photo.pixels[0])
    left, top, right, bottom = (min(max(edge, 0), size) for edge in photo.box)
    scores = {}
    for method, saliency in photo.maps.items():
        y, x = np.unravel_index(saliency.argmax(), saliency.shape)
        hit = left <= x + 0.5 < right and top <= y + 0.5 < bottom
        areas = curve_areas(predictor, photo.pixels, photo.label, saliency)
        scores[method] = (float(hit), *areas)
    return (right - left) * (bottom - top) / size**2, scores


def _summarise(measured: list[dict[str, Scores]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return each map's mean and standard error of each metric."""
    summary = {}
    for method in measured[0]:
        scores = np.array([of[method] for of in measured])  # (N, 3)
        errors = scores.std(axis=0) / len(scores) ** 0.5
        triples = zip(METRICS, scores.mean(axis=0), errors, strict=True)
        summary[method] = {name: {"mean": float(m), "error": float(e)} for name, m, e in triples}
    return summary


def main() -> None:
    """Measure a model and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path, nargs="?", default=SHIPPED_MODEL)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--split", choices=("test", "validation", "train", "all"), default="test")
    options = parser.parse_args()
    predictor, parameters = Predictor(options.model), options.model.with_name("model.safetensors")
    with TemporaryDirectory() as scratch:
        data, split = options.folder or Path(scratch), options.split
        if options.folder is None:
            synthesize(data, images_per_class=50, seed=7)
            split = "all"
        errors = Console(stderr=True)
        try:
            folder = split_as_trained(
                scan(data), options.model.parent, predictor.card.split, errors
            )
            results = compare_maps(predictor, parameters, folder.of(split))
        except SkyspotterError as error:
            parser.exit(1, f"{error}\n")
    show_comparison(results, Console())


if __name__ == "__main__":
    main()
