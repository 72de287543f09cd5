"""Metrics of an epoch over all processes, leaving out unreadable photos."""

from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader

from ml.data.image_folder import ImageFolder
from ml.dataset import UNREADABLE, Item, PhotoDataset
from ml.errors import DataError
from ml.evaluation.metrics import measure
from ml.models.probability import probabilities
from ml.training.config import Config
from ml.training.distributed import ProcessGroup

Outputs = list[tuple[Tensor, Tensor]]
"""Logits (N, C) and true classes (N,) of each batch."""


class EpochMetrics:
    """Measures the outputs of all processes, and collects the paths of unreadable photos."""

    def __init__(
        self, config: Config, folder: ImageFolder, group: ProcessGroup, console: Console
    ) -> None:
        self.config, self.folder, self.group, self.console = config, folder, group, console
        self.unreadable: set[Path] = set()

    def measure(self, loader: DataLoader[Item], outputs: Outputs) -> dict[str, Any]:
        """Measure a loader's outputs; raise DataError if none of its photos can be read."""
        self._report_unreadable(loader, outputs)
        known = self.group.gather(
            [(logits[labels >= 0], labels[labels >= 0]) for logits, labels in outputs]
        )
        if not sum(len(labels) for _, labels in known):
            raise DataError(
                f"No photo in {self.folder.root} can be read any more: restore the photos, then "
                f"continue with --resume {self.config.output}."
            )
        logits = torch.cat([logits for logits, _ in known])  # (N, C)
        labels = torch.cat([labels for _, labels in known])  # (N,)
        return measure(probabilities(logits.numpy()), labels.numpy(), self.folder.classes)

    def _report_unreadable(self, loader: DataLoader[Item], outputs: Outputs) -> None:
        dataset = loader.dataset
        assert isinstance(dataset, PhotoDataset)
        lost = (i for _, labels in outputs for i in labels.tolist() if i <= UNREADABLE)
        paths = self.group.gather([dataset.samples[UNREADABLE - i].path for i in lost])
        for path in sorted(set(paths) - self.unreadable):
            self.console.print(
                f"{path} can no longer be read: a blank picture replaces it.",
                style="yellow",
                markup=False,
            )
        self.unreadable.update(paths)
