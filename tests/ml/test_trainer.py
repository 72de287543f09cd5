import csv
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from ml.data.image_folder import scan
from ml.data.split import split_folder
from ml.errors import DataError, ModelError
from ml.images.preprocessing import Preprocessing
from ml.models.card import Split
from ml.models.checkpoint import SHIPPED_PARAMETERS, fingerprint, load, load_state, save_state
from ml.trainer import Trainer
from ml.training.checkpoints import STATE_FILE
from ml.training.config import Config
from ml.training.setup import Setup
from ml.training.state import TrainingState


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use one thread: small pictures need no more, and waiting threads slow a busy machine."""
    threads = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trainer(photos: Path, output: Path, resume: bool = False, **settings: Any) -> Trainer:
    output.mkdir(exist_ok=True)
    given = {"epochs": 2, "batch": 2, "workers": 0, "size": 64} | settings
    config = Config(data=photos, output=output, **given)
    folder = split_folder(scan(photos), Split(validation=0.3))
    preprocessing = Preprocessing(size=64, shorter_side=73)
    return Trainer(Setup(config, folder, preprocessing, resume=resume), Console(width=500))


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "history.csv").open(newline="") as opened:
        return list(csv.DictReader(opened))


def after_steps(trainer: Trainer, count: int, action: Callable[[], object]) -> None:
    """Call `action` after a number of training steps."""
    advance_by, steps = trainer.bar.advance_by, iter(range(1, 999))

    def stepped(*arguments: Any) -> None:
        advance_by(*arguments)
        if next(steps) == count:
            action()

    trainer.bar.advance_by = stepped  # type: ignore[method-assign, assignment]


def test_deleted_or_damaged_photos_do_not_stop_a_run(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trainer(photos, tmp_path / "run")
    deleted, damaged = (run.setup.folder.of(split)[0].path for split in ("train", "test"))

    def damage() -> None:
        deleted.unlink()
        damaged.write_bytes(damaged.read_bytes()[:2000])

    after_steps(run, 2, damage)
    assert run.run() == "completed"
    said = capsys.readouterr().out
    for path in (deleted, damaged):
        assert said.count(f"{path} can no longer be read") == 1
    assert run.metrics.unreadable == {deleted, damaged}
    assert len(rows(tmp_path / "run")) == 2


def test_outputs_are_not_in_shared_memory(photos: Path, tmp_path: Path) -> None:
    """Shared memory of a loading process keeps a file open; a system allows 1,024."""
    run = trainer(photos, tmp_path / "run", workers=1, epochs=1)
    assert run.run() == "completed"
    outputs = [*run.outputs, *run._evaluate(run.setup.loaders.held_out["test"])]
    assert len(outputs) > 2
    assert not [1 for _, labels in outputs if labels.is_shared()]  # type: ignore[no-untyped-call]


def test_a_run_without_readable_photos_fails(photos: Path, tmp_path: Path) -> None:
    run = trainer(photos, tmp_path / "run")
    photos.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"No photo in .* --resume"):
        run.run()


def test_a_full_disk_does_not_stop_a_run(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trainer(photos, tmp_path / "run")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    steps = run.steps_per_epoch
    # Limit files to 10 MB: the parameters are larger, the history is not.
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
    assert again.state.epoch == 1
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "best.safetensors",
        "last.safetensors",
        "history.csv",
        STATE_FILE,
    }


def interrupt() -> None:
    raise KeyboardInterrupt


def test_ctrl_c_in_the_first_epoch_keeps_the_parameters(photos: Path, tmp_path: Path) -> None:
    run = trainer(photos, tmp_path / "run")
    after_steps(run, 2, interrupt)
    assert run.run() == "interrupted"
    assert [row["epoch"] for row in rows(tmp_path / "run")] == ["1"]
    network, card = load(tmp_path / "run" / "best.safetensors")
    assert card.scores["validation"]["photos"] > 0
    assert not (tmp_path / "run" / STATE_FILE).exists()  # so that the run resumes from the start


@pytest.mark.parametrize("method", ["_train_epoch", "_checkpoint"])
def test_a_run_interrupted_before_its_first_epoch_is_written_fails(
    photos: Path, tmp_path: Path, method: str
) -> None:
    run = trainer(photos, tmp_path / "run")
    setattr(run, method, lambda *_: interrupt())
    with pytest.raises(DataError, match="before an epoch was written"):
        run.run()


def test_resuming_does_not_need_the_initial_parameters(photos: Path, tmp_path: Path) -> None:
    initial = str(shutil.copy(SHIPPED_PARAMETERS, tmp_path / "start.safetensors"))
    run = trainer(photos, tmp_path / "run", initial=initial)
    after_steps(run, run.steps_per_epoch + 1, interrupt)
    run.run()
    Path(initial).unlink()
    with pytest.raises(ModelError, match="no file"):
        trainer(photos, tmp_path / "run", initial=initial)
    again = trainer(photos, tmp_path / "run", resume=True, initial=initial)
    assert again.state.epoch == 1
    last, _ = load(tmp_path / "run" / "last.safetensors")
    ema = again.optimiser.ema.module
    assert fingerprint(ema.state_dict()) == fingerprint(last.state_dict())


def test_early_stopping(photos: Path, tmp_path: Path) -> None:
    run = trainer(photos, tmp_path / "run", epochs=9, patience=1)
    run.state.best_loss = 0.0  # no epoch is better
    run.state.best_epoch = 1
    assert run.run() == "early"
    assert run.state.epoch == 2


def test_the_schedule_is_shortened_to_the_time_budget(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingState, "epochs_in_budget", lambda *_: 1)  # after the first one
    run = trainer(photos, tmp_path / "run", epochs=9, time_budget=600)
    assert run.run() == "time"
    assert run.state.epoch == 2
    schedule = run.optimiser.schedule  # it has reached its end
    assert schedule.last_epoch == schedule.total_steps == 2 * run.steps_per_epoch


def test_a_time_budget_can_end_the_first_epoch_early(photos: Path, tmp_path: Path) -> None:
    run = trainer(photos, tmp_path / "run", time_budget=0.01)
    assert run.run() == "time"
    assert run.state.images == 2
    assert len(rows(tmp_path / "run")) == 1


def test_a_resumed_run_equals_an_uninterrupted_one(photos: Path, tmp_path: Path) -> None:
    whole = trainer(photos, tmp_path / "whole")
    whole.run()
    part = trainer(photos, tmp_path / "part")
    after_steps(part, part.steps_per_epoch + 1, interrupt)
    assert part.run() == "interrupted"
    torch.rand(9)
    again = trainer(photos, tmp_path / "part", resume=True)
    assert again.run() == "completed"
    assert rows(tmp_path / "part") == rows(tmp_path / "whole")
    for name, value in whole.optimiser.ema.state_dict().items():
        assert torch.equal(value, again.optimiser.ema.state_dict()[name]), name


def test_a_state_of_an_older_version_resumes(photos: Path, tmp_path: Path) -> None:
    first = trainer(photos, tmp_path / "run")
    after_steps(first, first.steps_per_epoch + 1, interrupt)
    first.run()
    stored = load_state(tmp_path / "run" / STATE_FILE)
    state = stored.pop("progress")
    old = {"best_loss": "lowest", "training_seconds": "learning_seconds"}
    old["evaluation_seconds"] = "measuring_seconds"
    stored["standing"] = {old.get(name, name): value for name, value in state.items()}
    save_state(tmp_path / "run" / STATE_FILE, stored)
    again = trainer(photos, tmp_path / "run", resume=True)
    assert vars(again.state) == state
    assert again.run() == "completed"
    assert len(rows(tmp_path / "run")) == 2
