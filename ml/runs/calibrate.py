"""Calibrate a model on validation photos, measure it, and write its predictions to files."""

import csv
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ml.data.image_folder import ImageFolder
from ml.errors import DataError
from ml.evaluation.evaluate import evaluate_logits, predict_logits, true_classes
from ml.evaluation.metrics import Floats
from ml.evaluation.temperature import Calibration, fit_calibration
from ml.export.onnx import stamp
from ml.files import atomic_write, read_json, write_json
from ml.models.card import Card
from ml.models.checkpoint import load, parameters_of, save
from ml.models.probability import probabilities
from ml.predictor import Predictor

MOST_CELLS = 5_000_000
"""Most probabilities in predictions.csv (100 MB of text); if there are more, it omits them."""


@dataclass(frozen=True)
class CalibrationResult:
    """A calibrated model card, with the metrics and logits of the measured photos."""

    card: Card
    metrics: dict[str, dict[str, Any]]  # by split, and a summary under "calibration"
    logits: dict[str, Floats]  # by split, (N, C)


def calibrate(
    predictor: Predictor, folder: ImageFolder, target_precision: float
) -> CalibrationResult:
    """Fit temperature and threshold on the validation photos, then measure on both held-out splits.

    Without validation photos the temperature is 1, and all predictions are accepted.
    """
    held_out = {name: folder.of(name) for name in ("validation", "test") if folder.of(name)}
    logits = {name: predict_logits(predictor, samples) for name, samples in held_out.items()}
    fitted = Calibration(temperature=1.0, threshold=0.0)
    if "validation" in held_out:
        truth = true_classes(predictor.card, held_out["validation"])
        fitted = fit_calibration(logits["validation"], truth, target_precision)
    card = predictor.card.model_copy(update=fitted._asdict())
    metrics = {
        name: evaluate_logits(card, samples, logits[name]) for name, samples in held_out.items()
    }
    on_card = {name: {k: v for k, v in of.items() if k != "wrong"} for name, of in metrics.items()}
    if "validation" in held_out:
        summary = {"calibration": _summary(fitted, target_precision, metrics)}
        metrics, on_card = metrics | summary, on_card | summary
    card = card.model_copy(update={"scores": card.scores | on_card})
    return CalibrationResult(card, metrics, logits)


def _summary(
    fitted: Calibration, target_precision: float, metrics: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    summary: dict[str, Any] = {**fitted._asdict(), "precision": target_precision}
    for name, of in metrics.items():
        summary |= {
            f"{name}_error_before": of["calibration_error_before"],
            f"{name}_error_after": of["calibration_error"],
            f"{name}_coverage": of["coverage"],
            f"{name}_accepted_accuracy": of["accepted_accuracy"],
        }
    return summary


def show_calibration(result: CalibrationResult, console: Console) -> None:
    """Print the fitted values, and the metrics before and after, as a table."""
    summary = result.metrics.get("calibration")
    if summary is None:
        console.print("There are no validation photos to calibrate on: accepts all predictions.")
        return
    console.print(
        f"Temperature {summary['temperature']:.3f}. Predictions are accepted from a confidence of "
        f"{summary['threshold']:.3f}, to reach a precision of {summary['precision']:.1%}."
    )
    table = Table("split", "calibration error before", "after", "accepted", "accuracy of accepted")
    for name in result.logits:
        keys = ("error_before", "error_after", "coverage", "accepted_accuracy")
        values = (summary[f"{name}_{key}"] for key in keys)
        table.add_row(name, *("none" if value is None else f"{value:.1%}" for value in values))
    console.print(table)


def write_predictions(path: Path, folder: ImageFolder, result: CalibrationResult) -> None:
    """Write the prediction for every measured photo to a CSV file, one row per photo."""
    card, classes = result.card, result.card.classes
    columns = ["split", "file", "truth", "answer", "confidence", "accepted", "loss"]
    complete = sum(logits.size for logits in result.logits.values()) <= MOST_CELLS
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(columns + [f"p:{label}" for label in classes if complete])
        for split, logits in result.logits.items():
            calibrated = probabilities(logits, card.temperature)  # (N, C)
            for sample, of in zip(folder.of(split), calibrated, strict=True):
                row = of.tolist()
                confidence = max(row)
                file = sample.path.relative_to(folder.root).as_posix()
                predicted, accepted = classes[row.index(confidence)], confidence >= card.threshold
                loss = -log(max(row[classes.index(sample.label)], 1e-12))
                cells = [split, file, sample.label, predicted, confidence, int(accepted), loss]
                writer.writerow(cells + row if complete else cells)


def recalibrate(model: Path, folder: ImageFolder, target_precision: float) -> CalibrationResult:
    """Calibrate a model file again, and update the other files of its run folder.

    Args:
        folder: the model must not have been trained on its validation photos.

    Raises:
        DataError: if there are no validation photos.
    """
    if not folder.of("validation"):
        raise DataError("There are no validation photos to calibrate on: add some photos.")
    result = calibrate(Predictor(model), folder, target_precision)
    stamp(model, result.card)
    parameters = model.with_suffix(".safetensors")
    if parameters.exists():
        network, card = load(parameters)
        if card.version == result.card.version:
            save(parameters, parameters_of(network), result.card)
    predictions, metrics = model.with_name("predictions.csv"), model.with_name("metrics.json")
    if predictions.exists():
        training = {k: v for k, v in read_json(metrics).items() if k == "training"}
        write_predictions(predictions, folder, result)
        write_json(metrics, result.metrics | training)
    return result
