"""The middleware around all routes: the request's id and record, response headers, log, metrics."""

import logging
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import InternalError
from app.metrics import Metrics
from app.record import ID_HEADER, RequestRecord, valid_or_new_id

log = logging.getLogger("skyspotter")

MONITORING_ROUTES = ("/health", "/health/live", "/metrics")
"""Requested every few seconds, and therefore logged only if they fail."""
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""A route may set its own values for these."""


class RequestMiddleware:
    """Creates the request's record, adds headers to the response, and logs and counts the request.

    It wraps all other middleware and the exception handlers, so that it sees every response.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and observe the response."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        record = RequestRecord(valid_or_new_id(Headers(scope=scope).get(ID_HEADER, "")))
        scope.setdefault("state", {})["record"] = record
        started = perf_counter()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[ID_HEADER] = record.request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            record.seconds = perf_counter() - started
            self._finish(scope, record)

    def _finish(self, scope: Scope, record: RequestRecord) -> None:
        if route := scope.get("route"):
            record.route = route.path
        if record.status == InternalError.status:
            record.code = record.code or InternalError.code
        self.metrics.observe_request(record)
        if record.route in MONITORING_ROUTES and record.status < 500:
            return
        fields = {"method": scope["method"], "path": scope["path"], "status": record.status}
        fields |= {"ms": round(record.seconds * 1000, 2), "request_id": record.request_id}
        level = logging.INFO if record.status < 500 else logging.WARNING
        log.log(level, "request", extra={"fields": fields | record.log_fields()})
