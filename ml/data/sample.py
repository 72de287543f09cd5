"""A file of an image folder: a sample that is used, or a dropped file with the reason."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """A photo that is used. `split` is empty until the folder is split."""

    path: Path
    label: str
    split: str = ""
    group: str = ""
    size: tuple[int, int] = (0, 0)
    format: str = ""
    columns: dict[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Dropped:
    """A file that is not used, and why; `label` is the class whose folder it is in."""

    path: Path
    reason: str
    label: str = ""
