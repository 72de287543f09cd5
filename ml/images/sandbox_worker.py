"""The child process of `ml/images/sandbox.py`: decodes one image file after the other with Pillow.

A request is a `REQUEST` and the file. A response is a line of JSON and, if decoding succeeded, the
pixels. For each file the process limits its own CPU time and memory, so that the kernel stops it if
the file exceeds the limits for its size.
"""

import json
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from PIL import AvifImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401, not later

from ml.errors import ImageError
from ml.images.pillow import decode_with_pillow
from ml.images.sandbox import OUT_OF_MEMORY, REQUEST

# The CPU time for a file, twice what a photo takes: the sum of these three. It is more if this
# process started slowly, because the machine is then slow. Before the header is read, only file
# bytes count.
SECONDS = 0.3
SECONDS_PER_MEGABYTE = 0.02
SECONDS_PER_MEGAPIXEL = {"AVIF": 0.035, "TIFF": 0.03}
DEFAULT_SECONDS_PER_MEGAPIXEL = 0.016
USUAL_START = 0.2  # CPU seconds that this process takes to start on a usual machine

# The memory for a file, besides its own bytes.
SPARE_BYTES = 48 << 20
ALLOWED_BYTES_PER_PIXEL = {"WebP": 18, "AVIF": 16, "TIFF": 12, "JPEG": 16}
DEFAULT_BYTES_PER_PIXEL = 8


def main() -> None:
    """Answer requests on standard input until it is closed."""
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)  # the parent decides: it may still need a response
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # more threads need more memory
    slowness = max(1.0, time.process_time() / USUAL_START)
    requests, responses = sys.stdin.buffer, sys.stdout.buffer
    while head := requests.read(REQUEST.size):
        format, max_pixels, needed_side, length = REQUEST.unpack(head)
        data = requests.read(length)
        if len(data) < length:
            return
        pixels, response = _decode(
            data, format.rstrip(b"\0").decode(), max_pixels, needed_side or None, slowness
        )
        responses.write(json.dumps(response).encode() + b"\n")
        responses.write(pixels)
        responses.flush()
        del data, pixels


def _decode(
    data: bytes, format: str, max_pixels: int, needed_side: int | None, slowness: float
) -> tuple[Any, dict[str, Any]]:
    limit = partial(_limit, format, len(data), slowness)
    try:
        limit(0, 0)
        photo = decode_with_pillow(data, format, max_pixels, needed_side, limit)
    except ImageError as error:
        return b"", {"error": type(error).__name__, "message": str(error)}
    except MemoryError:
        os._exit(OUT_OF_MEMORY)  # there may be too little to go on
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        _limit_memory(None)
    return photo.pixels.data, {"shape": photo.pixels.shape, "info": vars(photo.info)}


def _limit(format: str, length: int, slowness: float, width: int, height: int) -> None:
    """Limit reading the header, or decoding an image of the size in its header."""
    pixels = width * height
    seconds = SECONDS + SECONDS_PER_MEGABYTE * length / 1e6
    per_megapixel = SECONDS_PER_MEGAPIXEL.get(format, DEFAULT_SECONDS_PER_MEGAPIXEL)
    seconds += per_megapixel * pixels / 1e6
    signal.setitimer(signal.ITIMER_PROF, seconds * slowness)  # SIGPROF ends the process
    per_pixel = ALLOWED_BYTES_PER_PIXEL.get(format, DEFAULT_BYTES_PER_PIXEL)
    _limit_memory(SPARE_BYTES + 2 * length + pixels * per_pixel)


def _limit_memory(more: int | None) -> None:
    """Limit the address space to what is in use now and `more` bytes; None: no limit."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = hard
    if more is not None:
        try:
            used = Path("/proc/self/statm").read_text().split()[0]
        except OSError:  # macOS, which does not enforce this limit either
            return
        limit = int(used) * resource.getpagesize() + more
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
