"""One file of an image folder: kept as a sample, or left out with a reason."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One photo that is kept. `split` is empty until the folder is split."""

    path: Path
    label: str
    split: str = ""
    group: str = ""
    size: tuple[int, int] = (0, 0)
    format: str = ""
    columns: dict[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Dropped:
    """One file that is left out, and why; `label` is the class whose folder it lies in."""

    path: Path
    reason: str
    label: str = ""
