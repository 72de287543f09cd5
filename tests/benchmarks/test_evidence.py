import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.evidence import STEPS, compare_maps, curve_areas, grad_cam, main
from ml.data.image_folder import scan
from ml.data.sample import Sample
from ml.engines.base import Floats, Pixels
from ml.errors import DataError, ModelError
from ml.images.preprocessing import PADDING, Preprocessing
from ml.model import Net, PlainNet, normalise
from ml.models.card import Card
from ml.predictor import SHIPPED_MODEL, Predictor

PARAMETERS = SHIPPED_MODEL.with_name("model.safetensors")
CARD = Card(
    version="1",
    classes=("bright", "dark"),
    preprocessing=Preprocessing(strategy="native"),
)


class CornerEngine:
    """An engine whose logit is the brightness of the cell one before the lower right corner."""

    name, card = "engine", CARD

    def __init__(self, evidence: Callable[[Floats], Floats] = lambda cells: cells) -> None:
        self.evidence = evidence

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        cells = np.zeros((len(pixels), 2, 7, 7), np.float32)
        # Cell 5 is centred on pixel 32 x 5, as a cell of the network is.
        around = pixels[:, 144:176, 144:176].mean(axis=(1, 2, 3)) - np.mean(PADDING)
        cells[:, 0, 5, 5] = around
        return cells.mean(axis=(2, 3)), self.evidence(cells)


@pytest.fixture
def photo() -> Pixels:
    """Grey, with a bright square where the engine looks, (1, 224, 224, 3)."""
    pixels = np.full((1, 224, 224, 3), PADDING, np.uint8)
    pixels[:, 144:176, 144:176] = 255
    return pixels


def sample_of(photo: Pixels, folder: Path, **columns: str) -> Sample:
    path = folder / "photo.png"
    Image.fromarray(photo[0]).save(path)
    return Sample(path, "bright", columns=columns)


BOX = {"x0": "140", "y0": "140", "x1": "180", "y1": "180"}


def test_correct_evidence_beats_the_centre_and_reversed_evidence_does_not(
    photo: Pixels, tmp_path: Path
) -> None:
    sample = sample_of(photo, tmp_path, **BOX)
    correct = compare_maps(Predictor(engine=CornerEngine()), PARAMETERS, [sample])
    negated = compare_maps(
        Predictor(engine=CornerEngine(lambda cells: -cells)), PARAMETERS, [sample]
    )
    good, bad = correct["maps"]["evidence"], negated["maps"]["evidence"]
    assert good["pointing"]["mean"] == 1
    assert bad["pointing"]["mean"] == correct["maps"]["centre"]["pointing"]["mean"] == 0
    assert good["deletion"]["mean"] < correct["maps"]["centre"]["deletion"]["mean"]
    assert good["insertion"]["mean"] > correct["maps"]["centre"]["insertion"]["mean"]
    assert bad["deletion"]["mean"] > good["deletion"]["mean"]
    assert bad["insertion"]["mean"] < good["insertion"]["mean"]
    assert correct["box"] == pytest.approx((40 / 224) ** 2)
    assert correct["photos"] == 1


def test_areas_of_known_curves() -> None:
    """The class's probability is the fraction of white pixels."""

    class CountEngine:
        name, card = "engine", CARD

        def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
            white = (pixels == 255).all(axis=3).mean(axis=(1, 2))
            logits = np.log(np.stack([white + 1e-9, 1 - white + 1e-9], axis=1))
            return logits.astype(np.float32), np.zeros((len(pixels), 2, 7, 7), np.float32)

    white = np.full((1, 64, 64, 3), 255, np.uint8)
    saliency = np.random.default_rng(0).random((64, 64))
    deletion, insertion = curve_areas(Predictor(engine=CountEngine()), white, 0, saliency)
    # White falls linearly from all to none; a blurred white photo is white.
    assert deletion == pytest.approx(0.5, abs=1e-3)
    assert insertion == pytest.approx(1, abs=1e-3)


def test_the_strongest_pixels_are_changed_first() -> None:
    seen: list[Pixels] = []

    class RecordingEngine:
        name, card = "engine", CARD

        def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
            seen.append(pixels)
            return np.zeros((len(pixels), 2), np.float32), np.zeros(
                (len(pixels), 2, 2, 2), np.float32
            )

    photo = np.random.default_rng(0).integers(0, 100, (1, 64, 64, 3), dtype=np.uint8)
    saliency = np.linspace(1, 0, 64 * 64).reshape(64, 64)  # falls from top to bottom
    curve_areas(Predictor(engine=RecordingEngine()), photo, 0, saliency)
    deleted, inserted = seen[0].reshape(2, STEPS + 1, 64, 64, 3)
    rows = 64 // STEPS
    for step in (0, 5, STEPS):
        assert (deleted[step, : step * rows] == PADDING).all()
        assert (deleted[step, step * rows :] == photo[0, step * rows :]).all()
        assert (inserted[step, : step * rows] == photo[0, : step * rows]).all()
    assert inserted[0].std() < photo.std() / 3, "it starts blurred"


def test_grad_cam_of_a_linear_head_is_the_positive_evidence_without_its_constant() -> None:
    """There it equals class activation mapping (Selvaraju et al. 2017, appendix A)."""
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


def test_grad_cam_does_not_change_the_network() -> None:
    network = Net(3).eval()
    pixels = np.random.default_rng(0).integers(0, 255, (1, 96, 96, 3), dtype=np.uint8)
    assert grad_cam(network, pixels, 1).shape == (3, 3)
    assert not network.features[-1]._forward_hooks
    assert all(parameter.grad is None for parameter in network.parameters())


def test_photos_without_boxes_are_an_error(shipped: Predictor, drawn: Path) -> None:
    samples = [Sample(sample.path, sample.label) for sample in scan(drawn).samples]
    with pytest.raises(DataError, match="x0, y0, x1, y1"):
        compare_maps(shipped, PARAMETERS, samples)
    broken = Sample(samples[0].path, samples[0].label, columns=BOX | {"x1": "wide"})
    with pytest.raises(DataError, match="not four numbers"):
        compare_maps(shipped, PARAMETERS, [broken])


def test_missing_parameters_are_an_error(photo: Pixels, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no file"):
        compare_maps(
            Predictor(engine=CornerEngine()), tmp_path / "x", [sample_of(photo, tmp_path, **BOX)]
        )


def test_the_script_prints_every_metric(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    for folder in drawn.iterdir():
        if folder.is_dir():
            (few / folder.name).mkdir(parents=True)
            first = min(folder.iterdir())
            shutil.copy(first, few / folder.name / first.name)
    shutil.copy(drawn / "index.csv", few)
    monkeypatch.setattr(sys, "argv", ["evidence.py", str(SHIPPED_MODEL), str(few), "--split=all"])
    main()
    printed = capsys.readouterr().out
    assert "4 photos with bounding boxes" in printed
    for method in ("evidence", "Grad-CAM", "centre"):
        (row,) = (line for line in printed.splitlines() if method in line)
        means = [float(mean) for mean in re.findall(r"([\d.]+) ±", row)]
        assert len(means) == 3
        assert all(0 <= mean <= 1 for mean in means)
    monkeypatch.setattr(sys, "argv", ["evidence.py", str(SHIPPED_MODEL), str(tmp_path / "gone")])
    with pytest.raises(SystemExit):
        main()
    assert "gone" in capsys.readouterr().err
