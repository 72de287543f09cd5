"""Photos by name: paths of this machine, or URLs such as `s3://bucket/photos`.

Arrow's file systems know `s3`, `gs`, `hdfs` and `abfs`; what fsspec knows besides is
`fsspec+NAME`, such as `fsspec+memory://`; `file:///` is a path of this machine. A URL's path is
taken as it is, without `%` escapes.
"""

import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from math import inf
from pathlib import Path

from fsspec.utils import glob_translate
from pyarrow.fs import FileSelector, FileSystem, FileType

from ml.errors import ImageError, ScoringError
from ml.files import find
from ml.images.decode import check_length, read
from ml.images.formats import recognise

Named = tuple[str, str]  # a path or URL, and why it cannot be used, or nothing

GONE = (FileNotFoundError, NotADirectoryError)
"""What reading a file that is no longer there raises."""

_CHUNK = 1 << 20  # most photos come with the first one; a film is refused by it
_PATTERN = re.compile(r"[*?\[]")


def one_name(name: str) -> str:
    """Return the one name of a file that is written as a path or as a URL of this machine."""
    return _path(name) or name


def absolute(source: str) -> str:
    """Return a source's name for anybody who stands elsewhere."""
    return source if _is_url(source) or not source else os.path.abspath(source)


def names(sources: Iterable[str]) -> Iterator[Named]:
    """The files that paths, folders, URLs and patterns stand for, in order.

    Raises:
        ScoringError: where a store cannot be reached.
    """
    for source in sources:
        path = _path(source)
        if path is None:
            yield from _found(source)
        else:
            scheme = source.removesuffix(path)
            yield from ((f"{scheme}{found}", fault) for found, fault in find([path]))


def fetch(name: str) -> bytes:
    """Read a photo; what does not begin like one is left where it is.

    Raises:
        EmptyImage, UnsupportedFormat, OSError, and what file systems of fsspec raise
        UnreadableImage: where it is far too large.
    """
    local = _path(name)
    if local is not None:
        return read(Path(local))
    files, _, path = _opened(name)
    with files.open_input_stream(path) as stream:
        start = stream.read(_CHUNK)
        recognise(start)
        data = bytearray(start)
        while chunk := stream.read(_CHUNK):  # some streams give less than they are asked for
            data += chunk
            check_length(len(data))
        return bytes(data)


def lasts(error: Exception, name: str) -> bool:
    """Say whether what `fetch` raised is the photo's own fault.

    A store's faults pass, and few of them have a number. Its refusals too: keys expire. And a file
    that is gone with all of its folder is on a disk that is not mounted.
    """
    path = _path(name)
    if isinstance(error, PermissionError):
        return path is not None
    if isinstance(error, GONE):
        return path is None or _holds_something(os.path.dirname(os.path.realpath(path)))
    number = getattr(error, "errno", None)
    own = (ImageError, IsADirectoryError)
    return isinstance(error, own) or number in (errno.ELOOP, errno.ENAMETOOLONG)


def place(name: str) -> str | int:
    """Return the store or the disk that a photo is on, and not a link to it.

    Raises:
        OSError: where neither the photo nor its folder can be looked at.
    """
    path = _path(name)
    if path is None:
        return _base(name)
    with suppress(OSError):
        return os.stat(path).st_dev
    return os.stat(os.path.dirname(os.path.realpath(path))).st_dev


def beside(name: str) -> Iterator[str]:
    """The files in a photo's folder and on its disk, as far as they can be listed; no store's."""
    path = _path(name)
    if path is not None:
        with suppress(OSError), os.scandir(os.path.dirname(path)) as inside:
            disk = place(path)
            for entry in inside:
                with suppress(OSError):  # of this one alone
                    if entry.path != path and entry.is_file() and place(entry.path) == disk:
                        yield entry.path


def forget(name: str) -> None:
    """Have a file of this machine read from its disk again, and not from memory.

    Raises:
        OSError
    """
    path = _path(name)
    if path is not None and hasattr(os, "posix_fadvise"):
        with open(path, "rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _holds_something(folder: str) -> bool:
    """Say whether a folder is there and not empty, as one is where a disk should be mounted."""
    try:
        with os.scandir(folder) as inside:
            return any(inside)
    except PermissionError:  # to list it; it is there
        return True
    except OSError:
        return False


def _path(source: str) -> str | None:
    """The path of what is on this machine."""
    if source.startswith("file:///"):
        return source.removeprefix("file://")
    return None if _is_url(source) else source


def _is_url(source: str) -> bool:
    return "://" in source


def _opened(url: str) -> tuple[FileSystem, str, str]:
    """A URL's file system, what the URL has before its path, and the path in the file system."""
    base = _base(url)
    files, root = _file_system(base)
    return files, base, f"{root}/{url[len(base) :]}".rstrip("/")


def _base(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/"


@cache
def _file_system(base: str) -> tuple[FileSystem, str]:
    files, root = FileSystem.from_uri(base)
    return files, root.rstrip("/")


def _found(url: str) -> Iterator[Named]:
    """What a URL stands for: a file, all below a folder, or what matches a pattern."""
    nothing = "There is no such file, and nothing matches it as a pattern."
    try:
        files, base, path = _opened(url)
        root = _file_system(base)[1] + "/"
        found = ((base + each.removeprefix(root), "") for each in _matches(files, path))
        yield next(found, (url, nothing))
        yield from found
    except Exception as error:  # file systems of fsspec raise what they like
        reason = str(error) or type(error).__name__
        raise ScoringError(f"{url} cannot be listed: {reason}") from error


def _matches(files: FileSystem, path: str) -> Iterator[str]:
    magic = _PATTERN.search(path)
    kind = files.get_file_info(path).type
    if kind == FileType.File:  # a file of that name before a pattern
        yield path
    elif kind == FileType.Directory:
        yield from _walk(files, path)
    elif magic:
        pattern = re.compile(glob_translate(path))
        start = path[: magic.start()].rpartition("/")[0]
        deepest = inf if "**" in path else path.count("/")
        yield from filter(pattern.match, _walk(files, start or "/", deepest))


def _walk(files: FileSystem, path: str, deepest: float = inf) -> Iterator[str]:
    """The files below `path`, or itself, folder by folder: memory holds one folder at a time.

    Those whose path has more than `deepest` slashes are left out, and their folders not listed.
    """
    inside = sorted(files.get_file_info(FileSelector(path)), key=lambda info: str(info.path))
    inside = [info for info in inside if not info.base_name.startswith(".")]
    yield from (info.path for info in inside if info.type == FileType.File)
    for info in inside:
        if info.path.rstrip("/") == path.rstrip("/"):  # of an object a//b, whose name Arrow loses
            yield f"{path}//"  # so that it is not passed over: it will be an error
        elif info.type == FileType.Directory and info.path.rstrip("/").count("/") < deepest:
            yield from _walk(files, info.path, deepest)
