"""The training loop: train each epoch, evaluate it, and write checkpoints.

The recipe: fine-tune all but the first stages with AdamW and a one-cycle learning rate, mixup,
label smoothing, class weights against imbalance, bfloat16 if the machine supports it, and an EMA
of the parameters, which is evaluated and saved. The best epoch is the one with the lowest
validation loss; test photos only measure. `ml/training/setup.py` builds the parts.
"""

import time
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from torch.utils.data import DataLoader

from ml import __version__
from ml.dataset import Item, seed_from
from ml.errors import DataError
from ml.model import normalise
from ml.models.card import Card
from ml.models.checkpoint import fingerprint, parameters_of
from ml.progress import ProgressBar
from ml.training.checkpoints import write_checkpoints
from ml.training.epoch_metrics import EpochMetrics, Outputs
from ml.training.setup import Setup
from ml.training.state import EXPORT_SECONDS, StopReason, TrainingState, epoch_line, history_row


class Trainer:
    """The training loop of one run."""

    def __init__(self, setup: Setup, console: Console, started: float | None = None) -> None:
        """Create a trainer; `run` trains.

        Args:
            started: when the run began, by `time.monotonic`; by default now.
        """
        self.setup, self.config, self.console = setup, setup.config, console
        self.group, self.optimiser, self.state = setup.group, setup.optimiser, setup.state
        self.metrics = EpochMetrics(setup.config, setup.folder, setup.group, console)
        self.steps_per_epoch = len(setup.loaders.batches)
        self.bar = ProgressBar(console, self.state.epoch * self.steps_per_epoch)
        self.outputs: Outputs = []  # of the current epoch, for the augmented training photos
        # The time that a resumed run took before it was stopped counts too.
        self.started = (time.monotonic() if started is None else started) - self.state.seconds

    def run(self) -> StopReason:
        """Train the remaining epochs. Ctrl-C keeps the finished ones.

        Raises:
            DataError: if no photo can be read any more, or no epoch was written.
        """
        with self.bar:
            try:
                while not (stopped := self.stop_reason()):
                    self._train_epoch()
                    self._finish_epoch()
            except KeyboardInterrupt:
                stopped = "interrupted"
                self.console.print(f"Stopped. Continue with --resume {self.config.output}.")
                if self.state.epoch == 0 and self.outputs and self.group.count == 1:
                    self._finish_epoch(complete=False)
        if self.state.best_epoch == 0 and stopped == "interrupted":
            raise DataError("Training stopped before an epoch was written: there is no model.")
        if self.state.best_epoch == 0:
            raise DataError(
                f"No epoch was saved: nothing could be written to {self.config.output}, or the "
                "loss was not a number. Free some space there, and continue with --resume."
            )
        return stopped

    def stop_reason(self) -> StopReason | None:
        """Return why training stops now, or None if it continues."""
        return self.state.stop_reason(self.config, self._seconds())

    def _train_epoch(self) -> None:
        begun = time.monotonic()
        setup, state, config = self.setup, self.state, self.config
        batches, device, budget = setup.loaders.batches, setup.device, config.time_budget * 60
        batches.epoch = state.epoch
        training = iter(setup.loaders.training)
        # Starting the workers draws a random number, so the seed is set after it.
        torch.manual_seed(seed_from(config.seed, state.epoch, self.group.rank))
        setup.network.train()
        setup.frozen.eval()  # its batch norms keep their statistics
        self.outputs = []
        for pixels, labels in training:  # uint8 (N, size, size, 3), (N,)
            pixels, targets = setup.targets(pixels, labels)  # targets (N, C)
            images = normalise(device.to(pixels))  # float32 (N, 3, size, size)
            with device.autocast():
                logits = setup.model(images).logits.float()  # (N, C)
            loss = F.cross_entropy(logits, device.to(targets), weight=setup.class_weights)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            # Copy: the loader's tensor is in shared memory, which would use up file descriptors.
            self.outputs.append((logits.detach().cpu(), labels.clone()))
            rate = f"{self.bar.speed * config.batch:.0f} images/s"
            text = f"epoch {state.epoch + 1}  loss {loss.item():.3f}  {rate}"
            self.bar.advance_by(1, text, state.epochs * self.steps_per_epoch)
            if state.epoch == 0 and 0 < budget < self._seconds() + EXPORT_SECONDS:
                break
        state.images += len(self.outputs) * min(config.batch, batches.photos)
        state.training_seconds += time.monotonic() - begun

    @torch.no_grad()
    def _evaluate(self, loader: DataLoader[Item]) -> Outputs:
        """Run the EMA of the network on held-out photos, one centre crop each."""
        ema, device = self.optimiser.ema.eval(), self.setup.device
        outputs = []
        for pixels, labels in loader:  # uint8 (N, size, size, 3), (N,)
            with device.autocast():
                logits = ema(normalise(device.to(pixels))).logits  # (N, C)
            outputs.append((logits.float().cpu(), labels.clone()))
        return outputs

    def _finish_epoch(self, complete: bool = True) -> None:
        """Evaluate, print and write an epoch. A run cannot resume from an incomplete one."""
        begun = time.monotonic()
        state, loaders = self.state, self.setup.loaders
        self.group.sync_buffers(self.optimiser.ema)
        metrics = {"train": self.metrics.measure(loaders.training, self.outputs)}
        for split, loader in loaders.held_out.items():
            metrics[split] = self.metrics.measure(loader, self._evaluate(loader))
        state.evaluation_seconds += time.monotonic() - begun
        state.seconds = self._seconds()
        state.epoch += 1
        state.history.append(history_row(state.epoch, self.optimiser.learning_rate, metrics))
        self.console.print(epoch_line(state.epoch, state.epochs, metrics), highlight=False)
        if state.epoch == 1 and self.config.time_budget:
            self._plan_epochs_in_budget()
        self.state = self.group.broadcast(lambda: self._checkpoint(metrics, complete))

    def _checkpoint(self, metrics: dict[str, Any], complete: bool) -> TrainingState:
        # A few hundred photos make the accuracy too coarse; the loss is finer.
        chosen_by = "validation" if "validation" in metrics else "train"
        parameters = parameters_of(self.optimiser.ema.module)
        card = Card(
            version=f"{__version__}+{fingerprint(parameters)}",
            network=self.config.network,
            classes=self.setup.folder.classes,
            preprocessing=self.setup.preprocessing,
            split=self.config.split,
            scores={"epoch": self.state.epoch, chosen_by: metrics[chosen_by]},
        )
        tensors = self.optimiser.state_dict() if complete else None
        loss = metrics[chosen_by]["loss"]
        write_checkpoints(
            self.config.output, self.state, parameters, card, tensors, loss, self.console
        )
        return self.state

    def _plan_epochs_in_budget(self) -> None:
        """Plan the number of epochs that the time budget allows, from the time of the first."""
        state, config = self.state, self.config
        seconds = self._seconds()
        # Each process has its own clock, but all need the same plan.
        further = self.group.broadcast(lambda: state.epochs_in_budget(config, seconds))
        if 1 + further < config.epochs:
            state.epochs = 1 + further
            self.optimiser.plan(state.epochs, self.optimiser.schedule.last_epoch)
            self.console.print(f"{state.epochs} epochs fit into {config.time_budget:g} minutes.")

    def _seconds(self) -> float:
        """Training time including earlier parts of a resumed run, by the main process's clock."""
        return self.group.broadcast(lambda: time.monotonic() - self.started)
