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
from ml.training.targets import Lesson, class_weights, teacher

PIXELS = torch.from_numpy(drawn_inputs(Predictor().card.with_grid(1).preprocessing, count=6))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def test_plain_labels_are_those_of_torchs_own_smoothing() -> None:
    pixels, wanted = Lesson(4, smoothing=0.1, mixup=0)(PIXELS, LABELS)
    assert torch.equal(pixels, PIXELS)
    logits = torch.randn(6, 4)
    expected = F.cross_entropy(logits, LABELS, label_smoothing=0.1)
    assert torch.allclose(F.cross_entropy(logits, wanted), expected)


def test_a_picture_of_no_class_wants_every_answer_alike() -> None:
    _, wanted = Lesson(4, smoothing=0.1, mixup=0)(PIXELS[:2], torch.tensor([-1, 2]))
    assert wanted.tolist() == [[0.25] * 4, pytest.approx([0.025, 0.025, 0.925, 0.025])]


def test_mixup_blends_pictures_and_answers_alike() -> None:
    black_and_white = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    black_and_white[1] = 255
    torch.manual_seed(1)
    for _ in range(20):
        pixels, wanted = Lesson(2, smoothing=0, mixup=1)(black_and_white, torch.tensor([0, 1]))
        assert torch.allclose(wanted[:, 1], pixels[:, 0, 0, 0] / 255, atol=1 / 255)
        assert torch.allclose(wanted.sum(1), torch.ones(2))


def test_the_label_given_has_the_larger_share() -> None:
    """The accuracy in training counts on it."""
    torch.manual_seed(1)
    labels = torch.tensor([0, 1])
    for _ in range(20):
        _, wanted = Lesson(2, smoothing=0, mixup=1)(PIXELS[:2], labels)
        assert (wanted[[0, 1], labels] >= 0.5).all()


def test_a_teacher_says_half_of_it_and_nothing_on_what_is_of_no_class() -> None:
    wise = teacher(SHIPPED_MODEL, Predictor().card.classes, size=224, threads=1)
    labels = torch.tensor([0, 1, 2, 3, 0, -1])
    _, wanted = Lesson(4, smoothing=0, mixup=0, teacher=wise)(PIXELS, labels)
    answers = probabilities(wise.run(PIXELS.numpy())[0], wise.card.temperature)
    half = (np.eye(4)[labels[:5]] + answers[:5]) / 2
    assert np.allclose(wanted[:5], half, atol=1e-6)
    assert wanted[5].tolist() == [0.25] * 4


def test_a_teacher_of_other_classes_is_refused() -> None:
    with pytest.raises(ModelError, match="the very classes"):
        teacher(SHIPPED_MODEL, ("cats", "dogs"), size=224, threads=1)


def test_there_must_be_a_teacher(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model file"):
        teacher(tmp_path / "none.onnx", ("cats", "dogs"), size=224, threads=1)


def test_rare_classes_count_more_and_all_together_as_before() -> None:
    samples = [Sample(Path(f"{i}"), "many" if i else "one", "train") for i in range(10)]
    weights = class_weights(ImageFolder(Path(), ("many", "one"), tuple(samples), (), ()))
    assert float(weights.mean()) == pytest.approx(1)
    assert float(weights[1] / weights[0]) == pytest.approx(3)  # the root of nine


def test_a_teacher_of_other_pictures_is_refused() -> None:
    with pytest.raises(ModelError, match="train with --size 224"):
        teacher(SHIPPED_MODEL, Predictor().card.classes, size=256, threads=1)
