"""A scoring job on disk: a list of files, results in parts, and at the end one Parquet file.

The files are listed once, in parts. The results of a part are written atomically, so a job that
was killed continues with the missing parts: each file is scored exactly once.
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

from ml.errors import Rejected, ScoringError
from ml.models.onnx_file import ModelFile
from ml.scoring.sources import absolute, list_sources

PART = 256  # files in a part: a killed job loses at most this many results per part in progress
_GROUP = 256  # parts in one row group of the result
_JOB_KEY = b"skyspotter"  # the metadata key that says which job a file belongs to


class ScoringItem(NamedTuple):
    """One file to score."""

    part: int
    name: str  # a path or URL
    rejected: Rejected | None  # why it cannot be scored


def as_item(part: int, row: dict[str, Any]) -> ScoringItem:
    """Read an item from a row of `to_list_table`."""
    rejected = Rejected(row["fault"]) if row["fault"] else None
    return ScoringItem(part, os.fsdecode(row["name"]), rejected)


def to_list_table(items: Iterable[ScoringItem]) -> pa.Table:
    """Write items as a table. Names are bytes, because they may not be valid text."""
    rows = [(os.fsencode(i.name), i.rejected.reason if i.rejected else "") for i in items]
    names, faults = zip(*rows, strict=True)
    return pa.table({"name": names, "fault": faults})  # as in the lists of older versions


class Job:
    """The files to score, and the results so far. Enter `opened` to read or write parts."""

    def __init__(self, sources: Sequence[str], output: Path, model: ModelFile) -> None:
        """Name the sources, the Parquet file to write, and the model file.

        Raises:
            ScoringError: if the output is a URL or a folder.
        """
        if output.parts and output.parts[0].endswith(":"):  # s3://bucket/file, as a path
            raise ScoringError("--output must be a file on this machine. Copy it to a store later.")
        if not output.name or output.is_dir():
            raise ScoringError(f"--output {output} is a folder: name the Parquet file to write.")
        self.sources = [absolute(source) for source in sources]
        self.output = output
        self.folder = output.with_name(f"{output.name}.parts")
        self.list_file = self.folder / "photos.parquet"
        digest = hashlib.sha256(model.data).hexdigest()
        self.about = {"sources": self.sources, "model": model.card.version, "sha256": digest}

    @property
    def finished(self) -> bool:
        """Whether the output is written; raises ScoringError if it is that of another job."""
        if self.output.exists():
            self._check_same_job(self.output)
        return self.output.exists()

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Lock the job; list the files, or continue an earlier run's list.

        Raises:
            ScoringError: if the list belongs to another job, or another run is writing it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ScoringError(f"Another run is writing {self.output}.") from error
            if self.finished:  # by the run that held the lock until now
                raise ScoringError(f"Another run has just finished {self.output}.")
            if self.list_file.exists():
                self._check_same_job(self.list_file)
            else:
                for stale in self.folder.glob("*.parquet"):  # parts of a list that no longer exists
                    stale.unlink()
                self._write(self.list_file, self._list_files())
            self._list = pq.ParquetFile(self.list_file)
            yield

    @property
    def total(self) -> int:
        """The number of files of the job."""
        return int(self._list.metadata.num_rows)

    @property
    def done(self) -> int:
        """The number of files that are scored."""
        return self.total - sum(self._size(part) for part in self._missing())

    def todo(self) -> Iterator[list[ScoringItem]]:
        """Yield the items of each missing part."""
        for part in self._missing():
            rows = self._list.read_row_group(part).to_pylist()
            yield [as_item(part, row) for row in rows]

    def write_part(self, part: int, rows: pa.Table) -> None:
        """Write a part's results atomically."""
        if (size := self._size(part)) != len(rows):
            raise ScoringError(
                f"Part {part} has {len(rows)} results for {size} files: run the same command again."
            )
        self._write(self._part_file(part), [rows])

    def finish(self) -> int:
        """Join the parts into the output, and remove them; return how many predictions failed."""
        failed = 0

        def groups() -> Iterator[pa.Table]:
            nonlocal failed
            parts = [self._part_file(part) for part in range(self._list.num_row_groups)]
            for start in range(0, len(parts), _GROUP):
                group = pa.concat_tables(map(pq.read_table, parts[start : start + _GROUP]))
                failed += len(group) - group["error"].null_count
                yield group.replace_schema_metadata({_JOB_KEY: json.dumps(self.about)})

        self._write(self.output, groups())
        # The list goes first: parts without a list are discarded. Another run may have removed it.
        self.list_file.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        return failed

    def _list_files(self) -> Iterator[pa.Table]:
        """List the files to score, one part at a time."""
        # The list is read part by part, so it does not store the part of an item.
        found = (ScoringItem(0, *file) for file in list_sources(self.sources))
        unique = _unique(found) if len(self.sources) > 1 else found
        items = (item for item in unique if not self._is_own(item.name))
        empty = True
        while part := list(islice(items, PART)):
            yield to_list_table(part).replace_schema_metadata({_JOB_KEY: json.dumps(self.about)})
            empty = False
        if empty:
            raise ScoringError("There is no file to score in these sources.")

    def _is_own(self, name: str) -> bool:
        """Whether the job itself wrote a file: the output may be in a source folder."""
        if self.output.name not in name:  # the usual case, in which no link has to be resolved
            return False
        path, own = os.path.realpath(name.removeprefix("file://")), os.path.realpath(self.output)
        return path == own or path.startswith(f"{own}.parts/")

    def _missing(self) -> Iterator[int]:
        parts = range(self._list.num_row_groups)
        return (part for part in parts if not self._part_file(part).exists())

    def _part_file(self, part: int) -> Path:
        return self.folder / f"{part:07}.parquet"

    def _size(self, part: int) -> int:
        return int(self._list.metadata.row_group(part).num_rows)

    def _write(self, path: Path, tables: Iterable[pa.Table]) -> None:
        """Write a Parquet file atomically, safe against a power cut."""
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
        os.fsync(folder)  # or a power cut may lose the file's name
        os.close(folder)

    def _check_same_job(self, path: Path) -> None:
        """Raise ScoringError if a file belongs to another job, or to none."""
        try:
            about = json.loads(pq.read_schema(path).metadata[_JOB_KEY])
        except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise ScoringError(
                f"{path} was not written by a scoring job: give another --output."
            ) from error
        for key, value in self.about.items():
            if about.get(key) != value:
                raise ScoringError(
                    f"{self.output} was started with {key} {about.get(key)}, not {value}: "
                    "use the same to continue, or give another --output."
                )


def _unique(items: Iterable[ScoringItem]) -> Iterator[ScoringItem]:
    """Drop files that several sources name. This keeps all names in memory."""
    seen: set[str] = set()
    for item in items:
        if (name := item.name.removeprefix("file://")) not in seen:
            seen.add(name)
            yield item
