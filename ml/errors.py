"""All exceptions that Skyspotter raises, and helpers for their messages.

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
    """The image has more pixels than the limit, according to its header."""


class DataError(SkyspotterError):
    """The image folder cannot be used for training or evaluation."""


class ModelError(SkyspotterError):
    """The model file is missing, damaged or not a Skyspotter model."""


class ExportError(SkyspotterError):
    """The exported model gives results that differ from PyTorch's."""


class ScoringError(SkyspotterError):
    """The scoring job cannot start or continue."""


@dataclass(frozen=True)
class Rejected:
    """Why a file or a step is skipped; returned, not raised, so that the others go on."""

    reason: str


def sentence(error: OSError | SkyspotterError) -> str:
    """Return one sentence, without the path, that says why a file cannot be used."""
    if isinstance(error, SkyspotterError):
        return str(error)
    return f"The file cannot be read: {error.strerror or str(error) or type(error).__name__}."


def listing(names: Iterable[str], most: int = 10) -> str:
    """List the first names, then the number of the others: "a, b and 5 more"."""
    shown = list(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def plural(count: int, noun: str) -> str:
    """Return a number and its noun: "1 file", "2 files"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
