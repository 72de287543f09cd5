"""The service on two Ray nodes on loopback, while replicas and nodes are killed."""

import logging
import os
import signal
import socket
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import onnx
import pytest
import yaml
from fastapi.testclient import TestClient
from onnx import helper
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.schemas import Error
from app.settings import Settings
from ml.engines.loader import int8_beside
from ml.predictor import SHIPPED_MODEL, Predictor
from tests.helpers import NO_RAY, ROOT, encoded, picture


@dataclass
class Load:
    """Threads that send photos again and again, and check and count the responses."""

    url: str
    shipped: Predictor
    seen: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        photos = [encoded(picture(seed=seed), "JPEG") for seed in range(4)]
        self.threads = [threading.Thread(target=self._send, args=(photo,)) for photo in photos]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        alive = [thread.is_alive() for thread in self.threads]
        self.stopped.set()
        for thread in self.threads:
            thread.join()
        assert all(alive), self.wrong

    def wait_for_more(self, what: str = "200", count: int = 20) -> None:
        """Wait for `count` more responses with a status or a model version."""
        wanted = self.seen[what] + count
        wait_for(lambda: self.seen[what] >= wanted)

    def freeze_replica(self, node: Any) -> int:
        """Stop a replica while it processes requests, and return its process id."""
        process, *_ = replicas(node)
        os.kill(process, signal.SIGSTOP)
        time.sleep(1)  # it receives requests that it will never answer
        return process

    def _send(self, photo: bytes) -> None:
        expected = self.shipped.predict(photo).probabilities
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self.stopped.is_set():
                try:
                    self._check(client.post("/predict", content=photo), expected)
                except Exception as error:  # every failure counts
                    self.wrong.append(repr(error))
                    time.sleep(0.1)

    def _check(self, response: httpx.Response, expected: dict[str, float]) -> None:
        self.seen[str(response.status_code)] += 1
        if response.headers["content-type"] != "application/json":
            self.wrong.append(f"{response.status_code} {response.text}")
        elif response.headers.get_list("x-request-id") != [response.json()["request_id"]]:
            self.wrong.append(f"two ids: {response.headers} {response.text}")
        elif response.status_code == 200 and response.json()["probabilities"] == expected:
            self.seen[response.json()["model"]["version"]] += 1
        elif (response.status_code, response.json().get("code")) == (503, "not_ready"):
            assert int(response.headers["retry-after"])
            time.sleep(0.1)
        else:
            self.wrong.append(f"{response.status_code} {response.text}")


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("the condition was never met")


def replicas(node: Any) -> list[int]:
    """The process ids of the replicas on a node."""
    (raylet,) = node.all_processes["raylet"]
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if (
                parent == raylet.process.pid
                and b"ServeReplica" in (folder / "cmdline").read_bytes()
            ):
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@pytest.fixture
def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture
def renamed(tmp_path: Path) -> Path:
    """The shipped model with another version."""
    model = onnx.load(int8_beside(SHIPPED_MODEL))  # the file that the service chooses
    card = {entry.key: entry.value for entry in model.metadata_props} | {"version": '"9.9.9"'}
    helper.set_model_props(model, card)
    onnx.save(model, tmp_path / "renamed.onnx")
    return tmp_path / "renamed.onnx"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # from Ray itself
@pytest.mark.timeout(280)
def test_it_survives_a_dead_replica_a_model_change_and_a_dead_node(
    ray_nodes: tuple[Any, Any, Any], shipped: Predictor, renamed: Path, free_port: int
) -> None:
    import ray
    from ray import serve

    from app.cluster import deployment

    cluster, head, other = ray_nodes
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": free_port})
    two = deployment.options(
        num_replicas=2,
        ray_actor_options={"num_cpus": 0.5},
        max_ongoing_requests=2,  # else the proxy prefers the replica on its own node
        health_check_period_s=1,
    )
    serve.run(two.bind())
    wait_for(lambda: len(replicas(head)) == len(replicas(other)) == 1)
    with Load(f"http://127.0.0.1:{free_port}", shipped) as load:
        load.wait_for_more()
        os.kill(load.freeze_replica(other), signal.SIGKILL)
        load.wait_for_more()
        wait_for(lambda: len(replicas(head) + replicas(other)) == 2)
        load.wait_for_more()

        rejected = load.seen["503"]
        serve.run(two.options(user_config={"model": str(renamed)}).bind())
        load.wait_for_more("9.9.9")
        assert load.seen["503"] == rejected

        if replicas(other):  # Ray may have moved both to one node
            load.freeze_replica(other)
        cluster.remove_node(other, allow_graceful=False)
        load.wait_for_more("9.9.9")
        wait_for(lambda: len(replicas(head)) == 2)
        load.wait_for_more("9.9.9")
    assert not load.wrong, load.wrong
    serve.shutdown()  # type: ignore[no-untyped-call]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # from Ray itself
@pytest.mark.timeout(280)
def test_replicas_follow_the_load(
    ray_nodes: tuple[Any, Any, Any], shipped: Predictor, free_port: int
) -> None:
    import ray
    from ray import serve

    from app.cluster import deployment

    cluster, head, other = ray_nodes
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": free_port})
    written = yaml.safe_load((ROOT / "deploy" / "ray" / "serve.yaml").read_text())
    scaling = written["applications"][0]["deployments"][0]["autoscaling_config"]
    scaling |= {"min_replicas": 1, "max_replicas": 2, "upscale_delay_s": 1}
    scaled = deployment.options(
        autoscaling_config=scaling, ray_actor_options={"num_cpus": 0.5}, max_ongoing_requests=8
    )
    serve.run(scaled.bind())
    assert len(replicas(head) + replicas(other)) == 1
    with Load(f"http://127.0.0.1:{free_port}", shipped) as load:
        wait_for(lambda: len(replicas(head) + replicas(other)) == 2)
        load.wait_for_more()
        load.wait_for_more()
    assert not load.wrong, load.wrong
    serve.shutdown()  # type: ignore[no-untyped-call]


async def no_response(scope: Scope, receive: Receive, send: Send) -> None:
    """Ray's proxy, if a replica dies while it processes a request."""


@pytest.mark.parametrize(
    "proxy",
    [
        no_response,
        PlainTextResponse("Request dropped due to backpressure", 503),
        PlainTextResponse("Request timed out", 408),
        PlainTextResponse("The actor died", 500),
    ],
)
def test_requests_without_an_answer_of_a_replica_are_not_ready(proxy: ASGIApp) -> None:
    pytest.importorskip("ray.serve", reason=NO_RAY)
    from app.ray_serve import UnansweredMiddleware

    answer = TestClient(UnansweredMiddleware(proxy)).get("/", headers={"X-Request-ID": "mine"})
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "mine"
    assert int(answer.headers["retry-after"])
    Error.model_validate(answer.json())


@pytest.mark.parametrize("status", [200, 404, 503, 500])
def test_responses_of_replicas_are_passed_on(status: int) -> None:
    pytest.importorskip("ray.serve", reason=NO_RAY)
    from app.ray_serve import UnansweredMiddleware

    replica = JSONResponse({"from": "a replica"}, status)
    replica.raw_headers += [(b"x-request-id", b"mine")] * 2  # added by the replica and by Ray
    answer = TestClient(UnansweredMiddleware(replica)).get("/")
    assert (answer.status_code, answer.json()) == (status, {"from": "a replica"})
    assert answer.headers.get_list("x-request-id") == ["mine"]


def test_the_deployment_file_fits_this_service() -> None:
    with warnings.catch_warnings(action="ignore"):  # from Ray itself
        schema = pytest.importorskip("ray.serve.schema", reason=NO_RAY)
        from app import cluster
    given = yaml.safe_load((ROOT / "deploy" / "ray" / "serve.yaml").read_text())
    (application,) = schema.ServeDeploySchema.model_validate(given).applications
    assert application.import_path == "app.cluster:service"
    assert [each.name for each in application.deployments] == [cluster.deployment.name]
    seconds = Settings().timeout_seconds
    assert given["http_options"]["request_timeout_s"] > seconds
    assert application.deployments[0].graceful_shutdown_timeout_s > seconds
