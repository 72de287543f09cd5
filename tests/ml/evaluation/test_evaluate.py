import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ml.data.image_folder import scan
from ml.data.sample import Sample
from ml.errors import DataError
from ml.evaluation.evaluate import evaluate, show
from ml.evaluation.metrics import measure
from ml.predictor import Predictor


def test_evaluation_is_the_predictor_bit_for_bit(drawn: Path, shipped: Predictor) -> None:
    samples = scan(drawn).samples[::4]
    for sample in samples:
        scores = evaluate(shipped, [sample])
        answer = shipped.predict(sample.path.read_bytes())
        assert scores["accuracy"] == float(answer.label == sample.label)
        assert scores["loss"] == pytest.approx(
            -math.log(answer.probabilities[sample.label]), rel=1e-12
        )


def test_mistakes_and_columns_are_told(drawn: Path, shipped: Predictor) -> None:
    samples = [
        Sample(sample.path, sample.label, columns={"half": str(number % 2)})
        for number, sample in enumerate(scan(drawn).samples)
    ]
    scores = evaluate(shipped, samples, by="half")
    assert scores["photos"] == 40
    assert len(scores["wrong"]) == round(40 * (1 - scores["accuracy"]))
    halves = scores["by"]["half=0"], scores["by"]["half=1"]
    assert sum(half["photos"] * half["accuracy"] for half in halves) == pytest.approx(
        40 * scores["accuracy"]
    )
    console = Console(record=True, width=120)
    show(scores, console)
    assert "Flying Birds" in console.export_text()


def test_strange_classes_and_empty_splits(drawn: Path, shipped: Predictor) -> None:
    with pytest.raises(DataError, match="does not know the classes Kite"):
        evaluate(shipped, [Sample(drawn, "Kite")])
    with pytest.raises(DataError, match="no photos in this split"):
        evaluate(shipped, [])


def test_of_many_classes_the_weakest_are_shown() -> None:
    classes = [f"[red]{number:03}" for number in range(200)]
    chances = np.eye(200)
    chances[7] = chances[8]
    console = Console(record=True, width=120)
    scores = measure(chances, np.arange(200), classes)
    scores |= {"calibration_error_before": 0.0, "coverage": 1.0, "accepted_accuracy": None}
    show(scores, console)
    text = console.export_text()
    assert len(text.splitlines()) < 70
    assert "50 weakest of 200" in text
    assert "[red]007" in text
