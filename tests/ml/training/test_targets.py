from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ml.data.image_folder import ImageFolder
from ml.data.sample import Sample
from ml.errors import ModelError
from ml.export.onnx import drawn_inputs
from ml.models.probability import probabilities
from ml.predictor import SHIPPED_MODEL, Predictor
from ml.training.targets import TargetBuilder, class_weights, load_teacher

PIXELS = torch.from_numpy(drawn_inputs(Predictor().card.with_grid(1).preprocessing, count=6))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def test_label_smoothing_equals_that_of_torch() -> None:
    pixels, targets = TargetBuilder(4, smoothing=0.1, mixup=0)(PIXELS, LABELS)
    assert torch.equal(pixels, PIXELS)
    logits = torch.randn(6, 4)
    expected = F.cross_entropy(logits, LABELS, label_smoothing=0.1)
    assert torch.allclose(F.cross_entropy(logits, targets), expected)


def test_ood_pictures_have_uniform_targets() -> None:
    _, targets = TargetBuilder(4, smoothing=0.1, mixup=0)(PIXELS[:2], torch.tensor([-1, 2]))
    assert targets.tolist() == [[0.25] * 4, pytest.approx([0.025, 0.025, 0.925, 0.025])]


def test_mixup_blends_pictures_and_targets_equally() -> None:
    black_and_white = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    black_and_white[1] = 255
    torch.manual_seed(1)
    for _ in range(20):
        pixels, targets = TargetBuilder(2, smoothing=0, mixup=1)(
            black_and_white, torch.tensor([0, 1])
        )
        assert torch.allclose(targets[:, 1], pixels[:, 0, 0, 0] / 255, atol=1 / 255)
        assert torch.allclose(targets.sum(1), torch.ones(2))


def test_mixup_gives_a_photos_own_label_the_larger_weight() -> None:
    """The training accuracy relies on it."""
    torch.manual_seed(1)
    labels = torch.tensor([0, 1])
    for _ in range(20):
        _, targets = TargetBuilder(2, smoothing=0, mixup=1)(PIXELS[:2], labels)
        assert (targets[[0, 1], labels] >= 0.5).all()


def test_the_teacher_is_half_of_the_target_except_for_ood_pictures() -> None:
    engine = load_teacher(SHIPPED_MODEL, Predictor().card.classes, size=224)
    labels = torch.tensor([0, 1, 2, 3, 0, -1])
    _, targets = TargetBuilder(4, smoothing=0, mixup=0, teacher=engine)(PIXELS, labels)
    answers = probabilities(engine.run(PIXELS.numpy())[0], engine.card.temperature)
    half = (np.eye(4)[labels[:5]] + answers[:5]) / 2
    assert np.allclose(targets[:5], half, atol=1e-6)
    assert targets[5].tolist() == [0.25] * 4


def test_a_teacher_of_other_classes_is_rejected() -> None:
    with pytest.raises(ModelError, match="the same classes"):
        load_teacher(SHIPPED_MODEL, ("cats", "dogs"), size=224)


def test_a_missing_teacher_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model file"):
        load_teacher(tmp_path / "none.onnx", ("cats", "dogs"), size=224)


def test_rare_classes_have_larger_weights_with_a_mean_of_one() -> None:
    samples = [Sample(Path(f"{i}"), "many" if i else "one", "train") for i in range(10)]
    weights = class_weights(ImageFolder(Path(), ("many", "one"), tuple(samples), (), ()))
    assert float(weights.mean()) == pytest.approx(1)
    assert float(weights[1] / weights[0]) == pytest.approx(3)  # the root of nine


def test_a_teacher_of_another_input_size_is_rejected() -> None:
    with pytest.raises(ModelError, match="train with --size 224"):
        load_teacher(SHIPPED_MODEL, Predictor().card.classes, size=256)
