"""The record of one request: its route fills it, and `RequestMiddleware` logs and counts it."""

import re
import uuid
from dataclasses import dataclass, field
from typing import NamedTuple

from starlette.types import Scope

from app.errors import InternalError
from app.schemas import EvidenceGrid
from ml.models.card import Card
from ml.predictor import Prediction

ID_HEADER = "X-Request-ID"
# The id is echoed and logged: it must not be able to forge a header or a log line.
_ACCEPTABLE = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)


def valid_or_new_id(given: str) -> str:
    """Return the client's id if it is acceptable, else a new one."""
    return given if _ACCEPTABLE.fullmatch(given) else uuid.uuid4().hex


class ClassifiedPhoto(NamedTuple):
    """The prediction for one photo, and how it was made."""

    prediction: Prediction
    card: Card  # of the model that made the prediction
    wait_seconds: float  # in the queue, until a thread was free
    evidence: EvidenceGrid | str | None


@dataclass(slots=True)
class RequestRecord:
    """All that is logged and counted for a request. It stays incomplete if the request fails."""

    request_id: str = ""
    route: str = "other"  # one label for all unknown paths, because their number is unlimited
    status: int = InternalError.status  # stays if no response begins
    seconds: float = 0.0
    code: str = ""  # of the error
    read_seconds: float | None = None
    classified: list[ClassifiedPhoto] = field(default_factory=list)
    bytes: int | None = None  # of a single photo
    photos: int | None = None  # of a batch
    failed: int | None = None  # photos of a batch that cannot be used

    @classmethod
    def of(cls, scope: Scope) -> "RequestRecord":
        """Return the request's record, which `RequestMiddleware` has put into its scope."""
        record: RequestRecord = scope["state"]["record"]
        return record

    def log_fields(self) -> dict[str, object]:
        """Return the fields that the route has filled, as the log line shows them."""
        fields: dict[str, object] = {"code": self.code or None}
        if self.read_seconds is not None:
            fields["read_ms"] = round(self.read_seconds * 1000, 2)
        if self.classified:
            fields["wait_ms"] = round(self.classified[-1].wait_seconds * 1000, 2)
        if self.bytes is not None and self.classified:
            prediction = self.classified[0].prediction
            fields["bytes"] = self.bytes
            fields["format"] = prediction.photo.format
            fields["size"] = f"{prediction.photo.width}x{prediction.photo.height}"
            fields["decode_ms"] = round(prediction.decode_ms, 3)
            fields["inference_ms"] = round(prediction.inference_ms, 3)
            fields["label"] = prediction.label
            fields["accepted"] = prediction.accepted
        fields |= {"photos": self.photos, "failed": self.failed}
        return {name: value for name, value in fields.items() if value is not None}
