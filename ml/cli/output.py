"""Answers for many photos, written as they come: a table for people, CSV or JSON lines."""

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any, Literal

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ml.cpus import on_all_cpus
from ml.errors import ImageError, sentence
from ml.files import Found
from ml.predictor import Prediction, Predictor

Answer = Prediction | str  # or why there is none
Format = Literal["table", "csv", "jsonl"]
COLUMNS = ("file", "label", "confidence", "accepted", "width", "height", "format", "error")


def answers(predictor: Predictor, files: Iterable[Found]) -> Iterator[tuple[Path, Answer]]:
    """Answer for each file in turn, on all usable CPUs; what is no photo brings its reason."""

    def answer(found: Found) -> tuple[Path, Answer]:
        path, fault = found
        try:
            return path, fault or predictor.predict(path)
        except (ImageError, OSError) as error:
            return path, sentence(error)

    return on_all_cpus(answer, files)


def write(
    answers: Iterable[tuple[Path, Answer]], format: Format, classes: Sequence[str]
) -> list[tuple[Path, str]]:
    """Print each answer as soon as it is there; returns the files without one, and why."""
    failed: list[tuple[Path, str]] = []
    counts: Counter[tuple[str, bool]] = Counter()
    console, width = Console(highlight=False, soft_wrap=True), max(map(cell_len, classes))
    if format == "csv":
        print(_csv(COLUMNS), flush=True)
    for path, answer in _counted(answers):
        if isinstance(answer, str):
            failed.append((path, answer))
        else:
            counts[answer.label, answer.accepted] += 1
        if format == "csv":
            print(_csv(_cells(path, answer)), flush=True)
        elif format == "jsonl":
            print(json.dumps(_record(path, answer)), flush=True)
        elif isinstance(answer, Prediction):
            console.print(_line(path, answer, width))
    if format == "table" and counts.total() > 1:
        _show_counts(counts, console)
    return failed


def _counted(answers: Iterable[tuple[Path, Answer]]) -> Iterator[tuple[Path, Answer]]:
    """Count on stderr while the rows go elsewhere; on one screen the rows tell enough."""
    screen = Console(stderr=True)
    hidden = sys.stdout.isatty() or not screen.is_terminal
    columns = (TextColumn("Predicting"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=screen, transient=True, redirect_stdout=False, disable=hidden
    ) as progress:
        yield from progress.track(answers)


def _line(path: Path, answer: Prediction, width: int) -> str:
    label = escape(set_cell_size(answer.label, width))
    colour, sure = ("green", "") if answer.accepted else ("yellow", "unsure")
    return f"[{colour}]{label}[/]  {answer.confidence:>6.1%}  {sure:<6}  {escape(str(path))}"


def _cells(path: Path, answer: Answer) -> list[Any]:
    if isinstance(answer, str):
        return [path, *[""] * (len(COLUMNS) - 2), answer]
    photo = answer.photo
    known = [answer.label, f"{answer.confidence:.6f}", int(answer.accepted)]
    return [path, *known, photo.width, photo.height, photo.format, ""]


def _record(path: Path, answer: Answer) -> dict[str, Any]:
    """The fields of `POST /predict`, and the file's name; where there is no answer, an error."""
    if isinstance(answer, str):
        return {"file": str(path), "error": answer}
    return {
        "file": str(path),
        "label": answer.label,
        "confidence": answer.confidence,
        "accepted": answer.accepted,
        "probabilities": answer.probabilities,
        "image": asdict(answer.photo),
    }


def _csv(cells: Iterable[Any]) -> str:
    line = StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


def _show_counts(counts: Counter[tuple[str, bool]], console: Console) -> None:
    table = Table("answer", "photos", "of them unsure")
    for label in sorted({label for label, _ in counts}):
        unsure = counts[label, False]
        table.add_row(escape(label), str(counts[label, True] + unsure), str(unsure))
    console.print(table)
