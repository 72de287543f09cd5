"""Load shedding: answer 503 before the ASGI app is called, if the queue is full.

At ten times the load that the service can handle, nine of ten requests are rejected. Rejecting them
in a route would take about ten times as long, and leave no time for the others.
"""

import asyncio
import json
import logging
from collections import Counter
from http import HTTPStatus

from app.admission import Admission
from app.errors import Overloaded, RequestError, error_body
from app.metrics import Metrics
from app.middleware import SECURITY_HEADERS
from app.record import ID_HEADER, valid_or_new_id

_ROUTES = ("/predict", "/predict/batch")
_PLACEHOLDER_ID = "0" * 32
_REPORT_SECONDS = 1.0

log = logging.getLogger("skyspotter")


class LoadShedder:
    """Rejects photo requests while the queue is full. The server asks it after the headers."""

    def __init__(self, admission: Admission, metrics: Metrics, root_path: str = "") -> None:
        self.admission, self._metrics = admission, metrics
        self._routes = {
            f"{root}{route}".encode(): route for route in _ROUTES for root in ("", root_path)
        }
        self._rejected: Counter[str] = Counter()  # by route, since the last report
        self._response = error_bytes(Overloaded(), _PLACEHOLDER_ID)

    def route(self, path: bytes) -> str:
        """Return the photo route of a path, or an empty string."""
        return self._routes.get(path, "")

    def reject(self, route: str, request_id: str) -> bytes:
        """Return a 503 as HTTP/1.1, and count it; `request_id` is the client's own, or empty.

        Counting and logging each one would take longer than the rejection itself, so that is done
        once a second for all of them.
        """
        if not self._rejected:
            asyncio.get_running_loop().call_later(_REPORT_SECONDS, self._report)
        self._rejected[route] += 1
        own_id = valid_or_new_id(request_id)
        if len(own_id) != len(_PLACEHOLDER_ID):  # the Content-Length would differ
            return error_bytes(Overloaded(), own_id)
        return self._response.replace(_PLACEHOLDER_ID.encode(), own_id.encode())

    def _report(self) -> None:
        rejected, self._rejected = self._rejected, Counter()
        for route, count in rejected.items():
            self._metrics.count_rejected(route, count)
        fields = {"code": Overloaded.code, "requests": rejected.total()}
        log.warning("requests rejected by load shedding", extra={"fields": fields})


def error_bytes(error: RequestError, request_id: str) -> bytes:
    """Return an error as an HTTP/1.1 response."""
    body = json.dumps(error_body(error, request_id))
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    headers |= {ID_HEADER: request_id, **SECURITY_HEADERS, **error.headers}
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", body]).encode()
