"""Print predictions as they are made: a table, CSV or JSON lines."""

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ml.cpus import in_threads
from ml.errors import ImageError, Rejected, sentence
from ml.predictor import Prediction, Predictor

Format = Literal["table", "csv", "jsonl"]
Results = Iterable[tuple[Path, Prediction | Rejected]]
COLUMNS = ("file", "label", "confidence", "accepted", "width", "height", "format", "error")


def predict_files(
    predictor: Predictor, files: Iterable[tuple[Path, Rejected | None]]
) -> Iterator[tuple[Path, Prediction | Rejected]]:
    """Predict each file on all usable CPUs, in order."""

    def predict(file: tuple[Path, Rejected | None]) -> tuple[Path, Prediction | Rejected]:
        path, rejected = file
        try:
            return path, rejected or predictor.predict(path)
        except (ImageError, OSError) as error:
            return path, Rejected(sentence(error))

    return in_threads(predict, files)


def write_predictions(
    results: Results, format: Format, classes: Sequence[str]
) -> list[tuple[Path, Rejected]]:
    """Print each prediction as soon as it is made; return the files without one."""
    failed: list[tuple[Path, Rejected]] = []
    counts: Counter[tuple[str, bool]] = Counter()
    console, width = Console(highlight=False, soft_wrap=True), max(map(cell_len, classes))
    table = csv.writer(sys.stdout, lineterminator="\n")
    if format == "csv":
        table.writerow(COLUMNS)
    for path, result in _show_progress(results):
        if isinstance(result, Rejected):
            failed.append((path, result))
        else:
            counts[result.label, result.accepted] += 1
        if format == "csv":
            table.writerow(_cells(path, result))
        elif format == "jsonl":
            print(json.dumps(_record(path, result)))
        elif isinstance(result, Prediction):
            console.print(_line(path, result, width))
        sys.stdout.flush()
    if format == "table" and counts.total() > 1:
        _show_counts(counts, console)
    return failed


def _show_progress(results: Results) -> Results:
    """Count files on stderr if stdout is redirected; on a terminal the rows show the progress."""
    screen = Console(stderr=True)
    hidden = sys.stdout.isatty() or not screen.is_terminal
    columns = (TextColumn("Predicting"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=screen, transient=True, redirect_stdout=False, disable=hidden
    ) as progress:
        yield from progress.track(results)


def _line(path: Path, prediction: Prediction, width: int) -> str:
    label = escape(set_cell_size(prediction.label, width))
    colour, note = ("green", "") if prediction.accepted else ("yellow", "unsure")
    return f"[{colour}]{label}[/]  {prediction.confidence:>6.1%}  {note:<6}  {escape(str(path))}"


def _cells(path: Path, result: Prediction | Rejected) -> list[Any]:
    if isinstance(result, Rejected):
        return [path, *[""] * (len(COLUMNS) - 2), result.reason]
    photo = result.photo
    prediction = (result.label, f"{result.confidence:.6f}", int(result.accepted))
    return [path, *prediction, photo.width, photo.height, photo.format, ""]


def _record(path: Path, result: Prediction | Rejected) -> dict[str, Any]:
    """Return the file's name with the fields of `POST /predict`, or with an error."""
    if isinstance(result, Rejected):
        return {"file": str(path), "error": result.reason}
    names = ("label", "confidence", "accepted", "probabilities")
    prediction = {name: getattr(result, name) for name in names}
    return {"file": str(path)} | prediction | {"image": asdict(result.photo)}


def _show_counts(counts: Counter[tuple[str, bool]], console: Console) -> None:
    table = Table("label", "photos", "unsure")
    for label in sorted({label for label, _ in counts}):
        unsure = counts[label, False]
        table.add_row(escape(label), str(counts[label, True] + unsure), str(unsure))
    console.print(table)
