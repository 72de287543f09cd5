"""A scoring job on disk: its photos listed once, their answers in parts, at the end one file.

The list is cut into parts. Each part's answers are written whole or not at all, so a job that was
killed goes on with the parts that are missing: no photo is left out, and none counts twice.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ml.errors import ScoringError
from ml.models.onnx_file import ModelFile
from ml.scoring.sources import Named, absolute, names, one_name

PART = 256
"""Photos in a part: what a job that is killed loses at most, for each part in work."""

_GROUP = 256  # parts in one row group of the result
_ABOUT = b"skyspotter"  # the metadata that tells which job a file belongs to


class Photo(NamedTuple):
    """One photo to score."""

    part: int
    name: str
    """A path or URL."""
    fault: str
    """Why it cannot be used, or nothing."""


def columns(classes: Sequence[str]) -> pa.Schema:
    """Name the result's columns; a photo without an answer has its reason in `error`."""
    chances = pa.struct([(name, pa.float32()) for name in classes])
    fields = {"path": pa.string(), "label": pa.string(), "confidence": pa.float32()}
    fields |= {"accepted": pa.bool_(), "probabilities": chances}
    return pa.schema(fields | {"error": pa.string(), "model": pa.string()})


class Job:
    """What is asked for, and how far it has come. Open it with `opened`."""

    def __init__(self, sources: Sequence[str], output: Path, model: ModelFile) -> None:
        """Say what is to be scored, where to, and with which model file.

        Raises:
            ScoringError: where the output is a URL or a folder.
        """
        if output.parts and output.parts[0].endswith(":"):  # of s3://bucket/file, as a path
            raise ScoringError("--output is a file on this machine: copy it to a store when done.")
        if not output.name or output.is_dir():
            raise ScoringError(f"--output {output} is a folder: name the Parquet file to write.")
        self.sources = [absolute(source) for source in sources]
        self.output = output
        self.folder = output.with_name(f"{output.name}.parts")
        self.list = self.folder / "photos.parquet"
        digest = hashlib.sha256(model.data).hexdigest()
        self.about = {"sources": self.sources, "model": model.card.version, "sha256": digest}

    @property
    def finished(self) -> bool:
        """Say whether the output is there, whole.

        Raises:
            ScoringError: where it belongs to another job.
        """
        if self.output.exists():
            self._agree(self.output)
        return self.output.exists()

    @contextmanager
    def opened(self) -> Iterator[None]:
        """List the photos, or take up what an earlier run left, for this process alone.

        Raises:
            ScoringError: where it was left by another job, or another run is at work on it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ScoringError(f"Another run is writing {self.output}.") from error
            if self.finished:  # by the run that had the lock until now
                raise ScoringError(f"Another run has just finished {self.output}.")
            if self.list.exists():
                self._agree(self.list)
            else:
                for stale in self.folder.glob("*.parquet"):  # of a job that nobody knows any more
                    stale.unlink()
                self._write(self.list, self._listing())
            self._listed = pq.ParquetFile(self.list)
            yield

    @property
    def photos(self) -> int:
        """Count all photos of the job."""
        return int(self._listed.metadata.num_rows)

    @property
    def done(self) -> int:
        """Count those that are answered."""
        return self.photos - sum(self._size(part) for part in self._missing())

    def todo(self) -> Iterator[list[Photo]]:
        """The parts that are missing, one after the other."""
        for part in self._missing():
            rows = self._listed.read_row_group(part).to_pylist()
            yield [Photo(part, os.fsdecode(row["name"]), row["fault"]) for row in rows]

    def keep(self, part: int, answers: pa.Table) -> None:
        """Write a part's answers, at once or not at all."""
        if len(answers) != self._size(part):
            raise ScoringError(f"Part {part} came with {len(answers)} answers: run this again.")
        self._write(self._part(part), [answers])

    def finish(self) -> int:
        """Join the parts into the output, remove them, and count the photos without an answer."""
        failed = 0

        def groups() -> Iterator[pa.Table]:
            nonlocal failed
            parts = [self._part(part) for part in range(self._listed.num_row_groups)]
            for start in range(0, len(parts), _GROUP):
                group = pa.concat_tables(map(pq.read_table, parts[start : start + _GROUP]))
                failed += len(group) - group["error"].null_count
                yield group.replace_schema_metadata({_ABOUT: json.dumps(self.about)})

        self._write(self.output, groups())
        # First, for without it the parts are nobody's. Another run may have removed it by now.
        self.list.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        return failed

    def _listing(self) -> Iterator[pa.Table]:
        """What is to be scored, a part at a time. Names need not be text, and are kept as bytes.

        Raises:
            ScoringError: where there is nothing but what the job itself has written.
        """
        about = {_ABOUT: json.dumps(self.about)}
        schema = pa.schema({"name": pa.binary(), "fault": pa.string()}, about)
        found = _once(names(self.sources)) if len(self.sources) > 1 else names(self.sources)
        found = (each for each in found if not self._wrote(each[0]))
        empty = True
        while part := list(islice(found, PART)):
            raw, faults = [os.fsencode(name) for name, _ in part], [fault for _, fault in part]
            yield pa.table([raw, faults], schema=schema)
            empty = False
        if empty:
            raise ScoringError("There is no photo in these sources.")

    def _wrote(self, name: str) -> bool:
        """Say whether a file is the job's own: the output may lie among the photos."""
        if self.output.name not in name:  # nearly always; links cost a look at the disk
            return False
        path, own = os.path.realpath(name.removeprefix("file://")), os.path.realpath(self.output)
        return path == own or path.startswith(f"{own}.parts/")

    def _missing(self) -> Iterator[int]:
        parts = range(self._listed.num_row_groups)
        return (part for part in parts if not self._part(part).exists())

    def _part(self, part: int) -> Path:
        return self.folder / f"{part:07}.parquet"

    def _size(self, part: int) -> int:
        return int(self._listed.metadata.row_group(part).num_rows)

    def _write(self, path: Path, tables: Iterable[pa.Table]) -> None:
        """Write a file that nobody ever sees half done, even after a power cut."""
        partial = self.folder / "partial"
        with partial.open("wb") as file:
            writer: Any = None
            for table in tables:
                writer = writer or pq.ParquetWriter(file, table.schema)
                writer.write_table(table, row_group_size=len(table))
            writer.close()
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)  # or the name may be lost
        os.close(folder)

    def _agree(self, path: Path) -> None:
        """Check that a file is of this very job.

        Raises:
            ScoringError: where it is of another one.
        """
        try:
            about = json.loads(pq.read_schema(path).metadata[_ABOUT])
        except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise ScoringError(
                f"{path} is no file of a scoring job: give another --output."
            ) from error
        for what in ("sources", "model", "sha256"):
            if about.get(what) != self.about[what]:
                raise ScoringError(
                    f"{self.output} was begun with {what} {about.get(what)}, not "
                    f"{self.about[what]}: ask for the same to go on, or give another --output."
                )


def _once(found: Iterable[Named]) -> Iterator[Named]:
    """Leave out what several sources name; only this has all names in memory."""
    seen: set[str] = set()
    for name, fault in found:
        if (one := one_name(name)) not in seen:
            seen.add(one)
            yield name, fault
