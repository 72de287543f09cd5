"""Prometheus metrics; with several workers, `/metrics` reports all of them together.

`python -m app` sets PROMETHEUS_MULTIPROC_DIR, the folder in which its workers share their values.
"""

import os
from contextlib import suppress
from functools import partial
from pathlib import Path

import prometheus_client as prometheus
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from app.errors import Overloaded
from app.record import RequestRecord

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STAGES = ("read", "wait", "decode", "inference")

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_CONFIDENCES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)


class Metrics:
    """The metrics of one app. Each app has its own registry, so that two apps share no values."""

    def __init__(self) -> None:
        self._shared = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        registry = self._registry = prometheus.CollectorRegistry()
        if not self._shared:
            prometheus.ProcessCollector(registry=registry)
        counter = partial(prometheus.Counter, registry=registry)
        histogram = partial(prometheus.Histogram, registry=registry, buckets=_SECONDS)
        gauge = partial(prometheus.Gauge, registry=registry, multiprocess_mode="livesum")
        self._requests = counter(
            "skyspotter_requests", "Requests answered.", ("route", "status", "code")
        )
        self._request_seconds = histogram(
            "skyspotter_request_seconds", "Duration of requests in seconds.", ("route",)
        )
        stages = histogram(
            "skyspotter_stage_seconds", "Duration of prediction stages in seconds.", ("stage",)
        )
        self._stages = {stage: stages.labels(stage) for stage in STAGES}
        self.in_flight = gauge("skyspotter_in_flight", "Photo requests being processed or waiting.")
        self.queued = gauge("skyspotter_queued", "Photo requests waiting for a free thread.")
        self._rejected = counter(
            "skyspotter_refused", "Requests rejected because the queue was full."
        )
        self._predictions = counter(
            "skyspotter_predictions", "Photos classified.", ("label", "accepted")
        )
        self._confidence = histogram(
            "skyspotter_confidence", "Confidence of predictions.", buckets=_CONFIDENCES
        )
        self._model = gauge(
            "skyspotter_model_info", "1 for the model that is served.",
            ("name", "version", "engine", "precision"), multiprocess_mode="livemax",
        )  # fmt: skip
        self._served: tuple[str, ...] = ()

    def observe_request(self, record: RequestRecord) -> None:
        """Count a request that has been answered, and its predictions."""
        self._requests.labels(record.route, str(record.status), record.code).inc()
        self._request_seconds.labels(record.route).observe(record.seconds)
        if record.code == Overloaded.code:
            self._rejected.inc()
        if record.read_seconds is not None:
            self._stages["read"].observe(record.read_seconds)
        for prediction, _, wait_seconds, _ in record.classified:
            self._stages["wait"].observe(wait_seconds)
            self._stages["decode"].observe(prediction.decode_ms / 1000)
            self._stages["inference"].observe(prediction.inference_ms / 1000)
            self._predictions.labels(prediction.label, str(prediction.accepted).lower()).inc()
            self._confidence.observe(prediction.confidence)

    def count_rejected(self, route: str, count: int) -> None:
        """Count requests that load shedding rejected; their duration is not measured."""
        self._rejected.inc(count)
        self._requests.labels(route, str(Overloaded.status), Overloaded.code).inc(count)

    def set_model(self, name: str, version: str, engine: str, precision: str) -> None:
        """Report the model that is served from now on."""
        if self._served:
            self._model.labels(*self._served).set(0)
        self._served = (name, version, engine, precision)
        self._model.labels(*self._served).set(1)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        if not self._shared:
            return prometheus.generate_latest(self._registry)
        _remove_dead_workers(Path(self._shared))
        together = prometheus.CollectorRegistry()
        MultiProcessCollector(together)
        return prometheus.generate_latest(together)


def _remove_dead_workers(folder: Path) -> None:
    """Delete the gauges of workers that were killed, which could not delete them."""
    for pid in {file.stem.rpartition("_")[2] for file in folder.glob("gauge_live*.db")}:
        try:
            os.kill(int(pid), 0)
        except PermissionError:  # the process is alive and belongs to another user
            pass
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another worker deleted them at the same time
                mark_process_dead(int(pid))
