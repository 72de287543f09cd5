"""A model as it is served: calibrated on validation photos, measured, each answer written down."""

import csv
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ml.data.image_folder import ImageFolder
from ml.errors import DataError
from ml.evaluation.evaluate import logits_of, score, truth_of
from ml.evaluation.metrics import Floats
from ml.evaluation.temperature import Calibration, fit
from ml.export.onnx import stamp
from ml.files import atomic_write, read_json, write_json
from ml.models.card import Card
from ml.models.checkpoint import load, parameters_of, save
from ml.models.probability import probabilities
from ml.predictor import Predictor

MOST_CELLS = 5_000_000
"""Probabilities that predictions.csv holds at most, 100 MB; of more none, but for the answer's."""


@dataclass(frozen=True)
class CalibrationResult:
    """What calibrating and measuring a model came to."""

    card: Card
    metrics: dict[str, dict[str, Any]]
    logits: dict[str, Floats]
    """Of each held-out split, (N, C)."""


def calibrate(predictor: Predictor, folder: ImageFolder, precision: float) -> CalibrationResult:
    """Fit temperature and threshold on the validation photos, then measure both held-out splits.

    Without validation photos answers stay as the network gives them, and all are accepted.

    Args:
        precision: the share of accepted answers that shall be right.
    """
    held_out = {name: folder.of(name) for name in ("validation", "test") if folder.of(name)}
    logits = {name: logits_of(predictor, samples) for name, samples in held_out.items()}
    fitted = Calibration(temperature=1.0, threshold=0.0)
    if "validation" in held_out:
        truth = truth_of(predictor.card, held_out["validation"])
        fitted = fit(logits["validation"], truth, precision)
    card = predictor.card.model_copy(update=fitted._asdict())
    metrics = {name: score(card, samples, logits[name]) for name, samples in held_out.items()}
    kept = {name: {k: v for k, v in of.items() if k != "wrong"} for name, of in metrics.items()}
    if "validation" in held_out:
        summary = _summary(fitted, precision, metrics)
        metrics, kept = metrics | {"calibration": summary}, kept | {"calibration": summary}
    card = card.model_copy(update={"scores": card.scores | kept})
    return CalibrationResult(card, metrics, logits)


def _summary(
    fitted: Calibration, precision: float, metrics: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    summary: dict[str, Any] = {**fitted._asdict(), "precision": precision}
    for name, of in metrics.items():
        summary |= {
            f"{name}_error_before": of["calibration_error_before"],
            f"{name}_error_after": of["calibration_error"],
            f"{name}_coverage": of["coverage"],
            f"{name}_accepted_accuracy": of["accepted_accuracy"],
        }
    return summary


def show_calibration(settled: CalibrationResult, console: Console) -> None:
    """Print what calibrating bought, as a table."""
    summary = settled.metrics.get("calibration")
    if summary is None:
        console.print("No validation photos: answers are not calibrated, and all are accepted.")
        return
    console.print(
        f"Calibrated: temperature {summary['temperature']:.3f}; accepted from a confidence of "
        f"{summary['threshold']:.3f}, for {summary['precision']:.1%} right."
    )
    table = Table("photos", "calibration error", "after", "accepted", "of them right")
    for name in settled.logits:
        figures = ("error_before", "error_after", "coverage", "accepted_accuracy")
        values = (summary[f"{name}_{figure}"] for figure in figures)
        table.add_row(name, *("none" if value is None else f"{value:.1%}" for value in values))
    console.print(table)


def write_predictions(path: Path, folder: ImageFolder, settled: CalibrationResult) -> None:
    """Write every held-out photo's answer to a CSV file, a row a photo."""
    card = settled.card
    columns = ["split", "file", "truth", "answer", "confidence", "accepted", "loss"]
    whole = sum(logits.size for logits in settled.logits.values()) <= MOST_CELLS
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(columns + [f"p:{label}" for label in card.classes if whole])
        for split, logits in settled.logits.items():
            answers = probabilities(logits, card.temperature)  # (N, C)
            for sample, row in zip(folder.of(split), answers, strict=True):
                chances = row.tolist()
                confidence = max(chances)
                writer.writerow(
                    [
                        split,
                        sample.path.relative_to(folder.root).as_posix(),
                        sample.label,
                        card.classes[chances.index(confidence)],
                        confidence,
                        int(confidence >= card.threshold),
                        -log(max(chances[card.classes.index(sample.label)], 1e-12)),
                        *(chances if whole else ()),
                    ]
                )


def recalibrate(model: Path, folder: ImageFolder, precision: float) -> CalibrationResult:
    """Fit a model file again, and bring all that stands beside it of the same run up to date.

    Args:
        folder: split; its validation photos must be ones that the model has not trained on.

    Raises:
        DataError: where there are no validation photos.
    """
    if not folder.of("validation"):
        raise DataError("There are no validation photos to calibrate on: add some photos.")
    settled = calibrate(Predictor(model), folder, precision)
    stamp(model, settled.card)
    beside = model.with_suffix(".safetensors")
    if beside.exists():
        network, card = load(beside)
        if card.version == settled.card.version:
            save(beside, parameters_of(network), settled.card)
    predictions, metrics = model.with_name("predictions.csv"), model.with_name("metrics.json")
    if predictions.exists():
        training = {k: v for k, v in read_json(metrics).items() if k == "training"}
        write_predictions(predictions, folder, settled)
        write_json(metrics, settled.metrics | training)
    return settled
