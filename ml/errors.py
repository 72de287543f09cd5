"""All exceptions that Skyspotter raises.

SkyspotterError
├── ImageError              an image file that cannot be decoded
│   ├── EmptyImage          no bytes
│   ├── UnsupportedFormat   not an image, or a format that is not accepted
│   ├── UnreadableImage     an accepted format, but damaged or cut off
│   └── TooManyPixels       more pixels than the limit, according to the header
├── DataError               an image folder that cannot be used for training or evaluation
├── ModelError              a model file that is missing, damaged or not a Skyspotter model
├── ExportError             an exported model whose results differ from PyTorch's
└── ScoringError            a scoring job that cannot start or continue

Each message is one or two sentences for the person who caused the error: what is wrong and what
to do. HTTP clients see the messages of ImageError, so they never contain a path of the server.
"""

from collections.abc import Iterable
from dataclasses import dataclass


class SkyspotterError(Exception):
    """Base class of all Skyspotter exceptions."""


class ImageError(SkyspotterError):
    """The image file cannot be decoded."""


class EmptyImage(ImageError):
    """The file has no bytes."""


class UnsupportedFormat(ImageError):
    """The file is not an image, or its format is not accepted."""


class UnreadableImage(ImageError):
    """The format is accepted, but the file is damaged or cut off."""


class TooManyPixels(ImageError):
    """The image has more pixels than the limit."""


class DataError(SkyspotterError):
    """The image folder cannot be used for training or evaluation."""


class ModelError(SkyspotterError):
    """The model file is missing, damaged or not a Skyspotter model."""


class ExportError(SkyspotterError):
    """The exported model gives other results than PyTorch."""


class ScoringError(SkyspotterError):
    """The scoring job cannot start or continue."""


@dataclass(frozen=True)
class Rejected:
    """An item that cannot be used, and why; returned if one bad item must not stop the others."""

    reason: str


def sentence(error: OSError | SkyspotterError) -> str:
    """Return one sentence, without the path, that says why a file cannot be used."""
    if isinstance(error, SkyspotterError):
        return str(error)
    return f"The file cannot be read: {error.strerror or str(error) or type(error).__name__}."


def listing(names: Iterable[str], most: int = 10) -> str:
    """List the first names and the number of the others."""
    shown = list(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def plural(count: int, noun: str) -> str:
    """Count things: "1 file", "2 files"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
