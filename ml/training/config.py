"""The settings of a training run: one declaration for `train`'s options and `config.json`.

A field with a description is an option of `train` (see `ml/cli/options.py`). This module does
not import torch, so that help and the run folder's reader are fast.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field, model_validator

from ml.errors import DataError
from ml.files import atomic_write
from ml.images.preprocessing import Strategy
from ml.models.card import Split

StrategyChoice = Literal["auto", Strategy]
INITIAL_PRESETS = ("shipped", "imagenet", "none")
"""The values of `initial` that are not files."""


def _option(default: Any, text: str, **constraints: Any) -> Any:
    return Field(default, description=text, **constraints)


class Config(BaseModel):
    """The settings of one run. An alias is the field's key in `config.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    data: Path | None = _option(None, "Image folder. Without one, a synthetic set is drawn.")
    output: Path = _option(Path("runs/latest"), "Run folder to write.")
    initial: str = _option(
        "shipped", "Initial parameters: shipped, imagenet, none or a safetensors file."
    )
    strategy: StrategyChoice = _option(
        "auto", "native: pixels as they are. shorter-side: resize that side. auto: by photo sizes."
    )
    grid: int = _option(1, "Predictions are averaged over N x N crops.", ge=1, le=5, alias="views")
    size: int = _option(224, "Side of the network's input in pixels.", ge=32, le=1024)
    augment: Literal["full", "crops"] = _option(
        "full", "Augmentation. crops: crop and flip only. full: colours, shapes and erasing too."
    )
    mixup: float = _option(0.2, "Mixup: parameter of the beta distribution (0: no mixup).", ge=0)
    label_smoothing: float = _option(0.1, "Label smoothing.", ge=0, le=0.5)
    averaged_epochs: float = _option(2.0, "Epochs averaged by the parameters' EMA (0: off).", ge=0)
    epochs: int = _option(20, "Number of epochs.", ge=1)
    batch: int = _option(32, "Batch size, over all processes.", ge=2)
    seed: int = _option(0, "Seed of the split, photo order and augmentation.", ge=0, exclude=True)
    test: float = _option(
        0.3, "Test fraction, if the folder has no split of its own.", ge=0, le=0.99, exclude=True
    )
    validation: float = _option(
        0.15, "Validation fraction of the non-test photos.", ge=0, le=0.99, exclude=True
    )
    target_precision: float = _option(
        0.99, "Target accuracy of accepted predictions.", ge=0.5, le=0.9999, alias="precision"
    )
    network: Literal["skyspotter", "plain"] = _option(
        "skyspotter", "Network. plain is MobileNetV2 with a linear head, for comparison."
    )
    freeze: int = _option(4, "Backbone stages to freeze, from the first of 19.", ge=0, le=19)
    teacher: Path | None = _option(None, "model.onnx to distil from, with the same classes.")
    ood: Path | None = _option(
        None, "Out-of-distribution pictures, which the model learns to reject.", alias="others"
    )
    patience: int = _option(0, "Early stopping after N epochs without improvement (0: off).", ge=0)
    time_budget: float = _option(0.0, "Total time limit in minutes (0: no limit).", ge=0)
    limit_data: int = _option(0, "Maximum photos per class and split, for trials (0: all).", ge=0)
    workers: int = _option(1, "Loading processes (0: load in the main process).", ge=0)
    learning_rate: float = 2e-3
    backbone_learning_rate: float = 5e-4
    weight_decay: float = 0.05

    @computed_field  # type: ignore[prop-decorator]
    @property
    def split(self) -> Split:
        """The split of a folder without one of its own; one key in `config.json`."""
        return Split(seed=self.seed, test=self.test, validation=self.validation)

    @model_validator(mode="before")
    @classmethod
    def _flatten_split(cls, given: Any) -> Any:
        if isinstance(given, dict) and "split" in given:
            others = {name: value for name, value in given.items() if name != "split"}
            return Split.model_validate(given["split"]).model_dump() | others
        return given

    def write(self) -> None:
        """Write `config.json` into the run folder, with absolute paths."""
        absolute = {name: self._setting(name) for name in Config.model_fields}
        stored = self.model_copy(update=absolute).model_dump_json(by_alias=True, indent=2)
        with atomic_write(self.output / "config.json") as partial:
            partial.write_text(stored + "\n", encoding="utf-8")

    @classmethod
    def read(cls, run: Path) -> Self:
        """Read a run folder's settings, with its present path; raise DataError if it is none."""
        try:
            stored = cls.model_validate_json((run / "config.json").read_bytes(), extra="ignore")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DataError(f"{run} is not a run folder: it has no config.json.") from error
        except ValidationError as error:
            raise DataError(f"{run / 'config.json'} cannot be read: start a new run.") from error
        return stored.model_copy(update={"output": run})

    def check_same(self, other: "Config", names: Iterable[str]) -> None:
        """Raise DataError if `other` has another value for one of the named settings."""
        for name in names:
            own, wanted = self._setting(name), other._setting(name)
            if own != wanted and wanted != "auto":  # for auto, config.json holds the choice
                raise DataError(
                    f"{self.output} was started with {name.replace('_', '-')} {own}, not {wanted}: "
                    "omit the option to resume, or start a new run."
                )

    def matches_run(self, run: Path) -> bool:
        """Whether a run folder has all these settings."""
        try:
            Config.read(run).check_same(self, Config.model_fields)
        except DataError:
            return False
        return True

    def _setting(self, name: str) -> Any:
        """Return a setting's value, with paths made absolute."""
        value = getattr(self, name)
        if name == "initial" and value not in INITIAL_PRESETS:
            return str(Path(value).resolve())
        return value.resolve() if isinstance(value, Path) else value
