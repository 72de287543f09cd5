"""Result tables for the terminal and for Markdown, and a table of goals."""

import platform
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from ml.cpus import usable_cpus


@dataclass(frozen=True)
class ResultTable:
    """A table of results."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def print(self) -> None:
        """Print the table."""
        table = Table(*self.header, title=self.title)
        for row in self.rows:
            table.add_row(*row)
        Console().print(table)

    def markdown(self) -> str:
        """Return the table as Markdown."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return "\n".join([f"## {self.title}\n", *(f"| {' | '.join(line)} |" for line in lines)])


@dataclass(frozen=True)
class Goal:
    """A goal, the measured value, and whether it is met."""

    wanted: str
    measured: str
    met: bool


def goal_table(goals: list[Goal]) -> ResultTable:
    """Return a table with one goal on each line."""
    rows = [[goal.wanted, goal.measured, "yes" if goal.met else "no"] for goal in goals]
    return ResultTable("Goals", ["goal", "measured", "met"], rows)


def spread(values: list[float], digits: int = 0) -> str:
    """Return the median, minimum and maximum."""
    low, high = min(values), max(values)
    return f"{median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def machine() -> str:
    """Describe the usable cores and the Python version."""
    processor = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine(),
    )  # fmt: skip
    return f"{usable_cpus()} cores of {processor}, Python {platform.python_version()}"
