"""API keys: a dependency of the protected routes, so that no crafted path bypasses it."""

from hmac import compare_digest
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from app.errors import Unauthorized
from app.state import Service

_bearer = HTTPBearer(auto_error=False, description="An API key, if the service requires one.")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key as a header.")


async def authorized_service(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
) -> Service:
    """Return the service if the request has a valid key, or if no keys are set.

    Raises:
        Unauthorized
    """
    service = Service.of(request)
    keys = service.settings.api_keys
    if not keys:
        return service
    given = [bearer.credentials] if bearer else []
    given += [header] if header else []
    # Compare all pairs, each in constant time, so that the duration reveals nothing.
    matches = [
        compare_digest(key.encode(), one.encode("latin-1", "replace"))
        for key in keys
        for one in given
    ]
    if not any(matches):
        raise Unauthorized
    return service


ProtectedService = Annotated[Service, Depends(authorized_service)]
"""The service, for a route that requires an API key."""
