"""The model behind the service: loaded once, exchanged on demand, asked off the event loop."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import NamedTuple

from app.errors import NotReady
from app.metrics import Metrics
from app.model_backup import ModelBackup, fingerprints
from app.schemas import EvidenceGrid, EvidenceKind, Health, Model, ModelCard, evidence_of
from app.settings import Settings
from ml.errors import ModelError
from ml.models.card import Card
from ml.predictor import Prediction, Predictor

log = logging.getLogger("skyspotter")


class Answered(NamedTuple):
    """The answer for a photo, and what belongs to it."""

    answer: Prediction
    card: Card  # of the model that gave it
    waited: float  # seconds until the photo's turn came
    evidence: EvidenceGrid | str | None


class Inference:
    """Holds the predictor, says whether it is ready, and bounds how many photos run at a time."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._predictor: Predictor | None = None
        self._failure: str | None = None
        self._backup = ModelBackup(settings.model)
        self._loading = Lock()
        self._pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="photo")

    def load(self) -> None:
        """Load the model, once. What fails is logged and told by `health`, not raised.

        Where the file is not sound any more, the model that other workers serve is taken.
        """
        with self._loading:
            if self._predictor is None:
                self._try()
            if self._predictor is None and (spare := self._backup.path()):
                log.warning("the model that was served before is taken")
                self._try(spare)

    def reload(self) -> None:
        """Take up the model file as it is now; where it is not sound, keep the old model.

        Photos that are being worked on end with the model that they began with.
        """
        with self._loading:
            self._try()

    def exchange(self, model: Path) -> None:
        """Serve another model file from now on; where it is not sound, keep the old one.

        Raises:
            ModelError
        """
        with self._loading:
            self._take_up(self._settings.model_copy(update={"model": model}))

    def health(self) -> Health:
        """Say whether photos can be predicted."""
        if self._predictor is not None:
            return Health(status="ok", model=self.model())
        if self._failure is not None:
            return Health(status="failed", detail=self._failure)
        return Health(status="starting", detail="The model is being loaded.")

    def model(self) -> Model:
        """Name the loaded model."""
        card = self.ready().card
        return Model(name=card.name, version=card.version)

    def model_card(self) -> ModelCard:
        """Tell all that is known of the loaded model.

        Raises:
            NotReady: while there is no model.
        """
        engine = self.ready().engine
        return ModelCard(
            **engine.card.model_dump(exclude={"split"}),
            engine=engine.name,
            precision=engine.card.precision,
        )

    async def predict(self, photo: bytes, kind: EvidenceKind = "none") -> Answered:
        """Decode and predict in a worker thread, `threads` photos at a time.

        A photo whose request is cancelled while it waits is never worked on, nor kept.

        Raises:
            NotReady: while there is no model.
            ImageError: where the bytes are no photo that can be used.
        """
        predictor, asked, held = self.ready(), perf_counter(), [photo]

        def work() -> Answered:
            waited = perf_counter() - asked
            answer, card = predictor.predict(held.pop()), predictor.card
            return Answered(answer, card, waited, evidence_of(answer, card.classes, kind))

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            held.clear()  # what was cancelled stays in the pool's queue until its turn comes

    def ready(self) -> Predictor:
        """Return the loaded model.

        Raises:
            NotReady: while there is none.
        """
        if self._predictor is None:
            raise NotReady("The model is not loaded. Try again in a moment; /health says more.")
        return self._predictor

    def _try(self, spare: Path | None = None) -> None:
        try:
            if spare is None:
                seen = fingerprints(self._settings.model)
                self._take_up(self._settings)
                self._backup.save(self._settings.model, seen)
            else:
                self._serve(self._settings.model_copy(update={"model": spare}))
        except Exception as error:  # whatever it is, probes must be told
            said = "new model refused, the old model goes on: %s"
            if self._predictor is None:
                said = "cannot serve: %s"
                self._failure = "The model could not be loaded; the service's log says why."
            log.error(said, error, exc_info=not isinstance(error, ModelError))

    def _take_up(self, asked: Settings) -> None:
        self._serve(asked)
        self._settings = asked

    def _serve(self, asked: Settings) -> None:
        predictor = Predictor.open(
            asked.model, asked.engine, asked.precision, max_pixels=asked.max_pixels
        )
        self._predictor, self._failure = predictor, None
        engine, card = predictor.engine, predictor.card
        self._metrics.model(self.model(), engine.name, card.precision)
        log.info("model %s is served: %s, %s", card.version, engine.name, card.precision)
