import numpy as np
import pytest
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from ml.evaluation.metrics import Floats, Ints, calibration_error
from ml.evaluation.temperature import (
    HIGHEST,
    LOWEST,
    choose_threshold,
    fit_calibration,
    fit_temperature,
)
from ml.models.probability import probabilities


def drawn_from(temperature: float, count: int, seed: int = 0) -> tuple[Floats, Ints]:
    """Logits (N, 4), and labels drawn from their softmax at a temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (count, 4))
    drawn = softmax(logits / temperature, axis=1)
    return logits, (random.random((count, 1)) > drawn.cumsum(axis=1)).sum(axis=1)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found(temperature: float) -> None:
    logits, truth = drawn_from(temperature, 20_000)
    found = fit_temperature(logits, truth)
    assert found == pytest.approx(temperature, rel=0.03)
    unseen, labels = drawn_from(temperature, 20_000, seed=1)
    assert calibration_error(probabilities(unseen, found), labels) < 0.01


def test_it_agrees_with_scikit_learn() -> None:
    points, truth = drawn_from(1.7, 5000)
    overconfident = LogisticRegression().fit(points, truth)
    overconfident.coef_ *= 3
    theirs = CalibratedClassifierCV(FrozenEstimator(overconfident), method="temperature")
    theirs.fit(points, truth)
    logits = overconfident.decision_function(points)
    ours = probabilities(logits, fit_temperature(logits, truth))
    np.testing.assert_allclose(ours, theirs.predict_proba(points), atol=0.002)


@pytest.mark.parametrize("count", [1, 2, 12, 150])
def test_a_few_correct_predictions_do_not_make_it_certain(count: int) -> None:
    truth = np.arange(count) % 3
    logits = np.eye(3)[truth] * 8.0
    temperature, threshold = fit_calibration(logits, truth)
    confidence = probabilities(logits, temperature).max()
    assert confidence == pytest.approx((count + 0.5) / (count + 1), abs=0.01)
    assert LOWEST < temperature < HIGHEST
    assert 0 < threshold < 1
    assert (confidence >= threshold) == (count == 150)


@pytest.mark.parametrize(
    ("logits", "truth"),
    [
        (np.eye(4)[[1, 2, 3, 0]] * 9, np.arange(4)),  # all wrong
        (np.zeros((6, 2)), np.array([0, 1] * 3)),  # equal logits
        (np.eye(2)[[0, 0, 0, 0]] * 1e4, np.array([0, 0, 0, 1])),  # overconfident
        (np.full((3, 1000), -1e3) + np.eye(3, 1000) * 1e3, np.arange(3)),
    ],
)
def test_unusual_logits_give_a_valid_calibration(logits: Floats, truth: Ints) -> None:
    temperature, threshold = fit_calibration(logits, truth)
    assert LOWEST <= temperature <= HIGHEST * 1.001
    assert 0 < threshold < 1
    assert np.isfinite(probabilities(logits, temperature)).all()


def test_the_threshold_equals_a_search_over_all_confidences() -> None:
    for seed in range(50):
        random = np.random.default_rng(seed)
        confidence = random.beta(4, 0.5, 80).round(2)  # rounded: some are equal
        enough = [level for level in confidence if confidence[confidence >= level].mean() >= 0.9501]
        assert choose_threshold(confidence, 0.9501) == min(enough)
    assert choose_threshold(np.array([0.5, 0.6]), 0.9) == 0.9


def test_one_wrong_label_does_not_reject_most_predictions() -> None:
    logits, truth = drawn_from(0.5, 150)
    most_confident = probabilities(logits).max(axis=1).argmax()
    wrong = np.where(np.arange(150) == most_confident, (truth + 1) % 4, truth)
    acceptances = [
        probabilities(logits, fitted.temperature).max(axis=1) >= fitted.threshold
        for fitted in (fit_calibration(logits, truth), fit_calibration(logits, wrong))
    ]
    without, with_error = (accepted.mean() for accepted in acceptances)
    assert with_error > without / 2 > 0.2


def test_the_target_precision_holds_on_unseen_photos() -> None:
    """On average over many samples; a single sample of 150 photos can miss it by chance."""
    precisions, coverages = [], []
    for seed in range(60):
        logits, truth = drawn_from(0.5, 150 + 450, seed)
        temperature, threshold = fit_calibration(logits[:150], truth[:150], 0.98)
        calibrated = probabilities(logits[150:], temperature)
        accepted = calibrated.max(axis=1) >= threshold
        coverages.append(accepted.mean())
        precisions.append((calibrated.argmax(axis=1) == truth[150:])[accepted].mean())
    assert np.mean(precisions) >= 0.98
    assert np.mean(coverages) > 0.5
