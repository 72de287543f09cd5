"""Photos made on the fly; nothing here needs the internet or a file that is not in the repo."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ml.data.synthetic import CLASSES, synthesize
from ml.images.preprocessing import Preprocessing
from ml.models.card import Card
from ml.predictor import SHIPPED_MODEL, Predictor
from tests.helpers import NO_RAY, ROOT, encoded, picture


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
    """An image folder of a test's own, with ten pictures of two classes."""
    synthesize(tmp_path / "drawn", images_per_class=5)
    (tmp_path / "photos").mkdir()
    for label in CLASSES[:2]:
        (tmp_path / "drawn" / label).rename(tmp_path.joinpath("photos", label))
    return tmp_path / "photos"


@pytest.fixture(scope="session")
def shipped() -> Predictor:
    """The shipped model, opened as the service opens it."""
    return Predictor.open(SHIPPED_MODEL)


@pytest.fixture
def card() -> Card:
    """A card as training writes it, with names that are hard on encodings."""
    return Card(
        version="0.0.0+test",
        classes=(*CLASSES[:3], 'Gleit"flug 🪂'),
        preprocessing=Preprocessing(strategy="native", grid=2),
        temperature=1.5,
        scores={"validation": {"accuracy": 0.5}},
    )


@pytest.fixture
def ray_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any, Any]]:
    """A Ray cluster on loopback, its head and its other node; each of one CPU."""
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason=NO_RAY)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "app.cluster:middleware")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    common = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}
    # Ray takes 127.0.0.1 for a name of the machine's outward address; of others it knows nothing.
    cluster = cluster_utils.Cluster(True, head_node_args=common | {"node_ip_address": "127.0.0.2"})
    other = cluster.add_node(**common, node_ip_address="127.0.0.3")
    yield cluster, cluster.head_node, other
    cluster_utils.ray.shutdown()
    cluster.shutdown()
