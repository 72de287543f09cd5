"""The files of each epoch: write them, and read them to resume."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from ml.models.card import Card
from ml.models.checkpoint import load_state, save, save_state
from ml.training.state import TrainingState, write_history

STATE_FILE = "last.pt"
CHECKPOINT_FILES = ("best.safetensors", "last.safetensors", "history.csv", STATE_FILE)


def read_resume_state(run: Path) -> tuple[TrainingState, dict[str, Any]] | None:
    """Read progress and tensors to resume from, or None if no epoch was written.

    Raises:
        ModelError: if the file is damaged.
    """
    if not (run / STATE_FILE).exists():
        return None
    stored = load_state(run / STATE_FILE)
    progress = stored.pop("standing" if "standing" in stored else "progress")  # the older name
    return TrainingState.from_dict(progress), stored


def write_checkpoints(
    run: Path,
    state: TrainingState,
    parameters: dict[str, Tensor],
    card: Card,
    optimiser_state: dict[str, Any] | None,
    loss: float,
    console: Console,
) -> None:
    """Write an epoch's files, and record in `state` if it is the best epoch so far.

    If the disk is full, files are missing afterwards, but the run continues.

    Args:
        optimiser_state: None after an incomplete epoch, from which a run cannot resume.
        loss: the loss that the best epoch is chosen by.
    """
    try:
        if loss <= state.best_loss:
            save(run / "best.safetensors", parameters, card)
            state.best_loss, state.best_epoch = loss, state.epoch
        write_history(run / "history.csv", state.history)
        save(run / "last.safetensors", parameters, card)
        if optimiser_state is not None:  # last, so that a resumed run finds the other files
            save_state(run / STATE_FILE, optimiser_state | {"progress": asdict(state)})
    except OSError as error:
        console.print(
            f"Epoch {state.epoch} could not be written to {run} ({error.strerror}): free some "
            "space. Earlier files are kept, and training continues.",
            style="red",
            markup=False,
        )
