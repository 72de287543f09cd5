import numpy as np
import pytest
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from ml.evaluation.metrics import Floats, Ints, calibration_error
from ml.evaluation.temperature import HIGHEST, LOWEST, choose_threshold, fit, fit_temperature
from ml.models.probability import probabilities


def drawn_from(temperature: float, count: int, seed: int = 0) -> tuple[Floats, Ints]:
    """Logits (N, 4), and truths drawn from their softmax at a temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (count, 4))
    chances = softmax(logits / temperature, axis=1)
    return logits, (random.random((count, 1)) > chances.cumsum(axis=1)).sum(axis=1)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found(temperature: float) -> None:
    logits, truth = drawn_from(temperature, 20_000)
    found = fit_temperature(logits, truth)
    assert found == pytest.approx(temperature, rel=0.03)
    unseen, answers = drawn_from(temperature, 20_000, seed=1)
    assert calibration_error(probabilities(unseen, found), answers) < 0.01


def test_it_agrees_with_scikit_learn() -> None:
    points, truth = drawn_from(1.7, 5000)
    boaster = LogisticRegression().fit(points, truth)
    boaster.coef_ *= 3
    theirs = CalibratedClassifierCV(FrozenEstimator(boaster), method="temperature")
    theirs.fit(points, truth)
    logits = boaster.decision_function(points)
    ours = probabilities(logits, fit_temperature(logits, truth))
    np.testing.assert_allclose(ours, theirs.predict_proba(points), atol=0.002)


@pytest.mark.parametrize("count", [1, 2, 12, 150])
def test_a_few_photos_all_right_prove_only_so_much(count: int) -> None:
    truth = np.arange(count) % 3
    logits = np.eye(3)[truth] * 8.0
    temperature, threshold = fit(logits, truth)
    confidence = probabilities(logits, temperature).max()
    assert confidence == pytest.approx((count + 0.5) / (count + 1), abs=0.01)
    assert LOWEST < temperature < HIGHEST
    assert 0 < threshold < 1
    assert (confidence >= threshold) == (count == 150)


@pytest.mark.parametrize(
    ("logits", "truth"),
    [
        (np.eye(4)[[1, 2, 3, 0]] * 9, np.arange(4)),  # all wrong
        (np.zeros((6, 2)), np.array([0, 1] * 3)),  # no opinion
        (np.eye(2)[[0, 0, 0, 0]] * 1e4, np.array([0, 0, 0, 1])),  # far too sure
        (np.full((3, 1000), -1e3) + np.eye(3, 1000) * 1e3, np.arange(3)),
    ],
)
def test_odd_photos_still_give_a_sound_card(logits: Floats, truth: Ints) -> None:
    temperature, threshold = fit(logits, truth)
    assert LOWEST <= temperature <= HIGHEST * 1.001
    assert 0 < threshold < 1
    assert np.isfinite(probabilities(logits, temperature)).all()


def test_the_threshold_is_what_trying_them_all_finds() -> None:
    for seed in range(50):
        random = np.random.default_rng(seed)
        confidence = random.beta(4, 0.5, 80).round(2)  # rounded: some are equal
        enough = [level for level in confidence if confidence[confidence >= level].mean() >= 0.9501]
        assert choose_threshold(confidence, 0.9501) == min(enough)
    assert choose_threshold(np.array([0.5, 0.6]), 0.9) == 0.9


def test_one_wrong_label_shuts_no_door() -> None:
    logits, truth = drawn_from(0.5, 150)
    surest = probabilities(logits).max(axis=1).argmax()
    wrong = np.where(np.arange(150) == surest, (truth + 1) % 4, truth)
    confidences = [
        probabilities(logits, fitted.temperature).max(axis=1) >= fitted.threshold
        for fitted in (fit(logits, truth), fit(logits, wrong))
    ]
    without, with_it = (accepted.mean() for accepted in confidences)
    assert with_it > without / 2 > 0.2


def test_the_stated_precision_holds_on_unseen_photos() -> None:
    """On average over many draws; one draw of 150 photos may miss it by chance."""
    shares, covered = [], []
    for seed in range(60):
        logits, truth = drawn_from(0.5, 150 + 450, seed)
        temperature, threshold = fit(logits[:150], truth[:150], 0.98)
        chances = probabilities(logits[150:], temperature)
        accepted = chances.max(axis=1) >= threshold
        covered.append(accepted.mean())
        shares.append((chances.argmax(axis=1) == truth[150:])[accepted].mean())
    assert np.mean(shares) >= 0.98
    assert np.mean(covered) > 0.5
