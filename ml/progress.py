"""Progress bars for training, scoring and loops over photos."""

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
    """Yield the steps and show a bar on standard error, which is removed at the end.

    Args:
        total: the number of steps, if `steps` has no length.
    """
    return track(steps, doing, total=total, console=Console(stderr=True), transient=True)


class ProgressBar(Progress):
    """A bar with the number of steps, a text and the time left.

    Lines printed to the same console appear above it.
    """

    def __init__(self, console: Console, done: int, total: int | None = None) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
        super().__init__(*columns, TimeRemainingColumn(), console=console)
        self.add_task("", total=total, completed=done, text="")

    @property
    def speed(self) -> float:
        """Steps per second; 0 until it is known."""
        return self.tasks[0].speed or 0

    def advance_by(self, steps: int, text: str, total: int | None = None) -> None:
        """Count more steps, show a text and, if it is given, a new total."""
        self.update(self.tasks[0].id, advance=steps, text=text, total=total)
