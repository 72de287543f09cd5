"""Resumed runs give the same results as uninterrupted ones."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ml.models.checkpoint import fingerprint, load
from ml.runs.run import run
from ml.training.config import Config
from tests.helpers import ROOT

TRAIN = """
import sys
from pathlib import Path
from rich.console import Console
from ml.training.config import Config
from ml.training.setup import Setup
from ml.runs.run import begin, prepare
from ml.trainer import Trainer
config, resume = Config.read(Path(sys.argv[1])), "--resume" in sys.argv
config, folder, preprocessing = prepare(config, resume, Console(quiet=True))
trainer = Trainer(Setup(config, folder, preprocessing, resume=resume), Console(quiet=True))
begin(config, folder, resume)
print(trainer.state.epoch, trainer.steps_per_epoch, flush=True)
step = trainer.optimiser.step
def reported():
    step()
    print("step", flush=True)
trainer.optimiser.step = reported
trainer.run()
"""


def contents(run: Path) -> dict[str, Any]:
    """The results of a run. The bytes of safetensors depend on the order of their metadata."""
    best, last = (load(run / f"{name}.safetensors") for name in ("best", "last"))
    return {
        "history": (run / "history.csv").read_text(),
        "cards": (best[1], last[1]),
        "parameters": [fingerprint(network.state_dict()) for network, _ in (best, last)],
    }


def settings(photos: Path, output: Path) -> Config:
    config = Config(data=photos, output=output, epochs=3, batch=2, workers=1, size=64)
    output.mkdir()
    config.write()
    return config


def train(config: Config, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", TRAIN, str(config.output), *options]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(photos: Path, tmp_path: Path) -> None:
    whole = settings(photos, tmp_path / "whole")
    with train(whole) as process:
        process.communicate()
        assert process.returncode == 0
    killed = settings(photos, tmp_path / "killed")
    options: list[str] = []
    for epochs_done, whole_epochs in [(0, 0), (0, 1), (1, 1)]:  # before it is killed in the next
        with train(killed, *options) as process:
            assert process.stdout is not None
            epoch, steps = map(int, process.stdout.readline().split())
            assert epoch == epochs_done
            for _ in range(whole_epochs * steps + 2):
                assert process.stdout.readline() == "step\n"
            os.killpg(process.pid, signal.SIGKILL)
        options = ["--resume"]
    with train(killed, *options) as process:
        assert process.communicate()[0].startswith("2 ")
        assert process.returncode == 0
    assert contents(killed.output) == contents(whole.output)


def said(config: Config, capsys: pytest.CaptureFixture[str]) -> str:
    run(config, Console(width=500), resume=True)
    return capsys.readouterr().out


@pytest.mark.slow
def test_resuming_a_finished_run_writes_missing_files_only(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config.read(Path(shutil.copytree(finished, tmp_path / "run")))
    model = config.output / "model.onnx"
    before = contents(config.output)
    changed = model.stat().st_mtime_ns
    assert "is finished: nothing is missing" in said(config, capsys)
    assert model.stat().st_mtime_ns == changed
    model.unlink()
    assert "agrees with PyTorch" in said(config, capsys)
    assert model.exists()
    assert contents(config.output) == before
