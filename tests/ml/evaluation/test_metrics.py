import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from ml.evaluation.metrics import calibration_error, measure
from ml.models.probability import probabilities


def test_measure_agrees_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    predicted = probabilities(random.normal(size=(200, 3)) * 2)
    truth = random.integers(0, 3, 200)
    metrics = measure(predicted, truth, ["a", "b", "c"])
    assert metrics["accuracy"] == pytest.approx(accuracy_score(truth, predicted.argmax(1)))
    assert metrics["loss"] == pytest.approx(log_loss(truth, predicted))
    confusion = np.array(metrics["confusion"])
    for number, label in enumerate("abc"):
        of = metrics["classes"][label]
        assert of["recall"] == pytest.approx(confusion[number, number] / confusion[number].sum())
        assert of["precision"] == pytest.approx(
            confusion[number, number] / confusion[:, number].sum()
        )
        assert of["photos"] == (truth == number).sum()


def test_a_class_without_photos_has_zeros() -> None:
    metrics = measure(np.array([[0.9, 0.1, 0.0]]), np.array([0]), ["a", "b", "c"])
    assert metrics["classes"]["c"] == {"precision": 0, "recall": 0, "f1": 0, "photos": 0}


def test_thousands_of_classes_have_no_confusion_matrix() -> None:
    classes = [f"{number}" for number in range(10_000)]
    predicted = np.full((3, 10_000), 1e-4)
    metrics = measure(predicted, np.array([0, 5, 9_999]), classes)
    assert metrics["confusion"] == []
    assert metrics["accuracy"] == pytest.approx(1 / 3)
    assert metrics["classes"]["0"]["recall"] == 1


def test_calibration_error() -> None:
    certain = np.array([[1.0, 0.0]] * 4)
    assert calibration_error(certain, np.array([0, 0, 0, 0])) == 0
    assert calibration_error(certain, np.array([0, 0, 1, 1])) == pytest.approx(0.5)
    modest = np.array([[0.75, 0.25]] * 4)
    assert calibration_error(modest, np.array([0, 0, 0, 1])) == pytest.approx(0)
