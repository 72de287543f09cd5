"""What all routes share: the settings, the model, the door and the numbers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter

from fastapi import Request

from app.admission import Admission, Hold
from app.errors import Overloaded, TimedOut
from app.inference import Inference
from app.metrics import Metrics
from app.middleware.access_log import note
from app.middleware.request_id import request_id
from app.schemas import EvidenceKind, Prediction
from app.settings import Settings


@dataclass
class Service:
    """One app's parts; `Service.of(request)` finds them."""

    settings: Settings
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        settings = self.settings
        self.inference = Inference(settings, self.metrics)
        places = settings.threads + settings.queue_limit
        self.admission = Admission(places, settings.max_body_bytes)

    @classmethod
    def of(cls, request: Request) -> "Service":
        """Return the parts of the app that the request came to."""
        service: Service = request.app.state.service
        return service

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[Hold]:
        """Take a place before anything of the body is read, and keep it until the deadline.

        Raises:
            NotReady: while there is no model.
            Overloaded: where no place is free.
            TimedOut: where the deadline passes inside.
        """
        self.inference.ready()
        seconds = self.settings.timeout_seconds
        try:
            with self.admission.enter() as hold:
                self._count()
                async with asyncio.timeout(seconds):
                    yield hold
        except Overloaded:
            self.metrics.refused.inc()
            raise
        except TimeoutError as error:
            raise TimedOut(
                f"The photo did not arrive, or was not answered, within {seconds:g} seconds. "
                "Try again, or send a smaller photo."
            ) from error
        finally:
            self._count()

    async def answer(
        self, request: Request, photo: bytes, top_k: int | None, kind: EvidenceKind = "none"
    ) -> Prediction:
        """Predict one photo, and keep account of it.

        Raises:
            NotReady, ImageError
        """
        answer, card, waited, evidence = await self.inference.predict(photo, kind)
        self.metrics.prediction(answer, waited)
        note(request.scope, wait_ms=round(waited * 1000, 2))
        return Prediction.of(answer, card, request_id(request.scope), top_k, evidence)

    def reading(self, request: Request, started: float) -> None:
        """Keep account of the time in which a body came in."""
        seconds = perf_counter() - started
        self.metrics.read(seconds)
        note(request.scope, read_ms=round(seconds * 1000, 2))

    def _count(self) -> None:
        inside = self.admission.inside
        self.metrics.in_flight.set(inside)
        self.metrics.queued.set(max(0, inside - self.settings.threads))
