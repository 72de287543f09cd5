"""Training targets: label smoothing, mixup, distillation and out-of-distribution pictures."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ml.data.image_folder import ImageFolder
from ml.engines.base import Engine
from ml.engines.onnxruntime import OnnxEngine
from ml.errors import ModelError
from ml.models.probability import probabilities


@dataclass(frozen=True)
class TargetBuilder:
    """Turns a batch of photos and labels into the network's input and target probabilities.

    Mixup: Zhang et al. 2018, https://arxiv.org/abs/1710.09412. Distillation, with the teacher run
    on the same augmented pictures: Beyer et al. 2022, https://arxiv.org/abs/2106.05237. Uniform
    targets for out-of-distribution pictures (outlier exposure): Hendrycks et al. 2019,
    https://arxiv.org/abs/1812.04606.
    """

    classes: int
    smoothing: float
    mixup: float
    """Parameter of the beta distribution that the mixing weight is drawn from; 0: no mixup."""
    teacher: Engine | None = None

    def __call__(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Build input and targets of a batch.

        Args:
            pixels: uint8 (N, H, W, 3).
            labels: (N,), below 0 for out-of-distribution and unreadable photos: uniform targets.

        Returns:
            uint8 (N, H, W, 3) and float32 (N, C).
        """
        known = (labels >= 0).float()[:, None]  # (N, 1)
        certainty = (1 - self.smoothing) * known  # (N, 1)
        one_hot = F.one_hot(labels.clamp(min=0), self.classes)  # (N, C)
        targets = one_hot * certainty + (1 - certainty) / self.classes  # (N, C)
        if self.mixup > 0:
            weight = float(torch.distributions.Beta(self.mixup, self.mixup).sample())
            weight = max(weight, 1 - weight)  # so that a photo's own label has the larger weight
            partners = torch.randperm(len(labels))  # (N,)
            pixels = torch.lerp(pixels[partners].float(), pixels.float(), weight).round().byte()
            targets = torch.lerp(targets[partners], targets, weight)
            known = torch.lerp(known[partners], known, weight)
        if self.teacher is not None:
            logits, _ = self.teacher.run(pixels.numpy())  # (N, C)
            predicted = torch.from_numpy(probabilities(logits, self.teacher.card.temperature))
            # Half of the target is the teacher's prediction, except for out-of-distribution photos.
            targets = torch.lerp(targets, predicted.float(), known / 2)
        return pixels, targets


def load_teacher(model: Path, classes: tuple[str, ...], size: int) -> Engine:
    """Load a model.onnx to distil from; raise ModelError if its classes or input size differ."""
    engine = OnnxEngine(model, threads=torch.get_num_threads())
    if engine.card.classes != classes:
        raise ModelError(
            f"{model} has the classes {', '.join(engine.card.classes)}. A teacher needs the same "
            f"classes as the folder: {', '.join(classes)}."
        )
    if (side := engine.card.preprocessing.size) != size:
        raise ModelError(
            f"{model} takes pictures of {side} pixels a side: train with --size {side}."
        )
    return engine


def class_weights(folder: ImageFolder) -> Tensor:
    """Weight each class by the inverse square root of its count, with a mean of 1; shape (C,)."""
    photos = Counter(sample.label for sample in folder.of("train"))
    counts = np.array([max(photos[label], 1) for label in folder.classes])
    weights = np.sqrt(counts.mean() / counts)
    return torch.tensor(weights / weights.mean(), dtype=torch.float32)
