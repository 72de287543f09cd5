"""The state that all routes share: settings, model, limits and metrics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.admission import Admission, Slot
from app.errors import TimedOut
from app.inference import Inference
from app.metrics import Metrics
from app.settings import Settings


class Service:
    """The state of one app. Routes get it as a `PublicService` or a `ProtectedService`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.inference = Inference(settings, self.metrics)
        self.admission = Admission(settings.threads + settings.queue_limit, settings.max_body_bytes)

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[Slot]:
        """Hold a slot from before the body is read until the request ends or times out.

        Raises:
            NotReady: if no model is loaded.
            Overloaded: if no slot is free.
            TimedOut: if the deadline passes first.
        """
        self.inference.predictor()
        seconds = self.settings.timeout_seconds
        try:
            with self.admission.acquire() as slot:
                self._update_gauges()
                async with asyncio.timeout(seconds):
                    yield slot
        except TimeoutError as error:
            raise TimedOut(
                f"The photo was not received and answered within {seconds:g} seconds. "
                "Try again, or send a smaller photo."
            ) from error
        finally:
            self._update_gauges()

    def _update_gauges(self) -> None:
        in_flight = self.admission.in_flight
        self.metrics.in_flight.set(in_flight)
        self.metrics.queued.set(max(0, in_flight - self.settings.threads))
