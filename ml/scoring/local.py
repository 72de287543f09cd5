"""Score millions of photos into one Parquet file, on this machine or on a Ray cluster."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import pyarrow as pa
from rich.console import Console

from ml.cpus import in_threads, usable_cpus
from ml.engines.loader import PrecisionChoice, open_best
from ml.errors import ImageError, Rejected, plural, sentence
from ml.models.onnx_file import ModelFile
from ml.predictor import Predictor
from ml.scoring.job import Job, ScoringItem, result_schema
from ml.scoring.progress import ScoringProgress
from ml.scoring.retry import read_with_retries, stop_on_failures

_READERS = 8  # files read at a time, per CPU, so that CPUs do not wait for a slow store


class ScoringModel(NamedTuple):
    """The model of a job."""

    model: ModelFile
    """The model file that was given, or the int8 file beside it."""
    predictor: Predictor
    """Runs exactly these bytes."""

    @property
    def file(self) -> Path:
        """Where the model was read."""
        return self.model.path


Row = dict[str, Any]
ScoredPart = tuple[int, pa.Table]  # a part's number, and its rows of the result
Backend = Callable[[ScoringModel, Iterable[list[ScoringItem]]], Iterator[ScoredPart]]


def open_scoring_model(model: Path, precision: PrecisionChoice = "auto") -> ScoringModel:
    """Open the best file of a model for this machine; the whole job uses this one file.

    Raises:
        ModelError: if there is no model that can be used.
    """
    opened = open_best(model, precision=precision)
    return ScoringModel(opened.file, Predictor(engine=opened.engine))


def score(
    sources: Sequence[str], output: Path, model: ScoringModel, console: Console, backend: Backend
) -> None:
    """Score the files of the sources, or continue a job that was interrupted.

    Raises:
        ScoringError: if the job cannot start or continue.
    """
    job = Job(sources, output, model.model)
    if job.finished:
        shutil.rmtree(job.folder, ignore_errors=True)  # left by a run killed at its very end
        console.print(
            f"{output} is finished already. It holds the files that were there when the job "
            "started; to score files added since, give another --output."
        )
        return
    if not job.list_file.exists():
        console.print("Listing the files…")
    with job.opened():
        before, started = job.done, perf_counter()
        with ScoringProgress(console, before, job.total) as progress:
            for part, rows in backend(model, job.todo()):
                job.write_part(part, rows)
                progress.add(len(rows))
        scored = job.total - before
        rate = scored / (perf_counter() - started)
        failed = job.finish()
        console.print(
            f"{output}: {plural(job.total, 'file')}, {failed} without a prediction. "
            f"This run scored {scored}, {rate:.0f} per second."
        )


def score_locally(model: ScoringModel, parts: Iterable[list[ScoringItem]]) -> Iterator[ScoredPart]:
    """Score on all usable CPUs of this machine, with about 40 photos in memory for each."""
    predictor = model.predictor
    rows = score_items(predictor, chain.from_iterable(parts), usable_cpus())
    for part, group in groupby(rows, key=lambda row: row[0]):
        yield part, to_table(predictor, (row for _, row in group))


def score_items(
    predictor: Predictor, items: Iterable[ScoringItem], cpus: int
) -> Iterator[tuple[int, Row]]:
    """Predict each item in order; yield its part and its row of the result.

    Reading and predicting have a pool of threads each. In one common pool most threads wait for
    a CPU and compete for Python's lock; that took a quarter of the rate.
    """

    def read(item: ScoringItem) -> tuple[ScoringItem, bytes | Rejected]:
        return item, item.rejected or read_with_retries(item.name)

    def predict(file: tuple[ScoringItem, bytes | Rejected]) -> tuple[int, Row]:
        item, content = file
        row: Row = {"path": _to_text(item.name), "model": predictor.card.version}
        if isinstance(content, Rejected):
            return item.part, row | {"error": content.reason}
        try:
            prediction = predictor.predict(content)
        except (ImageError, OSError) as error:
            return item.part, row | {"error": sentence(error)}
        names = ("label", "confidence", "accepted", "probabilities")
        return item.part, row | {name: getattr(prediction, name) for name in names}

    files = stop_on_failures(in_threads(read, items, cpus * _READERS))
    return in_threads(predict, files, cpus)


def to_table(predictor: Predictor, rows: Iterable[Row]) -> pa.Table:
    """Build a table of the result from rows."""
    return pa.Table.from_pylist(list(rows), result_schema(predictor.card.classes))


def _to_text(name: str) -> str:
    """Return a name as text, with bytes that are not UTF-8 as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
