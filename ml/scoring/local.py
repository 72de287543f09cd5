"""Scoring photos by the million into one Parquet file, here or on a Ray cluster."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import chain, groupby
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import pyarrow as pa
from rich.console import Console

from ml.cpus import in_threads, usable_cpus
from ml.engines.loader import PrecisionChoice, open_best
from ml.errors import ImageError, sentence
from ml.models.onnx_file import ModelFile
from ml.predictor import Predictor
from ml.progress import ProgressBar
from ml.scoring.job import Job, Photo, columns
from ml.scoring.retry import Reader

_READERS = 8  # photos fetched at a time, per CPU: while some come, others are worked on
_LINE_SECONDS = 30.0  # from one line of progress to the next, where no terminal shows a bar


class Chosen(NamedTuple):
    """The model to score with."""

    model: ModelFile
    """The one asked for, or the int8 file beside it."""
    predictor: Predictor
    """What runs these very bytes."""

    @property
    def file(self) -> Path:
        """Where the model was read."""
        return self.model.path


Row = dict[str, Any]
Scored = tuple[int, pa.Table]  # a part's number, and its answers
Backend = Callable[[Chosen, Iterable[list[Photo]]], Iterator[Scored]]


def choose(model: Path, precision: PrecisionChoice = "auto") -> Chosen:
    """Open what serves best of a model; the whole job is scored with that one file.

    Raises:
        ModelError
    """
    opened = open_best(model, precision=precision)
    return Chosen(opened.file, Predictor(engine=opened.engine))


def score(
    sources: Sequence[str], output: Path, chosen: Chosen, console: Console, backend: Backend
) -> None:
    """Score what the sources stand for, or go on with what an earlier run has begun.

    Raises:
        ScoringError
    """
    job = Job(sources, output, chosen.model)
    if job.finished:
        shutil.rmtree(job.folder, ignore_errors=True)  # of a run killed at its very end
        console.print(
            f"{output} is there already, with the photos that there were when it was begun. "
            "To score those that have come since, give another --output."
        )
        return
    if not job.list.exists():
        console.print("Listing the photos…")
    with job.opened():
        before, started = job.done, perf_counter()
        with _Bar(console, before, job.photos) as bar:
            for part, answers in backend(chosen, job.todo()):
                job.keep(part, answers)
                bar.add(len(answers))
        rate = (job.photos - before) / (perf_counter() - started)
        failed = job.finish()
        console.print(
            f"{output}: {job.photos} photos, {failed} of them without an answer. "
            f"This run did {job.photos - before}, {rate:.0f} a second."
        )


class _Bar(ProgressBar):
    """A bar; where there is no terminal, as in a job's log, a line now and then."""

    def __init__(self, console: Console, done: int, total: int) -> None:
        super().__init__(console, done, total)
        self.speed_estimate_period = inf  # by itself it forgets a part after half a minute
        self._before, self._started = done, self.get_time()
        self._shown = self._started

    def add(self, photos: int) -> None:
        (task,), now = self.tasks, self.get_time()
        self.update(task.id, advance=photos)
        done, seconds = task.completed - self._before, now - self._started
        if not done or not seconds:  # nothing is known yet
            return
        rate = done / seconds
        self.update(task.id, text=f"{rate:.{0 if rate >= 10 else 1}f} photos/s")
        if self.console.is_terminal or now < self._shown + _LINE_SECONDS:
            return
        self._shown = now
        left = timedelta(seconds=round((task.remaining or 0) / rate))
        self.console.print(
            f"{task.completed:.0f} of {task.total:.0f} photos, {task.fields['text']}, {left} left"
        )


def here(chosen: Chosen, parts: Iterable[list[Photo]]) -> Iterator[Scored]:
    """Score on this machine, on all usable CPUs; for each, some 40 photos are in memory."""
    predictor = chosen.predictor
    rows = scored(predictor, chain.from_iterable(parts), usable_cpus(), Reader())
    for part, group in groupby(rows, key=lambda scored: scored[0]):
        yield part, table(predictor, (row for _, row in group))


def scored(
    predictor: Predictor, photos: Iterable[Photo], cpus: int, reader: Reader
) -> Iterator[tuple[int, Row]]:
    """Answer for each photo in turn: its part, and its row of the result.

    Many threads read, and no more work on photos than there are CPUs: a common pool, of which most
    threads wait for a CPU, hands Python's lock around and took a quarter of the rate.
    """

    def fetched(photo: Photo) -> tuple[Photo, bytes | str]:
        """A photo's bytes, or why there are none."""
        try:
            return photo, photo.fault or reader.read(photo.name)
        except (ImageError, OSError) as error:
            return photo, sentence(error)

    def answer(given: tuple[Photo, bytes | str]) -> tuple[int, Row]:
        photo, data = given
        row: Row = {"path": _text(photo.name), "model": predictor.card.version}
        if isinstance(data, str):
            return photo.part, row | {"error": data}
        try:
            answer = predictor.predict(data)
        except (ImageError, OSError) as error:
            return photo.part, row | {"error": sentence(error)}
        names = ("label", "confidence", "accepted", "probabilities")
        return photo.part, row | {name: getattr(answer, name) for name in names}

    return in_threads(answer, in_threads(fetched, photos, cpus * _READERS), cpus)


def table(predictor: Predictor, rows: Iterable[Row]) -> pa.Table:
    """Put rows into the result's columns."""
    return pa.Table.from_pylist(list(rows), columns(predictor.card.classes))


def _text(name: str) -> str:
    """A name as text; bytes that are not UTF-8 are written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
