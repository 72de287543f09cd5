"""Photos by name: paths of this machine, or URLs such as `s3://bucket/photos`.

Arrow's file systems know `s3`, `gs`, `hdfs`, `abfs` and `file`; what fsspec knows besides is
`fsspec+NAME`, such as `fsspec+memory://`. A URL's path is taken as it is, without `%` escapes.
"""

import errno
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pyarrow as pa
from fsspec.utils import glob_translate
from pyarrow.fs import FileSelector, FileSystem, FileType

from ml.errors import ImageError, ScoringError
from ml.files import find
from ml.formats import recognise
from ml.image import read

Named = tuple[str, str]  # a path or URL, and why it cannot be used, or nothing

_CHUNK = 1 << 20  # most photos come with the first one; a film is refused by it
_PATTERN = re.compile(r"[*?\[]")


def absolute(source: str) -> str:
    """Return a source's name for anybody who stands elsewhere."""
    return source if _is_url(source) or not source else os.path.abspath(source)


def names(sources: Iterable[str]) -> Iterator[Named]:
    """The files that paths, folders, URLs and patterns stand for, in order.

    Raises:
        ScoringError: where a store cannot be reached.
    """
    for source in sources:
        if _is_url(source):
            yield from _found(source)
        else:
            yield from ((str(path), fault) for path, fault in find([source]))


def fetch(name: str) -> bytes:
    """Read a photo; what does not begin like one is left where it is.

    Raises:
        EmptyImage, UnsupportedFormat, OSError, and what file systems of fsspec raise
    """
    if not _is_url(name):
        return read(Path(name))
    files, _, path = _opened(name)
    with files.open_input_stream(path) as stream:
        start = stream.read(_CHUNK)
        recognise(start)
        return bytes(start + stream.read())


def lasts(error: Exception, name: str) -> bool:
    """Say whether what `fetch` raised is the photo's own fault.

    A store's faults pass, and few of them have a number. Its refusals too: keys expire.
    """
    if isinstance(error, PermissionError):
        return not _is_url(name)
    own = (ImageError, FileNotFoundError, IsADirectoryError, NotADirectoryError)
    number = getattr(error, "errno", None)
    return isinstance(error, own) or number in (errno.ELOOP, errno.ENAMETOOLONG)


def _is_url(source: str) -> bool:
    return "://" in source


def _opened(url: str) -> tuple[FileSystem, str, str]:
    """A URL's file system, what the URL has before its path, and the path in the file system."""
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    files, root = _file_system(f"{scheme}://{host}/")
    return files, f"{scheme}://{host}/", f"{root}/{path}".rstrip("/")


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
    except (pa.ArrowException, OSError, ImportError, ValueError) as error:
        raise ScoringError(f"{url} cannot be listed: {error}") from error


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
        yield from filter(pattern.match, _walk(files, start or "/"))


def _walk(files: FileSystem, path: str) -> Iterator[str]:
    """The files below `path`, or itself, folder by folder: memory holds one folder at a time."""
    inside = sorted(files.get_file_info(FileSelector(path)), key=lambda info: str(info.path))
    inside = [info for info in inside if not info.base_name.startswith(".")]
    yield from (info.path for info in inside if info.type == FileType.File)
    for info in inside:
        if info.path.rstrip("/") == path.rstrip("/"):  # of an object a//b, whose name Arrow loses
            yield f"{path}//"  # so that it is not passed over: it will be an error
        elif info.type == FileType.Directory:
            yield from _walk(files, info.path)
