"""Training: from an image folder to a run folder with a model that can be served.

The recipe: fine-tune all but the first stages with AdamW (Loshchilov & Hutter 2019), a one-cycle
schedule (Smith & Topin 2018), mixup, label smoothing, classes weighted against imbalance, bfloat16
where the machine has it, and parameters averaged over the last epochs (EMA), which are what is
measured and kept. The best epoch has the lowest loss on the validation photos; the test photos
choose nothing.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from ml import __version__
from ml.card import Card, Split
from ml.checkpoint import fingerprint, initialise, parameters_of, replacing, save
from ml.dataset import Augment, Item, PhotoDataset
from ml.device import Device
from ml.folder import Folder, Sample, pictures_of_no_class
from ml.lesson import Lesson, teacher
from ml.metrics import measure
from ml.model import NETWORKS, normalise
from ml.preprocessing import Preprocessing, Strategy
from ml.probability import probabilities

Wanted = Strategy | Literal["auto"]


@dataclass(frozen=True)
class Config:
    """All that a run depends on; written to `config.json`."""

    data: Path | None  # None: the synthetic set, drawn into the run folder
    output: Path
    initial: str = "shipped"
    strategy: Wanted = "auto"
    views: int = 1
    size: int = 224  # of the network's input, in pixels a side
    network: Literal["skyspotter", "plain"] = "skyspotter"
    freeze: int = 4  # of the backbone's 19 stages, how many first ones are left as they are
    epochs: int = 20
    batch: int = 32
    learning_rate: float = 2e-3
    backbone_learning_rate: float = 5e-4
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    augment: Augment = "full"
    mixup: float = 0.2  # parameter of the beta distribution; 0 is none
    averaged_epochs: float = 2.0  # time constant of the EMA
    teacher: Path | None = None  # a model.onnx whose answers are learnt from as well
    others: Path | None = None  # pictures of none of the classes
    split: Split = Split()
    precision: float = 0.99  # share of accepted answers that shall be right
    workers: int = 1


class Trainer:
    """One run over one split folder."""

    def __init__(
        self, config: Config, folder: Folder, preprocessing: Preprocessing, console: Console
    ) -> None:
        """Build network, loaders, optimiser and schedule.

        Raises:
            ModelError: where the parameters to start from cannot be used.
        """
        torch.manual_seed(config.split.seed)
        self.config, self.folder, self.console = config, folder, console
        self.device = Device.choose(config.workers)
        self.preprocessing = preprocessing
        network = NETWORKS[config.network](len(folder.classes))
        initialise(network, config.initial)
        # The first stages see edges and colours, which are the same everywhere, and take two
        # fifths of the time; without anything learnt in them they must be trained.
        self.frozen = network.features[: config.freeze if config.initial != "none" else 0]
        self.frozen.requires_grad_(False)
        self.network = self.device.house(network)
        others = pictures_of_no_class(config.others) if config.others else []
        self.training = self._loader(folder.of("train") + others, self.config.augment)
        self.held_out = {
            name: self._loader(folder.of(name))
            for name in ("validation", "test")
            if folder.of(name)
        }
        classes, threads = folder.classes, torch.get_num_threads()
        self.lesson = Lesson(
            len(classes),
            config.label_smoothing,
            config.mixup,
            teacher(config.teacher, classes, threads) if config.teacher else None,
        )
        self.class_weights = self.device.place(_class_weights(folder))
        self._prepare_steps()

    def _prepare_steps(self) -> None:
        """Build optimiser, schedule and average for the parameters that are trained."""
        config = self.config
        trained = {name: p for name, p in self.network.named_parameters() if p.requires_grad}
        backbone = [p for name, p in trained.items() if name.startswith("features.")]
        rest = [p for name, p in trained.items() if not name.startswith("features.")]
        head_rate = config.learning_rate
        rates = [
            head_rate if config.initial == "none" else config.backbone_learning_rate,
            head_rate,
        ]
        self.optimiser = torch.optim.AdamW(
            [{"params": backbone, "lr": rates[0]}, {"params": rest, "lr": rates[1]}],
            weight_decay=config.weight_decay,
        )
        steps = len(self.training)
        total = config.epochs * steps
        # The schedule divides by its rising steps less one, which must not be none.
        rising = max(0.2, min(2 / total, 0.9))
        self.schedule = OneCycleLR(self.optimiser, rates, total_steps=total, pct_start=rising)
        # A short run averages over less, or its average would still be the start.
        decay = 1 - 1 / max(2.0, min(config.averaged_epochs * steps, total / 5))
        self.average = AveragedModel(
            self.network,
            multi_avg_fn=get_ema_multi_avg_fn(decay),  # type: ignore[no-untyped-call]
            use_buffers=True,
        )

    def run(self) -> None:
        """Train all epochs; `best` and `last` are on disk after each.

        Ctrl-C ends the training after what is done so far.
        """
        history: list[dict[str, Any]] = []
        self._save("best", self._card({}))
        lowest = float("inf")
        with _progress(self.console) as progress:
            progress.add_task("", total=self.config.epochs * len(self.training), state="")
            try:
                for epoch in range(1, self.config.epochs + 1):
                    scores = {"train": self._epoch(epoch, progress)}
                    scores |= {name: self._measure(of) for name, of in self.held_out.items()}
                    history.append(_row(epoch, float(self.schedule.get_last_lr()[-1]), scores))
                    _write_history(self.config.output / "history.csv", history)
                    self.console.print(_line(epoch, self.config.epochs, scores), highlight=False)
                    # A few hundred photos say more by their loss than by how many are right.
                    chosen_on = "validation" if "validation" in scores else "train"
                    card = self._card({"epoch": epoch, chosen_on: scores[chosen_on]})
                    self._save("last", card)
                    if scores[chosen_on]["loss"] <= lowest:
                        lowest = scores[chosen_on]["loss"]
                        self._save("best", card)
            except KeyboardInterrupt:
                self.console.print("Stopped: what is best so far is kept.")

    def _save(self, name: str, card: Card) -> None:
        path = self.config.output / f"{name}.safetensors"
        save(path, parameters_of(self.average.module), card)

    def _epoch(self, epoch: int, progress: Progress) -> dict[str, Any]:
        """Train one epoch; its scores are those of the augmented photos as they went by."""
        self.network.train()
        self.frozen.eval()  # batch norms keep their statistics too
        logits, truth = [], []
        for pixels, labels in self.training:
            pixels, wanted = self.lesson(pixels, labels)
            images = normalise(self.device.place(pixels))  # (N, 3, 224, 224)
            with self.device.autocast():
                output = self.network(images)
            loss = F.cross_entropy(
                output.logits.float(), self.device.place(wanted), weight=self.class_weights
            )
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            self.schedule.step()
            self.average.update_parameters(self.network)
            known = labels >= 0
            logits.append(output.logits.detach().float().cpu()[known])
            truth.append(labels[known])
            task = progress.tasks[0]
            rate = (task.speed or 0) * self.config.batch
            state = f"epoch {epoch}  loss {loss.item():.3f}  {rate:.0f} images/s"
            progress.update(task.id, advance=1, state=state)
        return _scores(logits, truth, self.folder.classes)

    @torch.no_grad()
    def _measure(self, loader: DataLoader[Item]) -> dict[str, Any]:
        """Measure the averaged parameters on held-out photos, one centre view each."""
        self.average.eval()
        logits, truth = [], []
        for pixels, labels in loader:
            with self.device.autocast():
                logits.append(self.average(normalise(self.device.place(pixels))).logits.float())
            truth.append(labels)
        return _scores(logits, truth, self.folder.classes)

    def _loader(self, samples: list[Sample], augment: Augment | None = None) -> DataLoader[Item]:
        dataset = PhotoDataset(samples, self.folder.classes, self.preprocessing, augment)
        return DataLoader(
            dataset,
            batch_size=self.config.batch,
            shuffle=augment is not None,
            # A last batch of one photo has no statistics for batch norm after the pooling.
            drop_last=augment is not None and len(dataset) > self.config.batch,
            num_workers=self.config.workers,
            persistent_workers=augment is not None and self.config.workers > 0,
            pin_memory=self.device.torch.type == "cuda",
        )

    def _card(self, scores: dict[str, Any]) -> Card:
        return Card(
            version=f"{__version__}+{fingerprint(self.average.module.state_dict())}",
            network=self.config.network,
            classes=self.folder.classes,
            preprocessing=self.preprocessing,
            split=self.config.split,
            scores=scores,
        )


def _class_weights(folder: Folder) -> Tensor:
    """Weigh each class by the inverse root of its share: rare ones count more, not all alike."""
    labels = [sample.label for sample in folder.of("train")]
    counts = np.array([max(labels.count(label), 1) for label in folder.classes])
    weights = np.sqrt(counts.mean() / counts)
    return torch.tensor(weights / weights.mean(), dtype=torch.float32)


def _scores(logits: list[Tensor], truth: list[Tensor], classes: tuple[str, ...]) -> dict[str, Any]:
    answers = probabilities(torch.cat(logits).cpu().numpy())
    return measure(answers, torch.cat(truth).cpu().numpy(), classes)


def _row(epoch: int, rate: float, scores: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One epoch's row of `history.csv`."""
    row: dict[str, Any] = {"epoch": epoch, "learning_rate": rate}
    for split, of in scores.items():
        row |= {f"{split}_{name}": of[name] for name in ("loss", "accuracy")}
        for label, figures in of["classes"].items():
            row |= {
                f"{split}_{name}_{label}": figures[name] for name in ("precision", "recall", "f1")
            }
    return row


def _write_history(path: Path, rows: list[dict[str, Any]]) -> None:
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _line(epoch: int, epochs: int, scores: dict[str, dict[str, Any]]) -> str:
    parts = [
        f"{split} {of['accuracy']:.1%} (loss {of['loss']:.3f})" for split, of in scores.items()
    ]
    return f"epoch {epoch:>3}/{epochs}  " + "  ".join(parts)


def _progress(console: Console) -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[state]}"))
    return Progress(*columns, TimeRemainingColumn(), console=console)
