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
from ml.models.card import Card
from ml.models.checkpoint import SHIPPED_PARAMETERS, load
from ml.run_folder import PredictionTable, doubtful_labels, read_answers
from ml.runs.label_audit import MOST_PHOTOS, audit_labels, out_of_fold
from ml.training.config import Config

SWAPPED = ["Large QuadCopters/flying-birds-0004.jpg", "Flying Birds/large-quadcopters-0010.jpg"]
SHIPPED = load(SHIPPED_PARAMETERS)[1].classes
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def swapped(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    """Drawn pictures to train on, two of them in the wrong class; and one in a class of its own."""
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
    """That of a model which learnt the folder."""
    return load(SHIPPED_PARAMETERS)[1].model_copy(update={"classes": swapped.classes})


def config(output: Path, **settings: Any) -> Config:
    return Config(data=None, output=output, workers=0, **settings)


def judged(folder: ImageFolder, card: Card, output: Path) -> PredictionTable:
    assert audit_labels(config(output), folder, card, QUIET) == ""
    answers = read_answers(output / "doubts.csv", folder.classes)
    assert answers is not None
    assert set(answers.split) == {"train"}
    return answers


def test_swapped_labels_are_the_clearest(swapped: ImageFolder, card: Card, tmp_path: Path) -> None:
    answers = judged(swapped, card, tmp_path)
    doubtful = [answers.file[row] for row in doubtful_labels(answers)]
    assert set(doubtful[:2]) == set(SWAPPED)
    assert answers.right.mean() > 0.7
    assert "Kite" not in answers.truth  # who judges it has seen no kite


def test_what_is_gone_is_not_judged(swapped: ImageFolder, card: Card, tmp_path: Path) -> None:
    gone = swapped.samples[0]
    lost = replace(gone, path=gone.path.with_name("gone.jpg"))
    answers = judged(replace(swapped, samples=(lost, *swapped.samples[1:])), card, tmp_path)
    kept = {s.path.relative_to(swapped.root).as_posix() for s in swapped.samples[1:]}
    assert set(answers.file) == {file for file in kept if "Kite" not in file}


def test_no_photo_is_judged_by_what_saw_its_group() -> None:
    """Labels by chance: only who has seen the rest of a group can tell them."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 4)
    truth = random.permutation(np.arange(60) % 2)[groups]
    pooled = random.normal(size=(60, 1280))[groups].astype(np.float32)
    shares = [
        (out_of_fold(pooled, truth, of, 2).argmax(axis=1) == truth).mean()
        for of in (groups, np.arange(len(truth)))
    ]
    assert shares[0] < 0.65
    assert shares[1] > 0.95


def of_classes(photos: int, classes: int, names: tuple[str, ...] = ()) -> ImageFolder:
    """A folder without files: what asks for one of them fails."""
    names = names or tuple(f"class {number:05}" for number in range(classes))
    samples = (
        Sample(Path(f"{number}.jpg"), names[number % classes], "train", group=str(number))
        for number in range(photos)
    )
    return ImageFolder(Path(), names, tuple(samples), (), ())


@pytest.mark.parametrize(
    ("folder", "settings", "said"),
    [
        (of_classes(20, 2), {"initial": "none"}, "learnt nothing"),
        (of_classes(20, 2), {"time_budget": 5}, "time budget"),
        (of_classes(MOST_PHOTOS + 1, 2), {}, "20,001 photos of 2 classes"),
        (of_classes(10_000, 10_000), {}, "10,000 photos of 10,000 classes"),
        (of_classes(20, 5), {}, "two classes"),  # for no file can be read any more
        (of_classes(20, 2), {"initial": "gone.safetensors"}, "no file gone.safetensors"),
        (of_classes(20, 3, (*SHIPPED[:2], "x")), {"initial": str(SHIPPED_PARAMETERS)}, "may have"),
    ],
)
def test_out_of_reach(
    folder: ImageFolder, settings: dict[str, Any], said: str, card: Card, tmp_path: Path
) -> None:
    screen = StringIO()
    reason = audit_labels(config(tmp_path, **settings), folder, card, Console(file=screen))
    assert said in reason
    assert reason in " ".join(screen.getvalue().split())
    assert not [*tmp_path.iterdir()]


def test_without_groups_nobody_knows_who_has_seen_what(
    swapped: ImageFolder, card: Card, tmp_path: Path
) -> None:
    samples = tuple(replace(sample, group="") for sample in swapped.samples)
    reason = audit_labels(config(tmp_path), replace(swapped, samples=samples), card, QUIET)
    assert "belong together" in reason


def test_few_groups_are_not_enough(swapped: ImageFolder, card: Card, tmp_path: Path) -> None:
    shoots = tuple(replace(s, group=f"shoot {i % 4}") for i, s in enumerate(swapped.samples))
    folder = replace(swapped, samples=shoots)
    assert "at least 5 groups" in audit_labels(config(tmp_path), folder, card, QUIET)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left"), "No space left"),
        (RuntimeError("CUDA"), "CUDA"),
        (MemoryError(), "MemoryError"),
        (KeyboardInterrupt(), "stopped"),
    ],
)
def test_what_goes_wrong_costs_no_run(
    error: BaseException,
    said: str,
    swapped: ImageFolder,
    card: Card,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("ml.runs.label_audit._pool", fail)
    assert said in audit_labels(config(tmp_path), swapped, card, QUIET)
