"""Middleware: log one line for each request, and count it."""

import logging
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import InternalError
from app.metrics import Metrics
from app.middleware.request_id import request_id
from app.record import RequestRecord

log = logging.getLogger("skyspotter")

QUIET_ROUTES = ("/health", "/health/live", "/metrics")
"""Monitoring requests these every few seconds: they are logged only if they fail."""


class AccessLog:
    """Creates the request's record, and logs and counts it at the end.

    It wraps the routes and the exception handlers, so that it sees every response.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and observe the response."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        record = scope["state"]["record"] = RequestRecord()
        started, status = perf_counter(), InternalError.status  # if an exception passes through

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, observe)
        finally:
            self._finish(scope, status, perf_counter() - started, record)

    def _finish(self, scope: Scope, status: int, seconds: float, record: RequestRecord) -> None:
        # Unknown paths share one label: there is no limit to how many there are.
        route = getattr(scope.get("route"), "path", "other")
        code = record.code or (InternalError.code if status == InternalError.status else "")
        self.metrics.observe_request(route, status, code, seconds, record)
        if route in QUIET_ROUTES and status < 500:
            return
        fields = {"method": scope["method"], "path": scope["path"], "status": status}
        fields |= {"ms": round(seconds * 1000, 2), "request_id": request_id(scope)}
        fields |= record.log_fields()
        level = logging.INFO if status < 500 else logging.WARNING
        log.log(level, "request", extra={"fields": fields})
