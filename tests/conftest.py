"""Fixtures for all tests. Photos are drawn: no test needs the internet or other files."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ml.data.synthetic import CLASSES, synthesize
from ml.images.preprocessing import Preprocessing
from ml.images.sandbox import end_idle
from ml.models.card import Card
from ml.predictor import SHIPPED_MODEL, Predictor
from tests.helpers import NO_RAY, ROOT, encoded, picture


@pytest.fixture(scope="session", autouse=True)
def no_child_processes() -> Iterator[None]:
    """Fail the test run if it leaves a child process running."""
    before = _children()
    yield
    end_idle()
    for _ in range(500):  # a child that was told to stop may need a moment
        left = {pid: command for pid, command in _children().items() if pid not in before}
        if not left:
            return
        time.sleep(0.02)
    pytest.fail(f"child processes left running: {left}")


def _children() -> dict[str, str]:
    """The commands of this process's children by process ID; empty without /proc."""
    found = {}
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            for pid in path.read_text().split():
                with suppress(OSError):  # the process has ended
                    command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
                    # multiprocessing keeps its resource tracker until the end.
                    if command and "resource_tracker" not in command:
                        found[pid] = command.replace("\0", " ")
    return found


@pytest.fixture(scope="session", autouse=True)
def no_files_in_repository() -> Iterator[None]:
    """Fail the test run if it leaves new files in the repository that git does not ignore."""
    before = _untracked()
    yield
    assert _untracked() <= before


def _untracked() -> set[str]:
    """Files in the repository that git neither tracks nor ignores."""
    command = ["git", "ls-files", "--others", "--exclude-standard"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return set(found.stdout.splitlines())


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A JPEG of a drawn bird."""
    return encoded(picture(), "JPEG", quality=90)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder with ten pictures of each class."""
    folder = tmp_path_factory.mktemp("drawn")
    synthesize(folder, images_per_class=10)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An image folder with five pictures of each of two classes, which the test may change."""
    synthesize(tmp_path / "drawn", images_per_class=5)
    (tmp_path / "photos").mkdir()
    for label in CLASSES[:2]:
        (tmp_path / "drawn" / label).rename(tmp_path.joinpath("photos", label))
    return tmp_path / "photos"


@pytest.fixture(scope="session")
def shipped() -> Predictor:
    """The shipped model, loaded as the service loads it."""
    return Predictor.open(SHIPPED_MODEL)


@pytest.fixture
def card() -> Card:
    """A model card as training writes it, with class names that test encodings."""
    return Card(
        version="0.0.0+test",
        classes=(*CLASSES[:3], 'Gleit"flug 🪂'),
        preprocessing=Preprocessing(strategy="native", grid=2),
        temperature=1.5,
        scores={"validation": {"accuracy": 0.5}},
    )


@pytest.fixture
def ray_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any, Any]]:
    """A Ray cluster on loopback, its head and its second node, with one CPU each."""
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason=NO_RAY)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "app.cluster:middleware")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    common = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}
    # Ray replaces 127.0.0.1 with the machine's external address, but keeps 127.0.0.2.
    cluster = cluster_utils.Cluster(True, head_node_args=common | {"node_ip_address": "127.0.0.2"})
    other = cluster.add_node(**common, node_ip_address="127.0.0.3")
    yield cluster, cluster.head_node, other
    cluster_utils.ray.shutdown()
    cluster.shutdown()
