"""API keys: a dependency on the routes, so that no trick with a path gets round it."""

from hmac import compare_digest
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from app.errors import Unauthorized

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
