"""The servers to compare, and their measurements."""

import json
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median

from benchmarks.load.photo import Photo, as_body, as_form, jpeg
from benchmarks.load.process import ROOT, Server, running
from benchmarks.load.wrk import Load, load
from ml.data.synthetic import CLASSES
from ml.predictor import Predictor

PEERS = ROOT / ".venv-peers" / "bin"
CONNECTIONS = (8, 1, 64)
LARGE = 4000, 3000
LARGE_REQUESTS = 15
TOLERANCE = 0.01
"""Allowed difference of a probability; Pillow and libjpeg-turbo differ by less."""


@dataclass
class ComparedServer:
    """A server, its command and its measurements. Its predictions are checked in each round."""

    name: str
    command: list[str]
    form: bool = True
    loads: dict[int, list[Load]] = field(default_factory=lambda: defaultdict(list))
    cpu_ms: list[float] = field(default_factory=list)  # a request, at CONNECTIONS[0]
    memory: list[tuple[float, float]] = field(default_factory=list)  # PSS, RSS of each process
    first_response: list[float] = field(default_factory=list)  # seconds
    large_ms: list[float] = field(default_factory=list)

    def photo(self, jpeg: bytes) -> Photo:
        """Wrap a photo in the form or body that this server takes."""
        return as_form(jpeg) if self.form else as_body(jpeg)

    def under_load(self, seconds: int) -> None:
        """Measure one round on all cores, shared with the load tool."""
        photo = self.photo(jpeg())
        with running(self.command, photo) as server:
            self._check(server)
            load(server.port, photo, CONNECTIONS[0], 1)
            for connections in CONNECTIONS:
                before = server.cpu_ms()
                done = load(server.port, photo, connections, seconds)
                self.loads[connections].append(done)
                if connections == CONNECTIONS[0]:
                    self.cpu_ms.append((server.cpu_ms() - before) / done.requests)
            self.memory = server.memory()

    def on_one_core(self) -> None:
        """Measure one round on the first core alone: the start and a large photo."""
        photo = self.photo(jpeg(*LARGE))
        with running(self.command, self.photo(jpeg()), cpus="0") as server:
            self.first_response.append(server.first_response)
            times = []
            for _ in range(LARGE_REQUESTS):
                started = time.perf_counter()
                if server.ask(photo) is None:
                    raise RuntimeError(f"{self.name} rejects a photo of 12 megapixels")
                times.append((time.perf_counter() - started) * 1000)
            self.large_ms.append(median(times))

    def _check(self, server: Server) -> None:
        predictor = Predictor.open() if self.command[0] == sys.executable else Predictor()
        for label in CLASSES:
            photo = jpeg(label=label)
            expected, body = predictor.predict(photo), server.ask(self.photo(photo))
            if body is None:
                raise RuntimeError(f"{self.name} rejects a photo")
            found = json.loads(body)
            errors = [abs(found["probabilities"][k] - v) for k, v in expected.probabilities.items()]
            if found["label"] != expected.label or max(errors) > TOLERANCE:
                raise RuntimeError(f"{self.name} returns {found}, not {expected.probabilities}")


def compared_servers() -> list[ComparedServer]:
    """Return our service with a form, a raw body and one process, and the other servers."""
    default = [sys.executable, "-m", "app", "--port", "{port}"]
    ours = [*default, "--workers", "{workers}"]
    uvicorn = [str(PEERS / "uvicorn"), "--port", "{port}", "--workers", "{workers}"]
    uvicorn += ["--no-access-log", "--log-level", "warning"]
    bento = [str(PEERS / "bentoml"), "serve", "benchmarks.peers.bento:Classifier"]
    return [
        ComparedServer("skyspotter", ours),
        ComparedServer("skyspotter, one process", default),
        ComparedServer("skyspotter, raw body", ours, form=False),
        ComparedServer("fastapi", [*uvicorn, "benchmarks.peers.plain_fastapi:app"]),
        ComparedServer("litserve", [str(PEERS / "python"), "-m", "benchmarks.peers.lit", "{port}"]),
        ComparedServer("bentoml", [*bento, "--port", "{port}", "--host", "127.0.0.1"]),
        ComparedServer("fastapi, eager torch", [*uvicorn, "benchmarks.peers.eager_fastapi:app"]),
    ]


def bare_loop(seconds: int) -> tuple[float, float]:
    """Return photos a second and CPU ms a photo of decoding and inference without a server."""
    command = [sys.executable, "-m", "benchmarks.load.bare_loop", str(seconds)]
    rate, cpu_ms = subprocess.check_output(command, cwd=ROOT, text=True).split()
    return float(rate), float(cpu_ms)
