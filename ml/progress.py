"""Progress bars for training and for loops over photos."""

from collections.abc import Iterable
from typing import TypeVar

from rich import progress
from rich.console import Console

Step = TypeVar("Step")


def track_progress(steps: Iterable[Step], doing: str, total: int | None = None) -> Iterable[Step]:
    """Yield the steps and show a bar on standard error, which is removed at the end.

    Args:
        total: the number of steps, if `steps` has no length.
    """
    return progress.track(steps, doing, total=total, console=Console(stderr=True), transient=True)


class ProgressBar(progress.Progress):
    """A bar with the number of steps, a text and the time left. Printed lines appear above it."""

    def __init__(self, console: Console, done: int) -> None:
        bar, count = progress.BarColumn(), progress.MofNCompleteColumn()
        text, left = progress.TextColumn("{task.fields[text]}"), progress.TimeRemainingColumn()
        super().__init__(bar, count, text, left, console=console)
        self.add_task("", total=None, completed=done, text="")

    @property
    def speed(self) -> float:
        """Steps per second; 0 until it is known."""
        return self.tasks[0].speed or 0

    def advance_by(self, steps: int, text: str, total: int) -> None:
        """Count more steps and show a text and the total, which may have changed."""
        self.update(self.tasks[0].id, advance=steps, text=text, total=total)
