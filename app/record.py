"""The record of one request: the route fills it; the access log and the metrics read it."""

from dataclasses import dataclass, field
from typing import NamedTuple

from starlette.types import Scope

from app.schemas import EvidenceGrid
from ml.models.card import Card
from ml.predictor import Prediction


class Classified(NamedTuple):
    """The model's answer for one photo."""

    prediction: Prediction
    card: Card  # of the model that made the prediction
    wait_seconds: float  # in the queue, until a thread was free
    evidence: EvidenceGrid | str | None


@dataclass(slots=True)
class RequestRecord:
    """What is logged and counted of one request. A field stays empty if the request fails first."""

    code: str = ""  # of the error
    read_seconds: float | None = None
    classified: list[Classified] = field(default_factory=list)
    bytes: int | None = None  # of a single photo
    photos: int | None = None  # of a batch
    failed: int | None = None  # photos of a batch that cannot be used

    @classmethod
    def of(cls, scope: Scope) -> "RequestRecord":
        """Return the request's record, which the access log has put into its scope."""
        record: RequestRecord = scope["state"]["record"]
        return record

    def log_fields(self) -> dict[str, object]:
        """Return what the log line says, without empty fields."""
        fields: dict[str, object] = {"code": self.code or None}
        if self.read_seconds is not None:
            fields["read_ms"] = round(self.read_seconds * 1000, 2)
        if self.classified:
            fields["wait_ms"] = round(self.classified[-1].wait_seconds * 1000, 2)
        if self.bytes is not None and self.classified:
            fields |= {"bytes": self.bytes} | _photo_fields(self.classified[0].prediction)
        fields |= {"photos": self.photos, "failed": self.failed}
        return {name: value for name, value in fields.items() if value is not None}


def _photo_fields(prediction: Prediction) -> dict[str, object]:
    photo = prediction.photo
    return {
        "format": photo.format,
        "size": f"{photo.width}x{photo.height}",
        "decode_ms": round(prediction.decode_ms, 3),
        "inference_ms": round(prediction.inference_ms, 3),
        "label": prediction.label,
        "accepted": prediction.accepted,
    }
