"""All that a training run depends on, as its `config.json` keeps it."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from ml.dataset import Augment
from ml.errors import DataError
from ml.files import atomic_write
from ml.images.preprocessing import Strategy
from ml.models.card import Split

Wanted = Strategy | Literal["auto"]
STARTS = ("shipped", "imagenet", "none")
"""What `initial` may be beside a file."""


@dataclass(frozen=True)
class Config:
    """The settings of one run."""

    data: Path | None  # None: the synthetic set, drawn into the run folder
    output: Path
    initial: str = "shipped"
    strategy: Wanted = "auto"
    views: int = 1
    size: int = 224  # of the network's input, in pixels a side
    network: Literal["skyspotter", "plain"] = "skyspotter"
    freeze: int = 4  # of the backbone's 19 stages, how many first ones are left as they are
    epochs: int = 20
    batch: int = 32  # of all processes together
    learning_rate: float = 2e-3
    backbone_learning_rate: float = 5e-4
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    augment: Augment = "full"
    mixup: float = 0.2  # parameter of the beta distribution; 0 is none
    averaged_epochs: float = 2.0  # time constant of the EMA
    teacher: Path | None = None  # a model.onnx whose answers are learnt from as well
    others: Path | None = None  # pictures of none of the classes
    split: Split = Split()
    precision: float = 0.99  # share of accepted answers that shall be right
    patience: int = 0  # epochs without a better one before the run ends; 0: it never does
    time_budget: float = 0.0  # minutes from start to report; 0: as long as it takes
    limit_data: int = 0  # photos of a class that are used; 0: all
    workers: int = 1

    def write(self) -> None:
        """Write `config.json` into the run folder."""
        settings = {field.name: self._setting(field.name) for field in fields(self)}
        with atomic_write(self.output / "config.json") as partial:
            stored = TypeAdapter(Config).dump_json(Config(**settings), indent=2)
            partial.write_bytes(stored + b"\n")

    @classmethod
    def read(cls, run: Path) -> "Config":
        """Read a run folder's settings; its output is where it stands now.

        Raises:
            DataError: where it is no run folder.
        """
        try:
            stored = TypeAdapter(cls).validate_json((run / "config.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DataError(f"{run} is no run folder: there is no config.json in it.") from error
        except ValidationError as error:
            raise DataError(f"{run / 'config.json'} cannot be read: start a new run.") from error
        return replace(stored, output=run)

    def agree(self, asked: "Config", names: Iterable[str]) -> None:
        """Check that what is asked for by name is what the run was started with.

        Raises:
            DataError: where it is not; a run keeps its settings to the end.
        """
        for name in names:
            was, wanted = self._setting(name), asked._setting(name)
            if was != wanted and wanted != "auto":  # a strategy is stored as it was chosen
                raise DataError(
                    f"{self.output} was started with {name.replace('_', '-')} {was}, not {wanted}: "
                    "leave the option out to go on, or start a new run."
                )

    def is_that_of(self, run: Path) -> bool:
        """Whether a run folder was started with all these settings."""
        try:
            Config.read(run).agree(self, (field.name for field in fields(self)))
        except DataError:
            return False
        return True

    def _setting(self, name: str) -> Any:
        """A setting as it is meant from wherever the command is given."""
        value = getattr(self.split if name in Split.model_fields else self, name)
        if name == "initial" and value not in STARTS:
            return str(Path(value).resolve())
        return value.resolve() if isinstance(value, Path) else value
