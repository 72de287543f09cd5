"""Read files with retries, and stop the job if a whole disk or store fails."""

from collections.abc import Iterable, Iterator
from platform import node
from time import sleep

from ml.errors import Rejected, ScoringError, SkyspotterError, plural, sentence
from ml.scoring.job import ScoringItem
from ml.scoring.sources import MISSING, fetch, is_permanent

MAX_FAILURES = 8  # files in a row that may be unreadable; one more stops the job
_PAUSES = (0.5, 2.0, 8.0)  # seconds before each further attempt


class ReadFailed(Rejected):
    """All attempts to read a file failed: the file is damaged, or its disk or store fails."""


def read_with_retries(name: str) -> bytes | Rejected:
    """Read a file, and try again if the error may be temporary.

    Returns:
        The bytes, or why there are none: a `ReadFailed` if the disk or the store may be the cause.

    Raises:
        ScoringError: if this machine is short of memory, or the file's folder is missing.
    """
    pauses = iter(_PAUSES)
    while True:
        try:
            return fetch(name)
        except MemoryError as error:
            raise ScoringError(
                f"{node()} is short of memory for {name}: free some memory, and run the same "
                "command again."
            ) from error
        except Exception as error:  # fsspec's file systems raise exceptions of any type
            if is_permanent(error, name):
                return Rejected(_reason(error))
            pause = next(pauses, None)
            if pause is not None:
                sleep(pause)
            elif isinstance(error, MISSING):
                raise ScoringError(
                    f"{name} cannot be read on {node()}: its folder is missing or empty. Check "
                    "that its disk is mounted, and run the same command again. To score only the "
                    "files that are there now, give another --output."
                ) from error
            else:
                return ReadFailed(_reason(error))


def stop_on_failures(
    files: Iterable[tuple[ScoringItem, bytes | Rejected]],
) -> Iterator[tuple[ScoringItem, bytes | Rejected]]:
    """Pass files on in order, but stop if too many in a row could not be read.

    Failed files are held back until another file can be read. So a failing disk or store stops
    the job before its files are recorded as unreadable, and a rerun scores them.

    Raises:
        ScoringError: if more than `MAX_FAILURES` files in a row, or all files, could not be read.
    """
    held: list[tuple[ScoringItem, ReadFailed]] = []
    any_read = False
    for item, content in files:
        if isinstance(content, ReadFailed):
            held.append((item, content))
            if len(held) > MAX_FAILURES:
                raise _too_many(held)
        else:
            any_read = True
            yield from held
            held.clear()
            yield item, content
    if held and not any_read:
        raise _too_many(held)
    yield from held


def _too_many(held: list[tuple[ScoringItem, ReadFailed]]) -> ScoringError:
    item, failed = held[-1]
    return ScoringError(
        f"The last {plural(len(held), 'file')} could not be read on {node()}. The latest is "
        f"{item.name}: {failed.reason} Run the same command again when the disk or the store "
        "works. If only these files are damaged, remove them first."
    )


def _reason(error: Exception) -> str:
    if not isinstance(error, OSError | SkyspotterError):
        error = OSError(str(error) or type(error).__name__)
    return sentence(error)
