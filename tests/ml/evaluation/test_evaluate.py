import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ml.data.image_folder import scan
from ml.data.sample import Sample
from ml.errors import DataError
from ml.evaluation.evaluate import evaluate, show_metrics
from ml.evaluation.metrics import measure
from ml.predictor import Predictor


def test_metrics_are_those_of_the_predictor(drawn: Path, shipped: Predictor) -> None:
    samples = scan(drawn).samples[::4]
    for sample in samples:
        metrics = evaluate(shipped, [sample])
        prediction = shipped.predict(sample.path.read_bytes())
        assert metrics["accuracy"] == float(prediction.label == sample.label)
        assert metrics["loss"] == pytest.approx(
            -math.log(prediction.probabilities[sample.label]), rel=1e-12
        )


def test_wrong_predictions_and_accuracy_by_a_column(drawn: Path, shipped: Predictor) -> None:
    samples = [
        Sample(sample.path, sample.label, columns={"half": str(number % 2)})
        for number, sample in enumerate(scan(drawn).samples)
    ]
    metrics = evaluate(shipped, samples, by="half")
    assert metrics["photos"] == 40
    assert len(metrics["wrong"]) == round(40 * (1 - metrics["accuracy"]))
    halves = metrics["by"]["half=0"], metrics["by"]["half=1"]
    assert sum(half["photos"] * half["accuracy"] for half in halves) == pytest.approx(
        40 * metrics["accuracy"]
    )
    console = Console(record=True, width=120)
    show_metrics(metrics, console)
    text = console.export_text()
    assert "Flying Birds" in text
    assert f"half=0: accuracy {halves[0]['accuracy']:.2%} on 20 photos" in text


def test_unknown_classes_and_empty_splits_are_errors(drawn: Path, shipped: Predictor) -> None:
    with pytest.raises(DataError, match="does not know the classes Kite"):
        evaluate(shipped, [Sample(drawn, "Kite")])
    with pytest.raises(DataError, match="no photos in this split"):
        evaluate(shipped, [])


def test_with_many_classes_only_the_worst_are_printed() -> None:
    classes = [f"[red]{number:03}" for number in range(200)]
    predicted = np.eye(200)
    predicted[7] = predicted[8]
    console = Console(record=True, width=120)
    metrics = measure(predicted, np.arange(200), classes)
    metrics |= {"calibration_error_before": 0.0, "coverage": 1.0, "accepted_accuracy": None}
    show_metrics(metrics, console)
    text = console.export_text()
    assert len(text.splitlines()) < 70
    assert "The 50 classes with the lowest F1, of 200:" in text
    assert "[red]007" in text
