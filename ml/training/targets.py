"""What a batch of photos is to teach: what is shown, and which answer is wanted."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ml.data.image_folder import ImageFolder
from ml.engines.onnxruntime import OnnxEngine
from ml.errors import ModelError
from ml.models.engine import Engine
from ml.models.probability import probabilities


@dataclass(frozen=True)
class Lesson:
    """Smoothed labels, blended photos, and half of what a teacher says where there is one.

    Mixup: Zhang et al. 2018, https://arxiv.org/abs/1710.09412. A teacher asked about the very
    picture that is shown: Beyer et al. 2022, https://arxiv.org/abs/2106.05237. Every answer alike
    for pictures of no class: outlier exposure, Hendrycks et al. 2019,
    https://arxiv.org/abs/1812.04606.
    """

    classes: int
    smoothing: float
    mixup: float
    """Parameter of the beta distribution that blending is drawn from; 0 is none."""
    teacher: Engine | None = None

    def __call__(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Turn photos and labels into pictures and wanted answers.

        Args:
            pixels: uint8 (N, H, W, 3).
            labels: (N,), -1 for a picture of none of the classes.

        Returns:
            uint8 (N, H, W, 3) and float32 (N, C).
        """
        known = (labels >= 0).float()[:, None]  # (N, 1)
        sure = (1 - self.smoothing) * known
        wanted = F.one_hot(labels.clamp(min=0), self.classes) * sure + (1 - sure) / self.classes
        if self.mixup > 0:
            share = float(torch.distributions.Beta(self.mixup, self.mixup).sample())
            share = max(share, 1 - share)  # the labels given are those of what shows the most
            partners = torch.randperm(len(labels))
            pixels = torch.lerp(pixels[partners].float(), pixels.float(), share).round().byte()
            wanted = torch.lerp(wanted[partners], wanted, share)
            known = torch.lerp(known[partners], known, share)
        if self.teacher is not None:
            logits, _ = self.teacher.run(pixels.numpy())
            answers = torch.from_numpy(probabilities(logits, self.teacher.card.temperature))
            # A teacher has nothing to say on what it never saw.
            wanted = torch.lerp(wanted, answers.float(), known / 2)
        return pixels, wanted


def teacher(model: Path, classes: tuple[str, ...], size: int, threads: int) -> Engine:
    """Load a model.onnx to learn from.

    Raises:
        ModelError: where it knows other classes, or takes pictures of another size.
    """
    engine = OnnxEngine(model, threads)
    if engine.card.classes != classes:
        raise ModelError(
            f"{model} knows {', '.join(engine.card.classes)}, and a teacher must know the very "
            f"classes of the folder: {', '.join(classes)}."
        )
    if (side := engine.card.preprocessing.size) != size:
        raise ModelError(
            f"{model} takes pictures of {side} pixels a side: train with --size {side}."
        )
    return engine


def class_weights(folder: ImageFolder) -> Tensor:
    """Weigh each class by the inverse root of its share: rare ones count more, not all alike."""
    photos = Counter(sample.label for sample in folder.of("train"))
    counts = np.array([max(photos[label], 1) for label in folder.classes])
    weights = np.sqrt(counts.mean() / counts)
    return torch.tensor(weights / weights.mean(), dtype=torch.float32)
