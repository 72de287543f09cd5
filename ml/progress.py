"""The bars that a person watches while the network learns, or while photos go by."""

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    track,
)

Step = TypeVar("Step")


def track_progress(steps: Iterable[Step], doing: str, total: int | None = None) -> Iterable[Step]:
    """Pass the steps on with a bar on standard error, which is gone at the end.

    Args:
        total: how many there are, where they have no length.
    """
    return track(steps, doing, total=total, console=Console(stderr=True), transient=True)


class Bar(Progress):
    """Steps done and to come, with epoch, loss and speed; lines printed meanwhile stand above."""

    def __init__(self, console: Console, done: int) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[state]}"))
        super().__init__(*columns, TimeRemainingColumn(), console=console)
        self.add_task("", total=None, completed=done, state="")

    def step(self, epoch: int, total: int, loss: float, batch: int) -> None:
        """Show one step more of `total`, of a batch of so many photos."""
        (task,) = self.tasks
        rate = (task.speed or 0) * batch
        state = f"epoch {epoch}  loss {loss:.3f}  {rate:.0f} images/s"
        self.update(task.id, advance=1, total=total, state=state)


class PhotosBar(Progress):
    """Photos done and to come, with their rate and the time left."""

    def __init__(self, console: Console, done: int, total: int) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        super().__init__(*columns, TimeRemainingColumn(), console=console)
        self.add_task("", total=total, completed=done, rate="")

    def add(self, photos: int) -> None:
        """Show so many photos more."""
        (task,) = self.tasks
        self.update(task.id, advance=photos, rate=f"{task.speed or 0:.0f} photos/s")
