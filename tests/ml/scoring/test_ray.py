import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ml.errors import ScoringError
from tests.helpers import NO_RAY, ROOT
from tests.ml.colours import write_colours
from tests.ml.scoring.helpers import colour, many_photos


def written_parts(parts: Path) -> dict[str, int]:
    """Return the parts on disk, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in parts.glob("0*.parquet")}


def wait_for_parts(parts: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    while len(written_parts(parts)) < count:
        assert process.poll() is None
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.filterwarnings("ignore")  # raised inside Ray
def test_a_killed_job_that_loses_a_node_scores_each_photo_once(
    ray_nodes: tuple[Any, Any, Any], tmp_path: Path
) -> None:
    cluster, _, other = ray_nodes
    folder, output = many_photos(tmp_path / "photos", 6_000), tmp_path / "out.parquet"
    model = write_colours(tmp_path / "colours.onnx")
    command = [sys.executable, "-m", "ml", "score", str(folder), "--output", str(output)]
    command += ["--model", str(model), "--ray", cluster.address]
    parts = output.with_name("out.parquet.parts")

    killed = subprocess.Popen(command, cwd=ROOT)
    wait_for_parts(parts, 3, killed)
    killed.kill()  # the driver; the cluster keeps running
    killed.wait()
    assert not output.exists()
    before = written_parts(parts)
    again = subprocess.Popen(command, cwd=ROOT)
    wait_for_parts(parts, len(before) + 3, again)
    assert before.items() <= written_parts(parts).items()  # no part is written twice
    cluster.remove_node(other, allow_graceful=False)
    assert again.wait() == 0
    rows = pq.read_table(output).to_pylist()
    assert [Path(row["path"]).name for row in rows] == [f"{n:05}.jpg" for n in range(6_000)]
    assert all(row["label"] == colour(Path(row["path"])) for row in rows)


@pytest.mark.parametrize("kind", ["RuntimeError", "ray.exceptions.AuthenticationError"])
def test_a_cluster_that_refuses_is_a_scoring_error(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason=NO_RAY)
    from ml.scoring.ray import cluster

    def refuse(*_: object, **__: object) -> None:
        raise (RuntimeError if kind == "RuntimeError" else ray.exceptions.AuthenticationError)("no")

    monkeypatch.setattr("ray.init", refuse)
    with pytest.raises(ScoringError, match="There is no Ray cluster at auto"), cluster("auto"):
        pass


def test_a_missing_cluster_is_reported_in_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason=NO_RAY)
    command = [sys.executable, "-m", "ml", "score", str(tmp_path), "--ray", "127.0.0.9:1"]
    command += ["--output", str(tmp_path / "out.parquet")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1
    assert "There is no Ray cluster at 127.0.0.9:1" in run.stderr
    assert "Traceback" not in run.stderr
