import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.ood_distances import distance_aurocs, distances, main, pooled_features
from ml.data.image_folder import ImageFolder, scan
from ml.data.sample import Sample
from ml.data.split import split_folder
from ml.data.synthetic_ood import synthesize_ood
from ml.model import Net, PlainNet
from ml.models.card import Card, Split
from ml.models.checkpoint import SHIPPED_PARAMETERS, load, save
from ml.predictor import SHIPPED_MODEL, Predictor


@pytest.fixture(scope="module")
def folder(drawn: Path) -> ImageFolder:
    return split_folder(scan(drawn), Split())


@pytest.fixture
def card() -> Card:
    """The shipped model's, with one view."""
    return load(SHIPPED_PARAMETERS)[1].with_grid(1)


@pytest.fixture
def ood(tmp_path: Path) -> list[Sample]:
    synthesize_ood(tmp_path, images_per_kind=2)
    return [Sample(path, "") for path in sorted(tmp_path.rglob("*.jpg"))]


def test_the_logits_follow_from_the_pooled_features(folder: ImageFolder, card: Card) -> None:
    samples = folder.of("test")[::4]
    card = card.with_grid(2)
    pooled = pooled_features(SHIPPED_PARAMETERS, card, samples)
    assert pooled is not None
    assert pooled.shape == (len(samples), 128)
    network, _ = load(SHIPPED_PARAMETERS)
    assert isinstance(network, Net)
    with torch.no_grad():
        maps = torch.from_numpy(pooled).float()[:, :, None, None]
        logits = network.classifier(network.norm(network.reduce(maps)).flatten(1))
    expected = Predictor()
    expected.engine.card = card
    found = np.array([expected.predict(sample.path).logits for sample in samples])
    assert np.abs(logits.numpy() - found).max() < 1e-3


def test_each_distance_has_an_auroc(folder: ImageFolder, card: Card, ood: list[Sample]) -> None:
    unknown = Sample(folder.of("train")[0].path, "Kite")  # a class that the model does not know
    train = [unknown, *folder.of("train")[::2]]
    found = distance_aurocs(SHIPPED_PARAMETERS, card, train, folder.of("test")[::2], ood[::2])
    assert set(found) == {"mahalanobis", "nearest_prototype"}
    assert min(found.values()) > 0.7


def test_without_the_models_own_parameters_the_result_is_empty(
    folder: ImageFolder, card: Card, ood: list[Sample], tmp_path: Path
) -> None:
    parameters = tmp_path / "model.safetensors"
    photos = folder.of("train"), folder.of("test"), ood
    assert distance_aurocs(parameters, card, *photos) == {}
    save(parameters, Net(4).state_dict(), card.model_copy(update={"version": "another"}))
    assert distance_aurocs(parameters, card, *photos) == {}
    plain = card.model_copy(update={"network": "plain"})
    save(parameters, PlainNet(4).state_dict(), plain)
    assert distance_aurocs(parameters, plain, *photos) == {}
    assert distance_aurocs(SHIPPED_PARAMETERS, card, [], *photos[1:]) == {}


def test_distances_are_to_the_nearest_class() -> None:
    random = np.random.default_rng(0)
    truth = np.repeat([0, 2], 2000)  # class 1 has no photos
    centres = np.array([[0.0, 0.0], [9, 9], [10, 0]])
    fitted = centres[truth] + random.normal(size=(4000, 2)) * (1, 3)
    found = distances(fitted, truth, np.array([[0.0, 3.0], [13.0, 0.0]]))
    assert found["nearest_prototype"] == pytest.approx([3, 3], abs=0.2)
    assert np.sqrt(found["mahalanobis"]) == pytest.approx([1, 3], abs=0.2)


def test_the_script_prints_every_score(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    synthesize_ood(tmp_path, images_per_kind=2)
    paths = [str(path) for path in (SHIPPED_MODEL, drawn, tmp_path)]
    monkeypatch.setattr(sys, "argv", ["ood_distances.py", *paths, "--split=validation"])
    main()
    printed = capsys.readouterr().out
    for score in ("maximum probability", "energy", "maximum logit", "mahalanobis", "prototype"):
        assert score in printed
