"""What `/metrics` tells, in Prometheus' words; with several workers, of all of them together.

`python -m app` gives its workers a folder to share their numbers in (PROMETHEUS_MULTIPROC_DIR).
"""

import os
from contextlib import suppress
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from app.schemas import Model
from ml.predictor import Prediction

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STAGES = ("read", "wait", "decode", "inference")

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_CONFIDENCES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)


class Metrics:
    """The counters of one app, in a registry of its own: two apps never share a number."""

    def __init__(self) -> None:
        self._shared = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        registry = self._registry = CollectorRegistry()
        if not self._shared:
            ProcessCollector(registry=registry)
        self._requests = Counter(
            "skyspotter_requests", "Requests.", ("route", "status", "code"), registry=registry
        )
        self._request_seconds = Histogram(
            "skyspotter_request_seconds", "Whole requests.", ("route",), registry=registry,
            buckets=_SECONDS,
        )  # fmt: skip
        stages = Histogram(
            "skyspotter_stage_seconds", "Stages of a photo.", ("stage",), registry=registry,
            buckets=_SECONDS,
        )  # fmt: skip
        self._stages = {stage: stages.labels(stage) for stage in STAGES}
        self.in_flight = Gauge(
            "skyspotter_in_flight", "Requests that are worked on or wait.", registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self.queued = Gauge(
            "skyspotter_queued", "Those of them beyond the threads.", registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self.refused = Counter(
            "skyspotter_refused", "Requests refused for too many waited.", registry=registry
        )
        self._predictions = Counter(
            "skyspotter_predictions", "Answers.", ("label", "accepted"), registry=registry
        )
        self._confidence = Histogram(
            "skyspotter_confidence", "Of answers.", registry=registry, buckets=_CONFIDENCES
        )
        self._model = Gauge(
            "skyspotter_model_info", "1 for the model that is served.",
            ("name", "version", "engine", "precision"), registry=registry,
            multiprocess_mode="livemax",
        )  # fmt: skip
        self._served: tuple[str, ...] = ()

    def request(self, route: str, status: int, code: str, seconds: float) -> None:
        """Count a request that has been answered."""
        self._requests.labels(route, str(status), code).inc()
        self._request_seconds.labels(route).observe(seconds)

    def refusals(self, route: str, count: int) -> None:
        """Count requests that were refused before the app saw them; they took no time."""
        self.refused.inc(count)
        self._requests.labels(route, "503", "overloaded").inc(count)

    def read(self, seconds: float) -> None:
        """Count the time in which a body came in."""
        self._stages["read"].observe(seconds)

    def prediction(self, answer: Prediction, waited: float) -> None:
        """Count an answer, and where its time went."""
        self._stages["wait"].observe(waited)
        self._stages["decode"].observe(answer.decode_ms / 1000)
        self._stages["inference"].observe(answer.inference_ms / 1000)
        self._predictions.labels(answer.label, str(answer.accepted).lower()).inc()
        self._confidence.observe(answer.confidence)

    def model(self, model: Model, engine: str, precision: str) -> None:
        """Name the model that is served from now on."""
        if self._served:
            self._model.labels(*self._served).set(0)
        self._served = (model.name, model.version, engine, precision)
        self._model.labels(*self._served).set(1)

    def text(self) -> bytes:
        """Return all numbers as Prometheus reads them."""
        if not self._shared:
            return generate_latest(self._registry)
        _bury_the_dead(Path(self._shared))
        together = CollectorRegistry()
        MultiProcessCollector(together)
        return generate_latest(together)


def _bury_the_dead(folder: Path) -> None:
    """Forget what workers had in hand that were killed: they could not say goodbye."""
    for pid in {file.stem.rpartition("_")[2] for file in folder.glob("gauge_live*.db")}:
        try:
            os.kill(int(pid), 0)
        except PermissionError:  # alive, and another user's
            pass
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another worker was asked at the same time
                mark_process_dead(int(pid))
