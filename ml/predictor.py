"""Predict the class of a photo: decode it, cut the views, run the network, average the logits."""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from ml.engines.base import Engine, Floats
from ml.engines.loader import EngineChoice, PrecisionChoice, open_best, open_engine
from ml.images.decode import MAX_PIXELS, ImageInfo, decode, read
from ml.images.preprocessing import Box, boxes, network_input, region
from ml.models.card import Card
from ml.models.probability import probabilities

SHIPPED_MODEL = Path(__file__).resolve().parent.parent / "weights" / "model.onnx"


@dataclass(frozen=True)
class Prediction:
    """The prediction for one photo."""

    label: str
    confidence: float
    accepted: bool
    """False if the confidence is below the threshold."""
    probabilities: dict[str, float]
    """The probability of every class, in the model's order."""
    photo: ImageInfo
    logits: Floats  # (C,), the mean of the views' logits
    evidence: Floats  # (V, C, 7, 7), of each view
    boxes: list[Box]  # the box of each view, in pixels of the upright photo
    regions: list[Box]  # the box that the evidence of each view covers, in the same pixels
    decode_ms: float
    inference_ms: float


class Predictor:
    """A loaded model. One predictor may be used from several threads at once."""

    def __init__(
        self,
        model: Path | str = SHIPPED_MODEL,
        threads: int = 1,
        max_pixels: int = MAX_PIXELS,
        engine: Engine | None = None,
    ) -> None:
        """Load exactly this file, or use an engine that is already open.

        Args:
            model: an ONNX file written by this project.
            threads: how many cores one prediction may use.
            max_pixels: a photo with more pixels is rejected before it is decoded.
            engine: an open engine; `model` and `threads` are then ignored.

        Raises:
            ModelError: if the file is missing, damaged or not a Skyspotter model.
        """
        self.engine = engine or open_engine(Path(model), threads=threads)
        self.max_pixels = max_pixels

    @classmethod
    def open(
        cls,
        model: Path | str = SHIPPED_MODEL,
        engine: EngineChoice = "auto",
        precision: PrecisionChoice = "auto",
        threads: int = 1,
        max_pixels: int = MAX_PIXELS,
    ) -> "Predictor":
        """Load a model file or the int8 file beside it, as `ml.engines.loader.open_best` chooses.

        Raises:
            ModelError: if there is no file that can be used, or the engine is not installed.
        """
        opened = open_best(Path(model), engine, precision, threads)
        return cls(max_pixels=max_pixels, engine=opened.engine)

    @property
    def card(self) -> Card:
        """The model's card."""
        return self.engine.card

    def predict(self, photo: bytes | Path | str) -> Prediction:
        """Predict the class of an image file, given as its bytes or its path.

        Raises:
            ImageError: if the file cannot be decoded.
            OSError: if the path cannot be read.
        """
        data = photo if isinstance(photo, bytes) else read(Path(photo))
        started = perf_counter()
        decoded = decode(data, self.max_pixels, self.card.preprocessing.needed_side)
        pixels = network_input(decoded.pixels, self.card.preprocessing)  # (V, 224, 224, 3)
        ready = perf_counter()
        view_logits, evidence = self.engine.run(pixels)  # (V, C), (V, C, 7, 7)
        logits = view_logits.mean(axis=0)  # (C,)
        finished = perf_counter()
        calibrated = probabilities(logits, self.card.temperature)
        view_boxes = boxes(decoded.info.width, decoded.info.height, self.card.preprocessing)
        best = int(np.argmax(calibrated))
        return Prediction(
            label=self.card.classes[best],
            confidence=float(calibrated[best]),
            accepted=bool(calibrated[best] >= self.card.threshold),
            probabilities=dict(zip(self.card.classes, calibrated.tolist(), strict=True)),
            photo=decoded.info,
            logits=logits,
            evidence=evidence,
            boxes=view_boxes,
            regions=[region(box, self.card.preprocessing) for box in view_boxes],
            decode_ms=(ready - started) * 1000,
            inference_ms=(finished - ready) * 1000,
        )
