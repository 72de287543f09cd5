from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.ood_distances import areas, distances, features
from ml.data.image_folder import ImageFolder, scan
from ml.data.sample import Sample
from ml.data.split import split_folder
from ml.data.synthetic_ood import synthesize_ood
from ml.model import Net, PlainNet
from ml.models.card import Card, Split
from ml.models.checkpoint import SHIPPED_PARAMETERS, load, save
from ml.predictor import Predictor


@pytest.fixture(scope="module")
def folder(drawn: Path) -> ImageFolder:
    return split_folder(scan(drawn), Split())


@pytest.fixture
def card() -> Card:
    """The shipped model's, with one view."""
    return load(SHIPPED_PARAMETERS)[1].with_views(1)


@pytest.fixture
def others(tmp_path: Path) -> list[Sample]:
    synthesize_ood(tmp_path, images_per_kind=2)
    return [Sample(path, "") for path in sorted(tmp_path.rglob("*.jpg"))]


def test_what_the_network_pools_decides_its_answer(folder: ImageFolder, card: Card) -> None:
    samples = folder.of("test")[::4]
    card = card.with_views(2)
    pooled = features(SHIPPED_PARAMETERS, card, samples)
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


def test_each_distance_has_its_area(folder: ImageFolder, card: Card, others: list[Sample]) -> None:
    stranger = Sample(folder.of("train")[0].path, "Kite")  # a class that the model does not know
    train = [stranger, *folder.of("train")[::2]]
    found = areas(SHIPPED_PARAMETERS, card, train, folder.of("test")[::2], others[::2])
    assert set(found) == {"mahalanobis", "nearest_prototype"}
    assert min(found.values()) > 0.7


def test_without_the_models_own_parameters_nothing_is_told(
    folder: ImageFolder, card: Card, others: list[Sample], tmp_path: Path
) -> None:
    parameters = tmp_path / "model.safetensors"
    photos = folder.of("train"), folder.of("test"), others
    assert areas(parameters, card, *photos) == {}
    save(parameters, Net(4).state_dict(), card.model_copy(update={"version": "another"}))
    assert areas(parameters, card, *photos) == {}
    plain = card.model_copy(update={"network": "plain"})
    save(parameters, PlainNet(4).state_dict(), plain)
    assert areas(parameters, plain, *photos) == {}
    assert areas(SHIPPED_PARAMETERS, card, [], *photos[1:]) == {}


def test_distances_are_those_to_the_nearest_class() -> None:
    random = np.random.default_rng(0)
    truth = np.repeat([0, 2], 2000)  # the class 1 has no photo
    centres = np.array([[0.0, 0.0], [9, 9], [10, 0]])
    learnt = centres[truth] + random.normal(size=(4000, 2)) * (1, 3)
    found = distances(learnt, truth, np.array([[0.0, 3.0], [13.0, 0.0]]))
    assert found["nearest_prototype"] == pytest.approx([3, 3], abs=0.2)
    assert np.sqrt(found["mahalanobis"]) == pytest.approx([1, 3], abs=0.2)
