import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from ml.evaluation.metrics import calibration_error, measure
from ml.models.probability import probabilities


def test_measure_agrees_with_an_oracle() -> None:
    random = np.random.default_rng(0)
    chances = probabilities(random.normal(size=(200, 3)) * 2)
    truth = random.integers(0, 3, 200)
    scores = measure(chances, truth, ["a", "b", "c"])
    assert scores["accuracy"] == pytest.approx(accuracy_score(truth, chances.argmax(1)))
    assert scores["loss"] == pytest.approx(log_loss(truth, chances))
    confusion = np.array(scores["confusion"])
    for number, label in enumerate("abc"):
        of = scores["classes"][label]
        assert of["recall"] == pytest.approx(confusion[number, number] / confusion[number].sum())
        assert of["precision"] == pytest.approx(
            confusion[number, number] / confusion[:, number].sum()
        )
        assert of["photos"] == (truth == number).sum()


def test_a_class_nobody_saw_counts_as_zero() -> None:
    scores = measure(np.array([[0.9, 0.1, 0.0]]), np.array([0]), ["a", "b", "c"])
    assert scores["classes"]["c"] == {"precision": 0, "recall": 0, "f1": 0, "photos": 0}


def test_no_matrix_of_thousands_of_classes() -> None:
    classes = [f"{number}" for number in range(10_000)]
    chances = np.full((3, 10_000), 1e-4)
    scores = measure(chances, np.array([0, 5, 9_999]), classes)
    assert scores["confusion"] == []
    assert scores["accuracy"] == pytest.approx(1 / 3)
    assert scores["classes"]["0"]["recall"] == 1


def test_calibration_error() -> None:
    sure = np.array([[1.0, 0.0]] * 4)
    assert calibration_error(sure, np.array([0, 0, 0, 0])) == 0
    assert calibration_error(sure, np.array([0, 0, 1, 1])) == pytest.approx(0.5)
    modest = np.array([[0.75, 0.25]] * 4)
    assert calibration_error(modest, np.array([0, 0, 0, 1])) == pytest.approx(0)
