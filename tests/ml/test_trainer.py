import csv
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from ml.data.image_folder import scan
from ml.data.split import split_folder
from ml.errors import DataError, ModelError
from ml.images.preprocessing import Preprocessing
from ml.models.card import Split
from ml.models.checkpoint import SHIPPED_PARAMETERS, fingerprint, load
from ml.trainer import STATE, Trainer
from ml.training.config import Config
from ml.training.state import Standing


def trainer(photos: Path, output: Path, resume: bool = False, **settings: Any) -> Trainer:
    output.mkdir(exist_ok=True)
    given = {"epochs": 2, "batch": 2, "workers": 0} | settings
    config = Config(data=photos, output=output, **given)
    folder = split_folder(scan(photos), Split(validation=0.3))
    return Trainer(config, folder, Preprocessing(), Console(width=500), resume=resume)


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "history.csv").open(newline="") as opened:
        return list(csv.DictReader(opened))


def after_steps(trainer: Trainer, count: int, happens: Any) -> None:
    """Let something happen after so many steps."""
    step, steps = trainer._step, iter(range(1, 999))

    def stepped(pixels: Tensor, labels: Tensor) -> tuple[Tensor, float]:
        done = step(pixels, labels)
        if next(steps) == count:
            happens()
        return done

    trainer._step = stepped  # type: ignore[method-assign]


def test_photos_that_vanish_or_break_do_not_end_a_run(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trainer(photos, tmp_path / "run")
    gone, broken = (run.folder.of(split)[0].path for split in ("train", "test"))

    def damage() -> None:
        gone.unlink()
        broken.write_bytes(broken.read_bytes()[:2000])

    after_steps(run, 2, damage)
    assert run.run() == "completed"
    said = capsys.readouterr().out
    for path in (gone, broken):
        assert said.count(f"{path} can no longer be read") == 1
    assert run.unreadable == {gone, broken}
    assert len(rows(tmp_path / "run")) == 2


def test_no_batch_keeps_a_file_open(photos: Path, tmp_path: Path) -> None:
    """As what a loading process hands over in shared memory does: a system allows 1,024."""
    run = trainer(photos, tmp_path / "run", workers=1, epochs=1)
    assert run.run() == "completed"
    answers = [*run.seen, *run._answers(run.loaders.held_out["test"])]
    assert len(answers) > 2
    assert not [1 for _, labels in answers if labels.is_shared()]  # type: ignore[no-untyped-call]


def test_a_run_whose_photos_are_all_gone_says_so(photos: Path, tmp_path: Path) -> None:
    run = trainer(photos, tmp_path / "run")
    photos.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"No photo in .* --resume"):
        run.run()


def test_a_full_disk_costs_what_cannot_be_written_and_no_more(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trainer(photos, tmp_path / "run")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    steps = len(run.loaders.batches)
    # No file may be larger than 10 MB, which parameters are.
    after_steps(
        run, steps + 1, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10**7, limits[1]))
    )
    try:
        assert run.run() == "completed"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "Epoch 2 could not be written" in capsys.readouterr().out
    assert load(tmp_path / "run" / "best.safetensors")[1].scores["epoch"] == 1
    again = trainer(photos, tmp_path / "run", resume=True)
    assert again.standing.epoch == 1
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "best.safetensors",
        "last.safetensors",
        "history.csv",
        STATE,
    }


def interrupt() -> None:
    raise KeyboardInterrupt


def test_ctrl_c_in_the_first_epoch_keeps_what_was_learnt(photos: Path, tmp_path: Path) -> None:
    run = trainer(photos, tmp_path / "run")
    after_steps(run, 2, interrupt)
    assert run.run() == "interrupted"
    assert [row["epoch"] for row in rows(tmp_path / "run")] == ["1"]
    network, card = load(tmp_path / "run" / "best.safetensors")
    assert card.scores["validation"]["photos"] > 0
    assert not (tmp_path / "run" / STATE).exists()  # it would go on from the start, as it must


@pytest.mark.parametrize("where", ["_learn", "_write"])
def test_nothing_written_is_no_model(photos: Path, tmp_path: Path, where: str) -> None:
    run = trainer(photos, tmp_path / "run")
    setattr(run, where, lambda *_: interrupt())
    with pytest.raises(DataError, match="before an epoch was written"):
        run.run()


def test_what_a_run_started_from_is_not_needed_to_go_on(photos: Path, tmp_path: Path) -> None:
    initial = str(shutil.copy(SHIPPED_PARAMETERS, tmp_path / "start.safetensors"))
    run = trainer(photos, tmp_path / "run", initial=initial)
    after_steps(run, len(run.loaders.batches) + 1, interrupt)
    run.run()
    Path(initial).unlink()
    with pytest.raises(ModelError, match="no file"):
        trainer(photos, tmp_path / "run", initial=initial)
    again = trainer(photos, tmp_path / "run", resume=True, initial=initial)
    assert again.standing.epoch == 1
    last, _ = load(tmp_path / "run" / "last.safetensors")
    average = again.optimisation.average.module
    assert fingerprint(average.state_dict()) == fingerprint(last.state_dict())


def test_a_run_that_gets_no_better_ends_early(photos: Path, tmp_path: Path) -> None:
    run = trainer(photos, tmp_path / "run", epochs=9, patience=1)
    run.standing.lowest = 0.0  # no epoch is better
    run.standing.best_epoch = 1
    assert run.run() == "early"
    assert run.standing.epoch == 2


def test_epochs_are_as_many_as_fit_into_the_time(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Standing, "affordable", lambda *_: 1)  # one more, after the first
    run = trainer(photos, tmp_path / "run", epochs=9, time_budget=600)
    assert run.run() == "time"
    assert run.standing.epoch == 2
    schedule = run.optimisation.schedule  # it has come down, as it would have after 9
    assert schedule.last_epoch == schedule.total_steps == 2 * len(run.loaders.batches)


def test_a_time_that_is_too_short_for_one_epoch_cuts_it(photos: Path, tmp_path: Path) -> None:
    run = trainer(photos, tmp_path / "run", time_budget=0.01)
    assert run.run() == "time"
    assert run.standing.images == 2
    assert len(rows(tmp_path / "run")) == 1


@pytest.mark.slow
def test_going_on_repeats_the_epoch_that_would_have_come(photos: Path, tmp_path: Path) -> None:
    whole = trainer(photos, tmp_path / "whole")
    whole.run()
    part = trainer(photos, tmp_path / "part")
    after_steps(part, len(part.loaders.batches) + 1, interrupt)
    assert part.run() == "interrupted"
    torch.rand(9)
    again = trainer(photos, tmp_path / "part", resume=True)
    assert again.run() == "completed"
    assert rows(tmp_path / "part") == rows(tmp_path / "whole")
    for name, value in whole.optimisation.average.state_dict().items():
        assert torch.equal(value, again.optimisation.average.state_dict()[name]), name
