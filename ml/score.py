"""Scoring photos by the million into one Parquet file, here or on a Ray cluster."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import chain, groupby
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, NamedTuple

import pyarrow as pa
from rich.console import Console

from ml.card import Card
from ml.cpus import in_threads, usable_cpus
from ml.errors import ImageError, ScoringError, sentence
from ml.job import Job, Photo, columns
from ml.metadata import read_metadata
from ml.opening import PrecisionChoice, int8_beside
from ml.predictor import Predictor
from ml.progress import PhotosBar
from ml.sources import fetch, lasts

_READERS = 8  # photos fetched at a time, per CPU: while some come, others are worked on
_PAUSES = (0.5, 2.0, 8.0)  # seconds before each further try to read a photo
_LINE_SECONDS = 30.0  # from one line of progress to the next, where no terminal shows a bar


class Chosen(NamedTuple):
    """The model to score with."""

    file: Path
    """The one asked for, or the int8 file beside it."""
    predictor: Predictor


Row = dict[str, Any]
Scored = tuple[int, pa.Table]  # a part's number, and its answers
Backend = Callable[[Chosen, Iterable[list[Photo]]], Iterator[Scored]]


def choose(model: Path, precision: PrecisionChoice = "auto") -> Chosen:
    """Open what serves best of a model; the whole job is scored with that one file.

    Raises:
        ModelError
    """
    predictor = Predictor.open(model, precision=precision)
    given = Card.from_metadata(read_metadata(model)).precision
    return Chosen(model if predictor.card.precision == given else int8_beside(model), predictor)


def score(
    sources: Sequence[str], output: Path, chosen: Chosen, console: Console, backend: Backend
) -> None:
    """Score what the sources stand for, or go on with what an earlier run has begun.

    Raises:
        ScoringError
    """
    job = Job(sources, output, chosen.file, chosen.predictor.card)
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


class _Bar(PhotosBar):
    """A bar; where there is no terminal, as in a job's log, a line now and then."""

    _shown = 0.0

    def add(self, photos: int) -> None:
        super().add(photos)
        self._shown = self._shown or self.tasks[0].start_time or 0
        if self.console.is_terminal or self.get_time() < self._shown + _LINE_SECONDS:
            return
        (task,), self._shown = self.tasks, self.get_time()
        left = timedelta(seconds=task.time_remaining or 0)
        self.console.print(
            f"{task.completed:.0f} of {task.total:.0f} photos, {task.fields['rate']}, {left} left"
        )


def here(chosen: Chosen, parts: Iterable[list[Photo]]) -> Iterator[Scored]:
    """Score on this machine, on all usable CPUs; a few hundred photos are in memory at a time."""
    predictor = chosen.predictor
    rows = scored(predictor, chain.from_iterable(parts), usable_cpus())
    for part, group in groupby(rows, key=lambda scored: scored[0]):
        yield part, table(predictor, (row for _, row in group))


def scored(predictor: Predictor, photos: Iterable[Photo], cpus: int) -> Iterator[tuple[int, Row]]:
    """Answer for each photo in turn: its part, and its row of the result.

    Many threads read, and no more work on photos than there are CPUs: a common pool, of which most
    threads wait for a CPU, hands Python's lock around and took a quarter of the rate.
    """

    def fetched(photo: Photo) -> tuple[Photo, bytes | str]:
        """A photo's bytes, or why there are none."""
        try:
            return photo, photo.fault or _read(photo.name)
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


def _read(name: str) -> bytes:
    """Read a photo; where that fails, and not for the photo's own sake, try again a few times.

    Raises:
        ImageError, OSError: what the photo itself is to blame for.
        ScoringError: where a store, a network or a disk is. No photo is written off for them.
    """
    for pause in (*_PAUSES, None):
        try:
            return fetch(name)
        except Exception as error:  # file systems of fsspec raise what they like
            if lasts(error, name):
                raise
            if pause is None:
                raise ScoringError(
                    f"{name} cannot be read: {error or type(error).__name__}. "
                    "Run the same command again to go on."
                ) from error
            sleep(pause)
    raise AssertionError


def table(predictor: Predictor, rows: Iterable[Row]) -> pa.Table:
    """Put rows into the result's columns."""
    return pa.Table.from_pylist(list(rows), columns(predictor.card.classes))


def _text(name: str) -> str:
    """A name as text; bytes that are not UTF-8 are written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
