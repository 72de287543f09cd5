"""Decode in child processes with limits on CPU time and memory.

A thread that runs a decoder written in C cannot be stopped, so a request that has timed out would
leave the thread and its memory behind. Every file except the usual JPEG is therefore decoded in a
child process (`ml/images/sandbox_worker.py`), which the kernel stops if the file exceeds the
limits for its size. A child is started when it is first needed and used again, so there are at most
as many as threads that decode. Without the `resource` module (Windows) there are no limits.
"""

import atexit
import json
import os
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from io import BufferedReader, BufferedWriter
from pathlib import Path

import numpy as np

from ml import errors
from ml.errors import ImageError, UnreadableImage
from ml.images.photo import ImageInfo, Photo

REQUEST = struct.Struct("!16sQQQ")
"""Format, `max_pixels`, `needed_side` (0: full size), and the length of the file that follows."""

OUT_OF_MEMORY = 99
"""Exit status of a child that reached its memory limit."""

_ENDED_BY_THE_FILE = {OUT_OF_MEMORY} | {
    -getattr(signal, name, 0) for name in ("SIGPROF", "SIGSEGV", "SIGABRT", "SIGBUS")
}
"""Exit statuses of a child that mean that the file was at fault."""

_ROOT = str(Path(__file__).resolve().parents[2])
_CODE = """import sys; sys.path[:] = sys.argv[1:]
from ml.images.sandbox_worker import main; main()"""
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # The GNU C library returns the memory of a large photo at once, but not that of a usual one.
    "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
}
_KEPT_PREFIXES = ("LD_", "DYLD_", "PYTHON")  # no API keys, in case a file exploits a decoder


class _Child:
    """A process that decodes one file at a time."""

    def __init__(self) -> None:
        kept = {key: text for key, text in os.environ.items() if key.startswith(_KEPT_PREFIXES)}
        self.process = subprocess.Popen(
            [sys.executable, "-SWignore", "-c", _CODE, *sys.path, _ROOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=kept | _ENVIRONMENT,
            process_group=0,  # Ctrl-C reaches the parent alone
        )
        assert isinstance(self.process.stdin, BufferedWriter)
        assert isinstance(self.process.stdout, BufferedReader)
        self._requests, self._responses = self.process.stdin, self.process.stdout
        with suppress(ImportError, AttributeError, OSError):  # Linux: fewer switches per photo
            import fcntl

            for pipe in (self._requests, self._responses):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)

    def decode(
        self, data: bytes, format: str, max_pixels: int, needed_side: int | None
    ) -> Photo | ImageError:
        """Decode a file, or return why it cannot be decoded.

        Raises:
            EOFError: if the process ends instead.
        """
        try:
            head = REQUEST.pack(format.encode(), max_pixels, needed_side or 0, len(data))
            self._requests.write(head)
            self._requests.write(data)
            self._requests.flush()
        except BrokenPipeError as error:
            raise EOFError from error
        line = self._responses.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        response = json.loads(line)
        if "error" in response:
            refusal: ImageError = getattr(errors, response["error"])(response["message"])
            return refusal
        pixels = np.empty(response["shape"], np.uint8)
        if self._responses.readinto(pixels.reshape(-1).data) < pixels.nbytes:
            raise EOFError
        return Photo(pixels, ImageInfo(**response["info"]))

    def end(self) -> int:
        """End the process and return its exit status."""
        for pipe in (self._requests, self._responses):
            with suppress(OSError):
                pipe.close()
        try:
            return self.process.wait(1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def release(self) -> None:
        """Close the pipes in a forked copy of the parent."""
        self.process.returncode = 0  # not to be waited for
        self._requests.raw.close()
        self._responses.close()


_idle: list[_Child] = []  # `append` and `pop` are atomic


def end_idle() -> None:
    """End all children that are idle."""
    while _idle:
        _idle.pop().end()


def _release_idle() -> None:
    while _idle:
        _idle.pop().release()


atexit.register(end_idle)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_idle)


def decode_in_sandbox(data: bytes, format: str, max_pixels: int, needed_side: int | None) -> Photo:
    """Decode an image file in a child process.

    Raises:
        UnreadableImage, TooManyPixels: also if the file exceeds a limit.
        MemoryError: if the child was killed, as the kernel does if the machine lacks memory.
    """
    if find_spec("resource") is None:
        from ml.images.pillow import decode_with_pillow

        return decode_with_pillow(data, format, max_pixels, needed_side)
    child = _take()
    try:
        result = child.decode(data, format, max_pixels, needed_side)
    except BaseException as error:
        status = child.end()
        if not isinstance(error, EOFError):
            raise
        if status == -signal.SIGKILL:
            raise MemoryError("A decoding process was killed.") from error
        if status not in _ENDED_BY_THE_FILE:
            raise RuntimeError(f"A decoding process ended with status {status}.") from error
        raise UnreadableImage(
            f"This {format} file takes more time or memory to decode than a file of its size may. "
            "Save the photo as an ordinary JPEG and send that."
        ) from error
    _idle.append(child)
    if isinstance(result, ImageError):
        raise result
    return result


def _take() -> _Child:
    """Return an idle child, or a new one; children that were killed while idle are skipped."""
    with suppress(IndexError):
        while (child := _idle.pop()).process.poll() is not None:
            child.end()
        return child
    try:
        return _Child()
    except OSError as error:  # not the file's fault: too many open files or processes
        raise RuntimeError("A decoding process could not be started.") from error
