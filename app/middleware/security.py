"""API keys, a dependency on the routes so that no trick with a path gets round it; headers."""

from hmac import compare_digest
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Unauthorized

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Of every response, unless a route has set its own."""

_bearer = HTTPBearer(auto_error=False, description="An API key, where the service asks for one.")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same, as a header.")


async def require_key(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
) -> None:
    """Let pass who sends one of the keys, or all where there are none.

    Raises:
        Unauthorized
    """
    keys: tuple[str, ...] = request.app.state.service.settings.api_keys
    if not keys:
        return
    given = [bearer.credentials] if bearer else []
    given += [header] if header else []
    # All pairs are compared, each in constant time: how long it takes tells nothing.
    right = [
        compare_digest(key.encode(), one.encode("latin-1", "replace"))
        for key in keys
        for one in given
    ]
    if not any(right):
        raise Unauthorized(
            "This service asks for an API key. Send it as `Authorization: Bearer KEY` or "
            "`X-API-Key: KEY`."
        )


class SecurityHeaders:
    """Middleware that adds `HEADERS`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; its response goes out with the headers."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)
