"""How a route gets the service: `PublicService`, or `ProtectedService` if it requires an API key.

The key is checked by a dependency of the route, so that no crafted path bypasses the check.
"""

from hmac import compare_digest
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from app.errors import Unauthorized
from app.state import Service

_bearer = HTTPBearer(auto_error=False, description="An API key, if the service requires one.")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key as a header.")


async def public_service(request: Request) -> Service:
    """Return the service of the app that handles the request."""
    service: Service = request.app.state.service
    return service


async def protected_service(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
) -> Service:
    """Return the service; raise Unauthorized if keys are set and the request has none of them."""
    service: Service = request.app.state.service
    if not service.settings.api_keys:
        return service
    # Compare all pairs, each in constant time, so that the duration reveals nothing.
    matches = [
        compare_digest(key.encode(), given.encode("latin-1", "replace"))
        for key in service.settings.api_keys
        for given in (bearer and bearer.credentials, header)
        if given
    ]
    if not any(matches):
        raise Unauthorized
    return service


PublicService = Annotated[Service, Depends(public_service)]
ProtectedService = Annotated[Service, Depends(protected_service)]
