"""The progress of a scoring job: a bar on a terminal, lines in a log."""

from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

_LINE_SECONDS = 30.0  # between two lines in a log


class ScoringProgress(Progress):
    """The photos scored and left, the rate and the time left.

    The rate is the mean of the whole run: parts can finish minutes apart, and rich's own estimate
    forgets a part after half a minute.
    """

    def __init__(self, console: Console, done: int, total: int) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        super().__init__(*columns, console=console)
        self.add_task("", total=total, completed=done, rate="")
        self._done_before = done
        self._started = self._last_line = self.get_time()

    def add(self, photos: int) -> None:
        """Count more photos as scored."""
        (task,), now = self.tasks, self.get_time()
        self.update(task.id, advance=photos)
        rate = (task.completed - self._done_before) / (now - self._started)
        left = timedelta(seconds=round((task.remaining or 0) / rate))
        rate_text = f"{rate:.{0 if rate >= 10 else 1}f} photos/s, {left} left"
        self.update(task.id, rate=rate_text)
        if not self.console.is_terminal and now >= self._last_line + _LINE_SECONDS:
            self._last_line = now
            self.console.print(f"{task.completed:.0f} of {task.total:.0f} photos, {rate_text}")
