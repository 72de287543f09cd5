"""Reading photos by the million: some are bad, and at times a disk, a network or a store is."""

import errno
from collections import deque
from contextlib import suppress
from itertools import islice
from platform import node
from threading import Lock
from time import sleep

from ml.errors import EmptyImage, ImageError, ScoringError
from ml.scoring.sources import GONE, beside, fetch, forget, lasts, place

_WITNESSES = 8  # photos that could be read, to be tried again when another cannot
_PAUSES = (0.5, 2.0, 8.0)  # seconds before each further try to read a photo


class Reader:
    """What reads photos, from many threads at a time, and tells a bad one from a store at fault."""

    def __init__(self) -> None:
        """Begin without a photo that could be read."""
        self._judging = Lock()  # or one thread would see none while another tries the last
        self._witnesses: dict[str | int, deque[str]] = {}  # by the store or disk that they are on
        self._called: set[str] = set()  # those that have been tried again

    def read(self, name: str) -> bytes:
        """Read a photo; where that fails, and may pass, try again a few times.

        Raises:
            ImageError, OSError: what the photo itself is to blame for, as others can be read.
            ScoringError: what a store, a network or a disk is. No photo is written off for them.
        """
        for pause in (*_PAUSES, None):
            try:
                data = fetch(name)
            except MemoryError as error:
                raise ScoringError(
                    f"{node()} is short of memory for {name}: make room there, and run the same "
                    "command again."
                ) from error
            except Exception as error:  # file systems of fsspec raise what they like
                if lasts(error, name):
                    raise
                if pause is None:
                    raise self._verdict(name, error) from error
                sleep(pause)
            else:
                self._of(name).append(name)
                return data
        raise AssertionError

    def _verdict(self, name: str, error: Exception) -> OSError | ScoringError:
        """Blame the photo where another of the same store can be read at this very time."""
        reason = str(error) or type(error).__name__
        way_out = "Run the same command again to go on."
        if isinstance(error, GONE):
            reason += ". Its folder is gone or empty, as where a disk is not mounted"
            way_out = (
                "Bring it back and run the same command again; or give another --output, for which "
                "the photos are listed anew."
            )
        else:
            with self._judging:
                photo_alone = self._others_can_be_read(name, error)
            if photo_alone:
                return error if isinstance(error, OSError) else OSError(reason)
        return ScoringError(f"{name} cannot be read on {node()}: {reason}. {way_out}")

    def _others_can_be_read(self, name: str, error: Exception) -> bool:
        """Try those that could be read before, the latest first; else those that lie beside it."""
        known = self._of(name)
        asked = {*known, *self._called}
        new = (other for other in beside(name) if other not in asked)
        known.extendleft(islice(new, _WITNESSES - len(known)))
        for _ in range(len(known)):
            other = known.pop()
            self._called.add(other)
            try:
                forget(other)
                fetch(other)
            except EmptyImage:  # nothing of it is on the disk
                continue
            except ImageError:  # it is no photo, and could be read
                pass
            except Exception:  # that one cannot be read any more
                continue
            # A dead disk may still hand out what memory keeps of it: there, each counts only once.
            if getattr(error, "errno", None) != errno.EIO:
                known.append(other)
            return True
        return False

    def _of(self, name: str) -> deque[str]:
        """Those known of the photo's store or disk; nobody's where that cannot be looked at."""
        with suppress(OSError):
            return self._witnesses.setdefault(place(name), deque(maxlen=_WITNESSES))
        return deque()
