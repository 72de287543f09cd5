"""List and read files by name: paths on this machine, or URLs such as `s3://bucket/photos`.

Arrow's file systems handle `s3`, `gs`, `hdfs` and `abfs`. Write `fsspec+NAME` for those of
fsspec, such as `fsspec+memory://`. `file:///` is a path on this machine. `%` in a URL's path is
not an escape.
"""

import errno
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from math import inf
from pathlib import Path

from fsspec.utils import glob_translate
from pyarrow.fs import FileSelector, FileSystem, FileType

from ml.errors import ImageError, Rejected, ScoringError
from ml.files import NO_MATCH, find
from ml.images.decode import check_length, read
from ml.images.formats import recognise

MISSING = (FileNotFoundError, NotADirectoryError)  # the errors for a file that does not exist
_CHUNK = 1 << 20  # larger than most photos; a video is refused after its first chunk
_WILDCARD = re.compile(r"[*?\[]")


def absolute(source: str) -> str:
    """Return a path as an absolute path; URLs are unchanged."""
    return source if "://" in source or not source else os.path.abspath(source)


def list_sources(sources: Iterable[str]) -> Iterator[tuple[str, Rejected | None]]:
    """List the files that paths, folders, URLs and patterns name, in order.

    A name that cannot be used is listed with the reason.

    Raises:
        ScoringError: if a store cannot be listed.
    """
    for source in sources:
        path = _local_path(source)
        if path is None:
            yield from _list_url(source)
        else:
            scheme = source.removesuffix(path)  # file://, or nothing
            yield from ((f"{scheme}{found}", rejected) for found, rejected in find([path]))


def fetch(name: str) -> bytes:
    """Read an image file. A file of another kind is refused after its first bytes.

    Raises:
        EmptyImage, UnsupportedFormat: if it is not an image of an accepted format.
        UnreadableImage: if it is larger than `ml.images.decode.MAX_BYTES`.
        OSError: if it cannot be read; fsspec's file systems raise other exceptions too.
    """
    local = _local_path(name)
    if local is not None:
        return read(Path(local))
    files, _, path = _resolve(name)
    with files.open_input_stream(path) as stream:
        start = stream.read(_CHUNK)
        recognise(start)
        data = bytearray(start)
        while chunk := stream.read(_CHUNK):  # some streams return less than requested
            data += chunk
            check_length(len(data))
        return bytes(data)


def is_permanent(error: Exception, name: str) -> bool:
    """Tell whether an error of `fetch` is caused by the file itself, so that a retry is useless.

    An error of a store may be temporary, even "permission denied": credentials expire and are
    renewed. If a local file is missing and its folder is missing or empty, its disk may not be
    mounted.
    """
    path = _local_path(name)
    if isinstance(error, PermissionError):
        return path is not None
    if isinstance(error, MISSING):
        return path is None or _has_entries(os.path.dirname(os.path.realpath(path)))
    if isinstance(error, ImageError | IsADirectoryError):
        return True
    return isinstance(error, OSError) and error.errno in (errno.ELOOP, errno.ENAMETOOLONG)


def _has_entries(folder: str) -> bool:
    """Tell whether a folder exists and is not empty, unlike an unused mount point."""
    try:
        with os.scandir(folder) as inside:
            return any(inside)
    except OSError as error:
        return isinstance(error, PermissionError)  # then it exists, but may not be listed


def _local_path(source: str) -> str | None:
    """Return the path of a file on this machine; None for other URLs."""
    if source.startswith("file:///"):
        return source.removeprefix("file://")
    return None if "://" in source else source


def _resolve(url: str) -> tuple[FileSystem, str, str]:
    """Return a URL's file system, the URL up to its path, and the path in the file system."""
    scheme, _, rest = url.partition("://")
    base = f"{scheme}://{rest.partition('/')[0]}/"
    files, root = _file_system(base)
    return files, base, f"{root}/{url[len(base) :]}".rstrip("/")


@cache
def _file_system(base: str) -> tuple[FileSystem, str]:
    files, root = FileSystem.from_uri(base)
    return files, root.rstrip("/")


def _list_url(url: str) -> Iterator[tuple[str, Rejected | None]]:
    """List a file, the files below a folder, or those that match a pattern."""
    try:
        files, base, path = _resolve(url)
        root = _file_system(base)[1] + "/"
        found = ((base + each.removeprefix(root), None) for each in _match(files, path))
        yield next(found, (url, NO_MATCH))
        yield from found
    except Exception as error:  # fsspec's file systems raise exceptions of any type
        reason = str(error) or type(error).__name__
        raise ScoringError(f"{url} cannot be listed: {reason}") from error


def _match(files: FileSystem, path: str) -> Iterator[str]:
    wildcard = _WILDCARD.search(path)
    kind = files.get_file_info(path).type
    if kind == FileType.File:  # even if its name contains wildcards
        yield path
    elif kind == FileType.Directory:
        yield from _walk(files, path)
    elif wildcard:
        pattern = re.compile(glob_translate(path))
        start = path[: wildcard.start()].rpartition("/")[0]
        deepest = inf if "**" in path else path.count("/")
        yield from filter(pattern.match, _walk(files, start or "/", deepest))


def _walk(files: FileSystem, path: str, deepest: float = inf) -> Iterator[str]:
    """List the files below `path` folder by folder, with one folder at a time in memory.

    Files whose path has more than `deepest` slashes are skipped, and their folders not listed.
    """
    inside = sorted(files.get_file_info(FileSelector(path)), key=lambda info: str(info.path))
    inside = [info for info in inside if not info.base_name.startswith(".")]
    yield from (info.path for info in inside if info.type == FileType.File)
    for info in inside:
        if info.path.rstrip("/") == path.rstrip("/"):  # an object a//b, whose name Arrow loses
            yield f"{path}//"  # cannot be read, so the result has a row with an error
        elif info.type == FileType.Directory and info.path.rstrip("/").count("/") < deepest:
            yield from _walk(files, info.path, deepest)
