"""Every request has an id: the caller's own `X-Request-ID`, or a new one."""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-ID"
# What is echoed and logged must not be able to forge a header or a line.
_ACCEPTABLE = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)


def request_id(scope: Scope) -> str:
    """Return the request's id."""
    return str(scope.setdefault("state", {}).get("request_id", ""))


def settled(given: str) -> str:
    """Return the caller's own id where it can be taken, else a new one."""
    return given if _ACCEPTABLE.fullmatch(given) else uuid.uuid4().hex


class RequestId:
    """Middleware that settles the id and writes it into the response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its id."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = Headers(scope=scope).get(HEADER, "")
        own_id = settled(given)
        scope.setdefault("state", {})["request_id"] = own_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = own_id
            await send(message)

        await self.app(scope, receive, send_with_id)
