"""Score millions of photos into one Parquet file, on this machine or on a Ray cluster."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow as pa
from rich.console import Console

from ml.cpus import in_threads, usable_cpus
from ml.engines.loader import Opened
from ml.errors import ImageError, Rejected, plural, sentence
from ml.predictor import Predictor
from ml.scoring.job import Job, ScoringItem
from ml.scoring.progress import ScoringProgress
from ml.scoring.retry import read_with_retries, stop_on_failures

_READERS = 8  # files read at a time, per CPU, so that CPUs do not wait for a slow store

Row = dict[str, Any]
ScoredPart = tuple[int, pa.Table]  # a part's number, and its rows of the result
Backend = Callable[[Opened, Iterable[list[ScoringItem]]], Iterator[ScoredPart]]


def score(
    sources: Sequence[str], output: Path, model: Opened, console: Console, backend: Backend
) -> None:
    """Score the files of the sources, or continue a job that was interrupted.

    Args:
        model: the model of the whole job, as opened by `ml.engines.loader.open_best`.
        backend: scores the parts: `score_locally`, or the backend of a Ray cluster.

    Raises:
        ScoringError: if the job cannot start or continue.
    """
    job = Job(sources, output, model.file)
    if job.finished:
        shutil.rmtree(job.folder, ignore_errors=True)  # left by a run killed at its very end
        console.print(
            f"{output} is finished already. It holds the files that were there when the job "
            "started. To score files that were added since, give another --output."
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


def score_locally(model: Opened, parts: Iterable[list[ScoringItem]]) -> Iterator[ScoredPart]:
    """Score on all usable CPUs of this machine, with about 40 photos in memory for each."""
    predictor = Predictor(engine=model.engine)
    rows = score_items(predictor, chain.from_iterable(parts), usable_cpus())
    for part, group in groupby(rows, key=lambda row: row[0]):
        yield part, to_table(predictor, (row for _, row in group))


def score_items(
    predictor: Predictor, items: Iterable[ScoringItem], cpus: int
) -> Iterator[tuple[int, Row]]:
    """Predict each item in order; yield its part and its row of the result.

    Reading and predicting have a pool of threads each. In one common pool most threads wait for
    a CPU and compete for Python's lock, which cost a quarter of the rate.
    """

    def read(item: ScoringItem) -> tuple[ScoringItem, bytes | Rejected]:
        return item, item.rejected or read_with_retries(item.name)

    def predict(file: tuple[ScoringItem, bytes | Rejected]) -> tuple[int, Row]:
        item, content = file
        path = os.fsencode(item.name).decode("utf-8", "backslashreplace")  # may not be UTF-8
        row: Row = {"path": path, "model": predictor.card.version}
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
    """Build a table of the result from rows; `error` says why a file has no prediction."""
    probabilities = pa.struct([(name, pa.float32()) for name in predictor.card.classes])
    columns = {"path": pa.string(), "label": pa.string(), "confidence": pa.float32()}
    columns |= {"accepted": pa.bool_(), "probabilities": probabilities}
    columns |= {"error": pa.string(), "model": pa.string()}
    return pa.Table.from_pylist(list(rows), pa.schema(columns))
