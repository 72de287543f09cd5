import errno
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ml.data.image_folder import ImageFolder, scan
from ml.data.sample import Sample
from ml.data.synthetic import synthesize
from ml.errors import Rejected
from ml.models.card import Card
from ml.models.checkpoint import SHIPPED_PARAMETERS, load
from ml.run_folder import PredictionTable, read_predictions, suspected_label_errors
from ml.runs.label_audit import MOST_PHOTOS, audit_labels, out_of_fold
from ml.training.config import Config

SWAPPED = ["Large QuadCopters/flying-birds-0004.jpg", "Flying Birds/large-quadcopters-0010.jpg"]
SHIPPED = load(SHIPPED_PARAMETERS)[1].classes
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def swapped(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    """Drawn pictures to train on: two are in the wrong class, one is alone in its class."""
    root = tmp_path_factory.mktemp("swapped")
    synthesize(root, images_per_class=15)
    (root / "Kite").mkdir()
    (root / "Winged Drones" / "winged-drones-0001.jpg").rename(root / "Kite" / "kite.jpg")
    for wrong in map(root.joinpath, SWAPPED):
        right = "Flying Birds" if "birds" in wrong.name else "Large QuadCopters"
        (root / right / wrong.name).rename(wrong)
    found = scan(root)
    return replace(found, samples=tuple(replace(s, split="train") for s in found.samples))


@pytest.fixture
def card(swapped: ImageFolder) -> Card:
    """The card of a model that was trained on the folder."""
    return load(SHIPPED_PARAMETERS)[1].model_copy(update={"classes": swapped.classes})


def config(output: Path, **settings: Any) -> Config:
    return Config(data=None, output=output, workers=0, **settings)


def audit(folder: ImageFolder, card: Card, output: Path) -> PredictionTable:
    assert audit_labels(config(output), folder, card, QUIET) is None
    table = read_predictions(output / "label_audit.csv", folder.classes)
    assert table is not None
    assert set(table.split) == {"train"}
    return table


def test_swapped_labels_come_first(swapped: ImageFolder, card: Card, tmp_path: Path) -> None:
    table = audit(swapped, card, tmp_path)
    suspected = [table.file[row] for row in suspected_label_errors(table)]
    assert set(suspected[:2]) == set(SWAPPED)
    assert table.correct.mean() > 0.7
    assert "Kite" not in table.truth  # no other photo to train on


def test_missing_photos_are_skipped(swapped: ImageFolder, card: Card, tmp_path: Path) -> None:
    first = swapped.samples[0]
    missing = replace(first, path=first.path.with_name("missing.jpg"))
    table = audit(replace(swapped, samples=(missing, *swapped.samples[1:])), card, tmp_path)
    kept = {s.path.relative_to(swapped.root).as_posix() for s in swapped.samples[1:]}
    assert set(table.file) == {file for file in kept if "Kite" not in file}


def test_no_classifier_trains_on_the_group_that_it_predicts() -> None:
    """With random labels by group, accuracy above chance means that a group leaked."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 4)
    truth = random.permutation(np.arange(60) % 2)[groups]
    features = random.normal(size=(60, 1280))[groups].astype(np.float32)
    accuracies = [
        (out_of_fold(features, truth, of, 2).argmax(axis=1) == truth).mean()
        for of in (groups, np.arange(len(truth)))
    ]
    assert accuracies[0] < 0.65
    assert accuracies[1] > 0.95


def rejection(config: Config, folder: ImageFolder, card: Card, console: Console = QUIET) -> str:
    rejected = audit_labels(config, folder, card, console)
    assert isinstance(rejected, Rejected)
    return rejected.reason


def of_classes(photos: int, classes: int, names: tuple[str, ...] = ()) -> ImageFolder:
    """A folder whose files do not exist."""
    names = names or tuple(f"class {number:05}" for number in range(classes))
    samples = (
        Sample(Path(f"{number}.jpg"), names[number % classes], "train", group=str(number))
        for number in range(photos)
    )
    return ImageFolder(Path(), names, tuple(samples), (), ())


@pytest.mark.parametrize(
    ("folder", "settings", "said"),
    [
        (of_classes(20, 2), {"initial": "none"}, "untrained backbone"),
        (of_classes(20, 2), {"time_budget": 5}, "time budget"),
        (of_classes(MOST_PHOTOS + 1, 2), {}, "20,001 photos of 2 classes"),
        (of_classes(10_000, 10_000), {}, "10,000 photos of 10,000 classes"),
        (of_classes(20, 5), {}, "two classes"),  # because no file can be read
        (of_classes(20, 2), {"initial": "missing.safetensors"}, "no file missing.safetensors"),
        (of_classes(20, 3, (*SHIPPED[:2], "x")), {"initial": str(SHIPPED_PARAMETERS)}, "may have"),
    ],
)
def test_reasons_for_not_auditing(
    folder: ImageFolder, settings: dict[str, Any], said: str, card: Card, tmp_path: Path
) -> None:
    screen = StringIO()
    reason = rejection(config(tmp_path, **settings), folder, card, Console(file=screen))
    assert said in reason
    assert reason in " ".join(screen.getvalue().split())
    assert not [*tmp_path.iterdir()]


def test_runs_without_recorded_groups_are_rejected(
    swapped: ImageFolder, card: Card, tmp_path: Path
) -> None:
    samples = tuple(replace(sample, group="") for sample in swapped.samples)
    folder = replace(swapped, samples=samples)
    assert "did not record groups" in rejection(config(tmp_path), folder, card)


def test_few_groups_are_rejected(swapped: ImageFolder, card: Card, tmp_path: Path) -> None:
    shoots = tuple(replace(s, group=f"shoot {i % 4}") for i, s in enumerate(swapped.samples))
    folder = replace(swapped, samples=shoots)
    assert "at least 5 groups" in rejection(config(tmp_path), folder, card)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left"), "No space left"),
        (RuntimeError("CUDA"), "CUDA"),
        (MemoryError(), "MemoryError"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_failures_do_not_fail_the_run(
    error: BaseException,
    said: str,
    swapped: ImageFolder,
    card: Card,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("ml.runs.label_audit._extract_features", fail)
    assert said in rejection(config(tmp_path), swapped, card)
