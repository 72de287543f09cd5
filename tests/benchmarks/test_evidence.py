from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.evidence import STEPS, curve_areas, grad_cam, judge
from ml.data.image_folder import scan
from ml.data.sample import Sample
from ml.errors import DataError, ModelError
from ml.images.preprocessing import PADDING, Preprocessing
from ml.model import Net, PlainNet, normalise
from ml.models.card import Card
from ml.models.engine import Floats, Pixels
from ml.predictor import SHIPPED_MODEL, Predictor

PARAMETERS = SHIPPED_MODEL.with_name("model.safetensors")
CARD = Card(
    version="1",
    classes=("bright", "dark"),
    preprocessing=Preprocessing(strategy="native"),
)


class Corner:
    """An engine for which all that counts is how bright the last cell but one of each side is."""

    name, card = "engine", CARD

    def __init__(self, evidence: Callable[[Floats], Floats] = lambda cells: cells) -> None:
        self.evidence = evidence

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        cells = np.zeros((len(pixels), 2, 7, 7), np.float32)
        # What surrounds pixel 32 x 5, as a cell of the network does.
        around = pixels[:, 144:176, 144:176].mean(axis=(1, 2, 3)) - np.mean(PADDING)
        cells[:, 0, 5, 5] = around
        return cells.mean(axis=(2, 3)), self.evidence(cells)


@pytest.fixture
def photo() -> Pixels:
    """Gray, with something bright where the engine looks: (1, 224, 224, 3)."""
    pixels = np.full((1, 224, 224, 3), PADDING, np.uint8)
    pixels[:, 144:176, 144:176] = 255
    return pixels


def sample_of(photo: Pixels, folder: Path, **columns: str) -> Sample:
    path = folder / "photo.png"
    Image.fromarray(photo[0]).save(path)
    return Sample(path, "bright", columns=columns)


BOX = {"x0": "140", "y0": "140", "x1": "180", "y1": "180"}


def test_evidence_that_is_right_wins_and_wrong_evidence_loses(
    photo: Pixels, tmp_path: Path
) -> None:
    sample = sample_of(photo, tmp_path, **BOX)
    right = judge(Predictor(engine=Corner()), PARAMETERS, [sample])
    wrong = judge(Predictor(engine=Corner(lambda cells: -cells)), PARAMETERS, [sample])
    found, lost = right["maps"]["evidence"], wrong["maps"]["evidence"]
    assert found["pointing"]["mean"] == 1
    assert lost["pointing"]["mean"] == right["maps"]["centre"]["pointing"]["mean"] == 0
    assert found["deletion"]["mean"] < right["maps"]["centre"]["deletion"]["mean"]
    assert found["insertion"]["mean"] > right["maps"]["centre"]["insertion"]["mean"]
    assert lost["deletion"]["mean"] > found["deletion"]["mean"]
    assert lost["insertion"]["mean"] < found["insertion"]["mean"]
    assert right["box"] == pytest.approx((40 / 224) ** 2)
    assert right["photos"] == 1


def test_areas_of_a_curve_one_can_foresee() -> None:
    """A class whose logit counts the pixels that are left."""

    class Count:
        name, card = "engine", CARD

        def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
            white = (pixels == 255).all(axis=3).mean(axis=(1, 2))
            logits = np.log(np.stack([white + 1e-9, 1 - white + 1e-9], axis=1))
            return logits.astype(np.float32), np.zeros((len(pixels), 2, 7, 7), np.float32)

    white = np.full((1, 64, 64, 3), 255, np.uint8)
    heat = np.random.default_rng(0).random((64, 64))
    deletion, insertion = curve_areas(Predictor(engine=Count()), white, 0, heat)
    # The share of white falls from one to nothing in a straight line; blurred white is white.
    assert deletion == pytest.approx(0.5, abs=1e-3)
    assert insertion == pytest.approx(1, abs=1e-3)


def test_the_hottest_places_go_first() -> None:
    seen: list[Pixels] = []

    class Watch:
        name, card = "engine", CARD

        def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
            seen.append(pixels)
            return np.zeros((len(pixels), 2), np.float32), np.zeros(
                (len(pixels), 2, 2, 2), np.float32
            )

    photo = np.random.default_rng(0).integers(0, 100, (1, 64, 64, 3), dtype=np.uint8)
    heat = np.linspace(1, 0, 64 * 64).reshape(64, 64)  # falls from top to bottom
    curve_areas(Predictor(engine=Watch()), photo, 0, heat)
    deleted, inserted = seen[0].reshape(2, STEPS + 1, 64, 64, 3)
    rows = 64 // STEPS
    for step in (0, 5, STEPS):
        assert (deleted[step, : step * rows] == PADDING).all()
        assert (deleted[step, step * rows :] == photo[0, step * rows :]).all()
        assert (inserted[step, : step * rows] == photo[0, : step * rows]).all()
    assert inserted[0].std() < photo.std() / 3, "it starts blurred"


def test_grad_cam_of_a_linear_head_is_its_evidence_without_constant_and_negatives() -> None:
    """Grad-CAM is class activation mapping there (Selvaraju et al. 2017, appendix A)."""
    torch.manual_seed(0)
    network = PlainNet(3).eval()
    pixels = np.random.default_rng(0).integers(0, 255, (1, 224, 224, 3), dtype=np.uint8)
    with torch.no_grad():
        evidence = network(normalise(torch.from_numpy(pixels))).evidence[0]
    maps = [grad_cam(network, pixels, label) for label in range(3)]
    assert np.max(maps) > 0
    for label, found in enumerate(maps):
        expected = torch.relu(evidence[label] - network.classifier.bias[label]) / 49
        np.testing.assert_allclose(found, expected.detach(), atol=1e-6)


def test_grad_cam_leaves_the_network_as_it_was() -> None:
    network = Net(3).eval()
    pixels = np.random.default_rng(0).integers(0, 255, (1, 96, 96, 3), dtype=np.uint8)
    assert grad_cam(network, pixels, 1).shape == (3, 3)
    assert not network.features[-1]._forward_hooks
    assert all(parameter.grad is None for parameter in network.parameters())


def test_photos_without_boxes_are_refused(shipped: Predictor, drawn: Path) -> None:
    samples = [Sample(sample.path, sample.label) for sample in scan(drawn).samples]
    with pytest.raises(DataError, match="x0, y0, x1, y1"):
        judge(shipped, PARAMETERS, samples)
    broken = Sample(samples[0].path, samples[0].label, columns=BOX | {"x1": "wide"})
    with pytest.raises(DataError, match="not four numbers"):
        judge(shipped, PARAMETERS, [broken])


def test_parameters_that_are_not_there(photo: Pixels, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no file"):
        judge(Predictor(engine=Corner()), tmp_path / "x", [sample_of(photo, tmp_path, **BOX)])
