"""Training: from an image folder to a run folder with parameters that can be served.

The recipe: fine-tune all but the first stages with AdamW on a one-cycle schedule, mixup, label
smoothing, classes weighted against imbalance, bfloat16 where the machine has it, and parameters
averaged over the last epochs (EMA), which are what is measured and kept. The best epoch has the
lowest loss on the validation photos; the test photos choose nothing.
"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader

from ml import __version__
from ml.data.image_folder import ImageFolder
from ml.dataset import UNREADABLE, Item, PhotoDataset, seed_from
from ml.errors import DataError
from ml.evaluation.metrics import measure
from ml.images.preprocessing import Preprocessing
from ml.model import NETWORKS, normalise
from ml.models.card import Card
from ml.models.checkpoint import (
    fingerprint,
    initialise,
    load_state,
    parameters_of,
    save,
    save_state,
)
from ml.models.probability import probabilities
from ml.progress import ProgressBar
from ml.training.config import Config
from ml.training.device import Device
from ml.training.distributed import ALONE, Processes
from ml.training.loaders import load_photos
from ml.training.optim import Optimisation
from ml.training.state import FINISH, Standing, Stopped, line, row, write_history
from ml.training.targets import Lesson, class_weights, teacher

STATE = "last.pt"
Answers = list[tuple[Tensor, Tensor]]  # logits (N, C) and true classes (N,) of each batch


class Trainer:
    """One run over one split folder."""

    def __init__(
        self,
        config: Config,
        folder: ImageFolder,
        preprocessing: Preprocessing,
        console: Console,
        team: Processes = ALONE,
        started: float | None = None,
        resume: bool = False,
    ) -> None:
        """Build network, loaders, optimiser and schedule.

        Args:
            team: the processes that train together.
            started: when the run began, by `time.monotonic`.
            resume: go on after the last epoch that was written; where none was, from the start.

        Raises:
            DataError: where a process would have less than two photos of a batch.
            ModelError: where the parameters to start or go on from cannot be used.
        """
        self.started = time.monotonic() if started is None else started
        torch.manual_seed(config.split.seed)
        self.config, self.folder, self.console, self.team = config, folder, console, team
        self.device = Device.choose(config.workers, team.local_count)
        self.preprocessing = preprocessing
        network = NETWORKS[config.network](len(folder.classes))
        state = team.share(self._stored) if resume else None
        if state is None:  # what it once started from may be gone
            initialise(network, config.initial)
        # The first stages see edges and colours, which are the same everywhere, and take two
        # fifths of the time; without anything learnt in them they must be trained.
        self.frozen = network.features[: config.freeze if config.initial != "none" else 0]
        self.frozen.requires_grad_(False)
        self.network = self.device.prepare(network)
        self.loaders = load_photos(config, folder, preprocessing, team)
        self.unreadable: set[Path] = set()
        classes, threads = folder.classes, torch.get_num_threads()
        self.lesson = Lesson(
            len(classes),
            config.label_smoothing,
            config.mixup,
            teacher(config.teacher, classes, preprocessing.size, threads)
            if config.teacher
            else None,
        )
        self.class_weights = self.device.to(class_weights(folder))
        self.optimisation = Optimisation(self.network, config, len(self.loaders.batches))
        self.standing = Standing(config.epochs)
        self.connected = team.connect(self.network)
        self.seen: Answers = []
        if state is not None:
            self.standing = Standing(**state.pop("standing"))
            self.optimisation.restore(state, self.standing.epochs)
            self.started -= self.standing.seconds

    def _stored(self) -> dict[str, Any] | None:
        path = self.config.output / STATE
        return load_state(path) if path.exists() else None

    def over(self) -> Stopped | None:
        """Whether the training ends here, and why."""
        return self.standing.over(self.config, self._seconds())

    def run(self) -> Stopped:
        """Train what is left of the epochs; `best` and `last` are on disk after each.

        Ctrl-C ends the training after what is done so far.

        Raises:
            DataError: where no photo can be read any more, or no epoch was written.
        """
        done = self.standing.epoch * len(self.loaders.batches)
        with ProgressBar(self.console, done) as self.bar:
            try:
                while not (stopped := self.over()):
                    self._learn()
                    self._record()
            except KeyboardInterrupt:
                stopped = "interrupted"
                self.console.print(f"Stopped; --resume {self.config.output} would go on.")
                if self.standing.epoch == 0 and self.seen and self.team.count == 1:
                    self._record(whole=False)
        if self.standing.best_epoch == 0 and self.standing.epoch > 0 and stopped != "interrupted":
            raise DataError(
                f"No epoch was kept: nothing could be written to {self.config.output}, or the loss "
                "was no number. Make room there, and go on with --resume."
            )
        if self.standing.best_epoch == 0:
            raise DataError("Training stopped before an epoch was written: there is no model.")
        return stopped

    def _learn(self) -> None:
        """Train one epoch; its answers are those on the augmented photos as they went by."""
        begun = time.monotonic()
        standing, config = self.standing, self.config
        self.seen = []
        self.loaders.batches.epoch = standing.epoch
        training = iter(self.loaders.training)
        # After the iterator, which draws a number when it starts its workers, and only then.
        torch.manual_seed(seed_from(config.split.seed, standing.epoch, self.team.rank))
        self.network.train()
        self.frozen.eval()  # batch norms keep their statistics too
        for pixels, labels in training:
            logits, loss = self._step(pixels, labels)
            self.seen.append((logits, labels.clone()))  # the loader's own keep a file open each
            total = standing.epochs * len(self.loaders.batches)
            rate = f"{self.bar.speed * config.batch:.0f} images/s"
            self.bar.advance_by(1, f"epoch {standing.epoch + 1}  loss {loss:.3f}  {rate}", total)
            if self._late():
                break
        standing.images += len(self.seen) * min(config.batch, self.loaders.batches.photos)
        standing.learning_seconds += time.monotonic() - begun

    def _step(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, float]:
        """Learn from one batch; returns logits (N, C) and the loss."""
        pixels, wanted = self.lesson(pixels, labels)
        images = normalise(self.device.to(pixels))  # (N, 3, 224, 224)
        with self.device.autocast():
            output = self.connected(images)
        loss = F.cross_entropy(
            output.logits.float(), self.device.to(wanted), weight=self.class_weights
        )
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimisation.step()
        return output.logits.detach().float().cpu(), loss.item()

    @torch.no_grad()
    def _answers(self, loader: DataLoader[Item]) -> Answers:
        """What the averaged parameters say to held-out photos, one centre view each."""
        average = self.optimisation.average.eval()
        answers = []
        for pixels, labels in loader:
            with self.device.autocast():
                logits = average(normalise(self.device.to(pixels))).logits
            answers.append((logits.float().cpu(), labels.clone()))
        return answers

    def _record(self, whole: bool = True) -> None:
        """Measure an epoch, say and write how it went; a run cannot go on from part of one."""
        begun = time.monotonic()
        self.team.level(self.optimisation.average)
        scores = {"train": self._scores(self.loaders.training, self.seen)}
        for name, loader in self.loaders.held_out.items():
            scores[name] = self._scores(loader, self._answers(loader))
        standing = self.standing
        standing.measuring_seconds += time.monotonic() - begun
        standing.seconds = self._seconds()
        standing.epoch += 1
        standing.history.append(row(standing.epoch, self.optimisation.rate, scores))
        self.console.print(line(standing.epoch, standing.epochs, scores), highlight=False)
        if standing.epoch == 1 and self.config.time_budget:
            self._fit_into_time()
        self.standing = self.team.share(lambda: self._write(scores, whole))

    def _scores(self, loader: DataLoader[Item], answers: Answers) -> dict[str, Any]:
        """Count the answers of all processes, and name the photos that there was nothing of."""
        dataset = loader.dataset
        assert isinstance(dataset, PhotoDataset)
        lost = (i for _, labels in answers for i in labels.tolist() if i <= UNREADABLE)
        paths = self.team.gather([dataset.samples[UNREADABLE - i].path for i in lost])
        for path in sorted(set(paths) - self.unreadable):
            self.console.print(
                f"{path} can no longer be read: a blank picture stands in for it.",
                style="yellow",
                markup=False,
            )
        self.unreadable.update(paths)
        known = self.team.gather([(logits[of >= 0], of[of >= 0]) for logits, of in answers])
        if not sum(len(of) for _, of in known):
            raise DataError(
                f"No photo in {self.folder.root} can be read any more: bring them back, and go on "
                f"with --resume {self.config.output}."
            )
        probable = probabilities(torch.cat([logits for logits, _ in known]).numpy())
        return measure(probable, torch.cat([of for _, of in known]).numpy(), self.folder.classes)

    def _write(self, scores: dict[str, Any], whole: bool) -> Standing:
        """Bring the run folder up to date, the state last: what it tells of is there then.

        A full disk costs what could not be written, not the run.
        """
        standing, output = self.standing, self.config.output
        # A few hundred photos say more by their loss than by how many are right.
        chosen_on = "validation" if "validation" in scores else "train"
        loss = scores[chosen_on]["loss"]
        parameters = parameters_of(self.optimisation.average.module)
        card = self._card({"epoch": standing.epoch, chosen_on: scores[chosen_on]})
        try:
            if loss <= standing.lowest:
                save(output / "best.safetensors", parameters, card)
                standing.lowest, standing.best_epoch = loss, standing.epoch
            write_history(output / "history.csv", standing.history)
            save(output / "last.safetensors", parameters, card)
            if whole:
                state = self.optimisation.state() | {"standing": asdict(standing)}
                save_state(output / STATE, state)
        except OSError as error:
            self.console.print(
                f"Epoch {standing.epoch} could not be written to {output} ({error.strerror}): make "
                "room there. What was written before stands, and the training goes on.",
                style="red",
                markup=False,
            )
        return standing

    def _card(self, scores: dict[str, Any]) -> Card:
        return Card(
            version=f"{__version__}+{fingerprint(self.optimisation.average.module.state_dict())}",
            network=self.config.network,
            classes=self.folder.classes,
            preprocessing=self.preprocessing,
            split=self.config.split,
            scores=scores,
        )

    def _fit_into_time(self) -> None:
        """Plan as many epochs as the time budget allows, now that one has been timed."""
        standing, config = self.standing, self.config
        seconds = self._seconds()
        # Each process has its own clock, and all must come to the same plan.
        affordable = self.team.share(lambda: standing.affordable(config, seconds))
        epochs = min(config.epochs, 1 + affordable)
        if epochs < config.epochs:
            standing.epochs = epochs
            self.optimisation.plan(epochs, self.optimisation.schedule.last_epoch)
            self.console.print(f"{epochs} epochs fit into {config.time_budget:g} minutes.")

    def _late(self) -> bool:
        """Whether not even the first epoch fits into the time budget."""
        budget = self.config.time_budget * 60
        return budget > 0 and self.standing.epoch == 0 and self._seconds() > budget - FINISH

    def _seconds(self) -> float:
        """Time since the run began, in all its sittings, by the first process's clock."""
        return self.team.share(lambda: time.monotonic() - self.started)
