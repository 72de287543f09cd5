"""The model behind the service: loaded once, asked off the event loop."""

import logging
from threading import Lock

import anyio.to_thread
from anyio import CapacityLimiter

from app.errors import NotReady
from app.schemas import Health, Model
from app.settings import Settings
from ml.errors import ModelError
from ml.predictor import Prediction, Predictor

log = logging.getLogger("skyspotter")


class Inference:
    """Holds the predictor, says whether it is ready, and bounds how many photos run at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._predictor: Predictor | None = None
        self._failure: str | None = None
        self._loading = Lock()
        self._limiter: CapacityLimiter | None = None  # belongs to a running event loop

    def load(self) -> None:
        """Load the model, once. What fails is logged and told by `health`, not raised."""
        with self._loading:
            if self._predictor is not None:
                return
            try:
                self._predictor = Predictor(
                    self._settings.model, max_pixels=self._settings.max_pixels
                )
            except Exception as error:  # whatever it is, probes must be told
                self._failure = "The model could not be loaded; the service's log says why."
                log.error("cannot serve: %s", error, exc_info=not isinstance(error, ModelError))

    def health(self) -> Health:
        """Say whether photos can be predicted."""
        if self._predictor is not None:
            return Health(status="ok", model=self.model())
        if self._failure is not None:
            return Health(status="failed", detail=self._failure)
        return Health(status="starting", detail="The model is being loaded.")

    def model(self) -> Model:
        """Name the loaded model."""
        card = self._ready().card
        return Model(name=card.name, version=card.version)

    async def predict(self, photo: bytes) -> Prediction:
        """Decode and predict in a worker thread, `threads` photos at a time.

        Raises:
            NotReady: while there is no model.
            ImageError: where the bytes are no photo that can be used.
        """
        predictor = self._ready()
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._settings.threads)
        return await anyio.to_thread.run_sync(predictor.predict, photo, limiter=self._limiter)

    def _ready(self) -> Predictor:
        if self._predictor is None:
            raise NotReady("The model is not loaded. Try again in a moment; /health says more.")
        return self._predictor
