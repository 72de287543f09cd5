"""Training by two processes that torchrun starts on this machine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ml.models.checkpoint import load
from ml.predictor import Predictor
from ml.training.distributed import SINGLE_PROCESS, process_group
from tests.helpers import ROOT

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_without_torchrun_there_is_one_process() -> None:
    with process_group() as group:
        assert group == SINGLE_PROCESS
        assert group.is_main
        assert group.broadcast(lambda: "made") == "made"
        assert group.gather([1, 2]) == [1, 2]


@pytest.mark.slow
def test_all_processes_get_the_same_results_in_the_same_order(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; from pathlib import Path; from ml.training.distributed import process_group\n"
        "with process_group() as group:\n"
        "    got = group.broadcast(lambda: group.rank),\n"
        "    got += (group.gather([group.rank] * (1 + 2 * group.rank)),)\n"
        "    (Path(sys.argv[1]) / f'{group.rank}.txt').write_text(str(got))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([*TORCHRUN, str(script), str(tmp_path)], env=environment, check=True)
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == [
        "(0, [0, 1, 1, 1])",
        "(0, [0, 1, 1, 1])",
    ]


def children(process: subprocess.Popen[str]) -> list[int]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(number) for number in listed.split()]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="finds the process to kill in /proc")
def test_a_group_resumes_after_one_process_dies(drawn: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    options = ["--epochs", "3", "--batch", "8", "--workers", "0", "--size", "64", "--output"]
    train = ["-m", "ml", "train", str(drawn), *options, str(output)]
    command = [*TORCHRUN, "--max-restarts", "1", *train]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        while not (output / "last.pt").exists():
            assert process.poll() is None
            time.sleep(0.1)
        os.kill(children(process)[-1], signal.SIGKILL)
        said, _ = process.communicate(timeout=600)
        assert process.returncode == 0
    assert "Resuming after epoch" in said  # printed by one process only
    assert said.count("Serve it") == 1
    # Each held-out photo was evaluated by exactly one of the processes.
    assert load(output / "best.safetensors")[1].scores["validation"]["photos"] == 4
    assert Predictor(output / "model.onnx").card.scores["test"]["photos"] == 12
