"""Middleware: give every request an id, either the client's own `X-Request-ID` or a new one."""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-ID"
# The id is echoed and logged: it must not be able to forge a header or a log line.
_ACCEPTABLE = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)


def request_id(scope: Scope) -> str:
    """Return the request's id."""
    return str(scope.setdefault("state", {}).get("request_id", ""))


def valid_or_new_id(given: str) -> str:
    """Return the client's id if it is acceptable, else a new one."""
    return given if _ACCEPTABLE.fullmatch(given) else uuid.uuid4().hex


class RequestId:
    """Chooses the id, and adds it to the response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its id."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        own_id = valid_or_new_id(Headers(scope=scope).get(HEADER, ""))
        scope.setdefault("state", {})["request_id"] = own_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = own_id
            await send(message)

        await self.app(scope, receive, send_with_id)
