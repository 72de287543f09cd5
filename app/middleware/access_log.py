"""Middleware: every request is counted, timed and told in one line of the log."""

import logging
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.metrics import Metrics
from app.middleware.request_id import request_id

log = logging.getLogger("skyspotter")

QUIET = ("/health", "/health/live", "/metrics")
"""Asked every few seconds by machines: told only when something is wrong."""


def note(scope: Scope, **facts: Any) -> None:
    """Add facts to the request's line in the log."""
    scope["state"].setdefault("facts", {}).update(facts)


class Observe:
    """Outside the routes, so that whatever happens to a request is seen."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and watch."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, status = perf_counter(), 500  # for an exception is answered further outside

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            self._tell(scope, status, perf_counter() - started)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        # Of paths that are no routes there are endlessly many.
        route = getattr(scope.get("route"), "path", "other")
        facts = scope["state"].get("facts", {})
        code = facts.get("code", "internal_error" if status == 500 else "")
        self.metrics.request(route, status, code, seconds)
        if route in QUIET and status < 500:
            return
        line = {"method": scope["method"], "path": scope["path"], "status": status}
        line |= {"ms": round(seconds * 1000, 2), "request_id": request_id(scope)}
        log.log(
            logging.INFO if status < 500 else logging.WARNING,
            "request",
            extra={"facts": line | facts},
        )
