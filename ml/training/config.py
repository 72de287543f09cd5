"""The settings of a training run: one declaration for `train`'s options and `config.json`.

A field with a description is an option of `train` (see `ml/cli/options.py`). This module does
not import torch, so that help and the run folder's reader are fast.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field, model_validator

from ml.errors import DataError
from ml.files import atomic_write
from ml.images.preprocessing import Strategy
from ml.models.card import Split

StrategyChoice = Strategy | Literal["auto"]
STARTS = ("shipped", "imagenet", "none")
"""The values of `initial` that are not files."""


def _option(text: str, **bounds: Any) -> Any:
    return Field(description=text, **bounds)


class Config(BaseModel):
    """The settings of one run. An alias is the key in `config.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    data: Annotated[
        Path | None,
        _option("Image folder. Without one, a synthetic set is drawn into the run folder."),
    ] = None
    output: Annotated[Path, _option("Run folder to write.")] = Path("runs/latest")
    initial: Annotated[
        str, _option("Initial parameters: shipped, imagenet, none or a safetensors file.")
    ] = "shipped"
    strategy: Annotated[
        Literal["auto", "native", "shorter-side"],
        _option("Resizing strategy. auto chooses it from the sizes of the photos."),
    ] = "auto"
    grid: Annotated[
        int, _option("Crops on each side of the grid that is averaged in serving.", ge=1, le=5)
    ] = Field(default=1, alias="views")
    size: Annotated[int, _option("Side of the network's input in pixels.", ge=32, le=1024)] = 224
    augment: Annotated[
        Literal["full", "crops"],
        _option("Augmentation: crops and flips only, or full with colours, shapes and erasing."),
    ] = "full"
    mixup: Annotated[
        float, _option("Mixup: parameter of the beta distribution (0: no mixup).", ge=0)
    ] = 0.2
    label_smoothing: Annotated[float, _option("Label smoothing.", ge=0, le=0.5)] = 0.1
    averaged_epochs: Annotated[
        float, _option("Epochs over which parameters are averaged by EMA (0: no average).", ge=0)
    ] = 2.0
    epochs: Annotated[int, _option("Number of epochs.", ge=1)] = 20
    batch: Annotated[int, _option("Batch size, over all processes.", ge=2)] = 32
    seed: Annotated[
        int, _option("Seed of the split, the order of photos and the augmentation.", ge=0)
    ] = Field(default=0, exclude=True)
    test: Annotated[
        float, _option("Test fraction, if the folder has no split of its own.", ge=0, le=0.99)
    ] = Field(default=0.3, exclude=True)
    validation: Annotated[
        float, _option("Validation fraction of the photos that are not test photos.", ge=0, le=0.99)
    ] = Field(default=0.15, exclude=True)
    target_precision: Annotated[
        float,
        _option("Fraction of accepted predictions that should be correct.", ge=0.5, le=0.9999),
    ] = Field(default=0.99, alias="precision")
    network: Annotated[
        Literal["skyspotter", "plain"],
        _option("Network. plain is MobileNetV2 with a linear head, for comparison."),
    ] = "skyspotter"
    freeze: Annotated[
        int, _option("Number of the backbone's 19 stages, from the first, to freeze.", ge=0, le=19)
    ] = 4
    teacher: Annotated[Path | None, _option("model.onnx of the same classes to distil from.")] = (
        None
    )
    ood: Annotated[
        Path | None, _option("Out-of-distribution pictures, which the model learns to reject.")
    ] = Field(default=None, alias="others")
    patience: Annotated[
        int, _option("Early stopping: epochs without a better one (0: off).", ge=0)
    ] = 0
    time_budget: Annotated[float, _option("Total time limit in minutes (0: no limit).", ge=0)] = 0.0
    limit_data: Annotated[
        int, _option("Photos to use of each class and split, for a trial run (0: all).", ge=0)
    ] = 0
    workers: Annotated[int, _option("Loading processes (0: load in the main process).", ge=0)] = 1
    learning_rate: float = 2e-3
    backbone_learning_rate: float = 5e-4
    weight_decay: float = 0.05

    @computed_field  # type: ignore[prop-decorator]
    @property
    def split(self) -> Split:
        """How a folder without a split of its own is divided; `config.json` keeps it as one key."""
        return Split(seed=self.seed, test=self.test, validation=self.validation)

    @model_validator(mode="before")
    @classmethod
    def _flatten_split(cls, given: Any) -> Any:
        if isinstance(given, dict) and "split" in given:
            split = Split.model_validate(given["split"]).model_dump()
            return split | {name: value for name, value in given.items() if name != "split"}
        return given

    def write(self) -> None:
        """Write `config.json` into the run folder, with absolute paths."""
        absolute = {name: self._setting(name) for name in Config.model_fields}
        stored = self.model_copy(update=absolute).model_dump_json(by_alias=True, indent=2)
        with atomic_write(self.output / "config.json") as partial:
            partial.write_text(stored + "\n", encoding="utf-8")

    @classmethod
    def read(cls, run: Path) -> Self:
        """Read a run folder's settings. `output` is the folder's present place.

        Raises:
            DataError: if it is not a run folder.
        """
        try:
            stored = cls.model_validate_json((run / "config.json").read_bytes(), extra="ignore")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DataError(f"{run} is not a run folder: it has no config.json.") from error
        except ValidationError as error:
            raise DataError(f"{run / 'config.json'} cannot be read: start a new run.") from error
        return stored.model_copy(update={"output": run})

    def check_same(self, other: "Config", names: Iterable[str]) -> None:
        """Check that `other` has the same values for the named settings.

        Raises:
            DataError: if one differs. A run keeps its settings to the end.
        """
        for name in names:
            own, wanted = self._setting(name), other._setting(name)
            if own != wanted and wanted != "auto":  # the chosen strategy is stored
                raise DataError(
                    f"{self.output} was started with {name.replace('_', '-')} {own}, not {wanted}: "
                    "omit the option to resume, or start a new run."
                )

    def matches_run(self, run: Path) -> bool:
        """Whether a run folder was started with all these settings."""
        try:
            Config.read(run).check_same(self, Config.model_fields)
        except DataError:
            return False
        return True

    def _setting(self, name: str) -> Any:
        """A setting whose value does not depend on the working directory."""
        value = getattr(self, name)
        if name == "initial" and value not in STARTS:
            return str(Path(value).resolve())
        return value.resolve() if isinstance(value, Path) else value
