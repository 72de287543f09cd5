"""Everything that Skyspotter itself raises, as one tree.

SkyspotterError
├── ImageError              the bytes that were sent cannot be turned into pixels
│   ├── EmptyImage          there are no bytes at all
│   ├── UnsupportedFormat   not an image, or an image of a format that is not accepted
│   ├── UnreadableImage     an accepted format, yet damaged or cut off
│   └── TooManyPixels       a picture larger than the limit, known from its header alone
├── DataError               an image folder that cannot be trained or measured on
├── ModelError              a model file that is missing, damaged or of another kind
├── ExportError             an exported model that does not agree with the network it came from
└── ScoringError            a scoring job that cannot begin, or cannot go on

Each message is one or two sentences for the person who caused the error: what is wrong and
what to do about it. Those of ImageError reach HTTP callers, so they name no path of the server.
"""

from collections.abc import Iterable
from dataclasses import dataclass


class SkyspotterError(Exception):
    """Base of all; useful for one `except` around a call."""


class ImageError(SkyspotterError):
    """The bytes cannot be turned into pixels."""


class EmptyImage(ImageError):
    """There are no bytes at all."""


class UnsupportedFormat(ImageError):
    """Not an image, or an image of a format that is not accepted."""


class UnreadableImage(ImageError):
    """An image of an accepted format that is damaged or cut off."""


class TooManyPixels(ImageError):
    """An image larger than the limit."""


class DataError(SkyspotterError):
    """An image folder that cannot be trained or measured on."""


class ModelError(SkyspotterError):
    """A model file that is missing, damaged or of another kind."""


class ExportError(SkyspotterError):
    """An exported model that does not agree with the network it came from."""


class ScoringError(SkyspotterError):
    """A scoring job that cannot begin, or cannot go on."""


@dataclass(frozen=True)
class Rejected:
    """What cannot be used, and why: returned where one bad item must not stop the others."""

    reason: str


def sentence(error: OSError | SkyspotterError) -> str:
    """Say in one sentence why a file cannot be used, without its path."""
    if isinstance(error, SkyspotterError):
        return str(error)
    return f"The file cannot be read: {error.strerror or str(error) or type(error).__name__}."


def listing(names: Iterable[str], most: int = 10) -> str:
    """Name the first few, and say how many more there are."""
    shown = list(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def plural(count: int, noun: str) -> str:
    """Count things: "1 file", "2 files"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
