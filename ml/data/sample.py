"""A file of an image folder: a sample that is used, or a dropped file with the reason."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """A photo that is used."""

    path: Path
    label: str
    split: str = ""  # empty until the folder is split
    group: str = ""  # photos of one group are in the same split
    size: tuple[int, int] = (0, 0)  # width and height in pixels
    format: str = ""
    columns: dict[str, str] = field(default_factory=dict, hash=False)  # its row of index.csv


@dataclass(frozen=True)
class Dropped:
    """A file that is not used, and why; `label` is the class whose folder it is in."""

    path: Path
    reason: str
    label: str = ""
