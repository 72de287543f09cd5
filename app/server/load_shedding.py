"""Refusing at the door: who finds no place is answered before the app hears of it.

Ten times the load that can be borne is nine refusals to an answer. The whole way to a route and
back takes some ten times as long as this, and would leave nothing for the answers.
"""

import asyncio
import json
import logging
from collections import Counter
from http import HTTPStatus

from app.admission import Admission, overloaded
from app.errors import Overloaded, RequestError
from app.metrics import Metrics
from app.middleware.request_id import HEADER, settled
from app.middleware.security_headers import HEADERS

_ROUTES = ("/predict", "/predict/batch")
_ANY_ID = "0" * 32
_TELL_SECONDS = 1.0

log = logging.getLogger("skyspotter")


class LoadShedder:
    """Shut while no place is free; a server that can look at a request's head may refuse it."""

    def __init__(self, admission: Admission, metrics: Metrics, root_path: str = "") -> None:
        self._admission, self._metrics = admission, metrics
        self._ways = {
            f"{root}{route}".encode(): route for route in _ROUTES for root in ("", root_path)
        }
        self._refused: Counter[str] = Counter()  # by route, since numbers and log were told
        self._answer = answer_bytes(overloaded(), _ANY_ID)

    @property
    def is_shedding(self) -> bool:
        """Whether a photo that came now would be refused."""
        return self._admission.is_full

    def route(self, path: bytes) -> str:
        """Return the route for photos that a path leads to, or nothing."""
        return self._ways.get(path, "")

    def reject(self, route: str, given_id: str) -> bytes:
        """Return a refusal as HTTP/1.1, and count it; `given_id` is the caller's own, or empty.

        To count and log each by itself would take longer than the refusal: it is done once a
        second, and the log says how many there were.
        """
        if not self._refused:
            asyncio.get_running_loop().call_later(_TELL_SECONDS, self._tell)
        self._refused[route] += 1
        own_id = settled(given_id)
        if len(own_id) != len(_ANY_ID):
            return answer_bytes(overloaded(), own_id)
        return self._answer.replace(_ANY_ID.encode(), own_id.encode())

    def _tell(self) -> None:
        refused, self._refused = self._refused, Counter()
        for route, count in refused.items():
            self._metrics.refusals(route, count)
        facts = {"code": Overloaded.code, "requests": refused.total()}
        log.warning("refused at the door", extra={"facts": facts})


def answer_bytes(error: RequestError, own_id: str) -> bytes:
    """Build the shape that all errors have, as HTTP/1.1."""
    body = json.dumps({"detail": str(error), "code": error.code, "request_id": own_id})
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        HEADER: own_id,
        **HEADERS,
        **error.headers,
    }
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", body]).encode()
