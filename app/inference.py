"""The model of the service: loaded once, reloaded on demand, run in a thread pool."""

import asyncio
import gc
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from time import perf_counter

from app.errors import NotReady
from app.metrics import Metrics
from app.model_backup import ModelBackup, fingerprints
from app.record import ClassifiedPhoto
from app.responses import to_evidence
from app.schemas import EvidenceKind, Health, Model, ModelCard
from app.settings import Settings
from ml.errors import ModelError
from ml.predictor import Predictor

log = logging.getLogger("skyspotter")


class Inference:
    """Holds the predictor, reports whether it is ready, and limits how many photos run at once."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._model = settings.model
        self._metrics = metrics
        self._predictor: Predictor | None = None
        self._failure: str | None = None
        self._backup = ModelBackup(settings.model)
        self._loading = Lock()
        self._pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="photo")

    def load(self) -> None:
        """Load the model, once. A failure is logged and reported by `health`, not raised.

        If the file cannot be loaded, load the backup of the model that other workers serve.
        """
        with self._loading:
            if self._predictor is not None:
                return
            self._load_or_log()
            if self._predictor is None and (backup := self._backup.path()):
                log.warning("loading the backup of the last model")
                self._load_or_log(backup)
            # The garbage collector skips everything loaded so far: under overload, searching it
            # took a sixth of the time.
            gc.freeze()

    def reload(self) -> None:
        """Load the model file again. If it cannot be loaded, keep the current model.

        Photos in progress finish with the model that they started with.
        """
        with self._loading:
            self._load_or_log()

    def switch_to(self, model: Path) -> None:
        """Serve another model file. If it raises ModelError, keep the current model."""
        with self._loading:
            self._open(model)
            self._model = model

    def health(self) -> Health:
        """Return whether the model is loaded."""
        if self._predictor is not None:
            card = self._predictor.card
            return Health(status="ok", model=Model(name=card.name, version=card.version))
        if self._failure is not None:
            return Health(status="failed", detail=self._failure)
        return Health(status="starting", detail="The model is being loaded.")

    def model_card(self) -> ModelCard:
        """Return the card of the loaded model; raise NotReady if there is none."""
        engine = self.predictor().engine
        fields = engine.card.model_dump(exclude={"split"})
        return ModelCard(**fields, engine=engine.name, precision=engine.card.precision)

    async def predict(self, photo: bytes, evidence: EvidenceKind = "none") -> ClassifiedPhoto:
        """Decode and classify a photo in a thread, `threads` photos at a time.

        If the request is cancelled while it waits, its photo is released and never processed.

        Raises:
            NotReady: if no model is loaded.
            ImageError: if the bytes cannot be used as a photo.
        """
        predictor, queued_at, photos = self.predictor(), perf_counter(), [photo]

        def work() -> ClassifiedPhoto:
            waited = perf_counter() - queued_at
            prediction, card = predictor.predict(photos.pop()), predictor.card
            shown = to_evidence(prediction, card.classes, evidence)
            return ClassifiedPhoto(prediction, card, waited, shown)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            photos.clear()  # the pool keeps a cancelled call, but not its photo

    def predictor(self) -> Predictor:
        """Return the loaded model; raise NotReady if there is none."""
        if self._predictor is None:
            raise NotReady
        return self._predictor

    def _load_or_log(self, backup: Path | None = None) -> None:
        try:
            if backup is None:
                seen = fingerprints(self._model)
                self._open(self._model)
                self._backup.save(self._model, seen)
            else:
                self._open(backup)
        except Exception as error:  # health must report every failure
            message = "reload failed; keeping the current model: %s"
            if self._predictor is None:
                message = "cannot serve: %s"
                self._failure = "The model could not be loaded; the service's log says why."
            log.error(message, error, exc_info=not isinstance(error, ModelError))

    def _open(self, model: Path) -> None:
        settings = self._settings
        predictor = Predictor.open(
            model, settings.engine, settings.precision, max_pixels=settings.max_pixels
        )
        self._predictor, self._failure = predictor, None
        engine, card = predictor.engine, predictor.card
        self._metrics.set_model(card.name, card.version, engine.name, card.precision)
        log.info("model %s is served: %s, %s", card.version, engine.name, card.precision)
