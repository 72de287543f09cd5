"""What people see in a browser: the page at `/`, and Swagger UI at `/docs`, both without internet.

Everything is served from here, and the policies let a browser load nothing from elsewhere.
"""

from functools import cache
from html import escape
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

PAGE = Path(__file__).parent.parent / "page"
# Looked up by hand: mounted, its paths would go wrong behind a proxy that strips ROOT_PATH.
# The package is found and never imported; its files are read when somebody opens /docs.
_FILES = StaticFiles(directory=PAGE, packages=[("fastapi_swagger", "resources")])

# Kept by the browser and asked about each time: ETags are cheap.
_CACHE = {"Cache-Control": "no-cache"}
_SELF = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'self'; "
    "form-action 'none'; frame-ancestors 'none'; "
)
PAGE_POLICY = f"{_SELF}style-src 'self'; img-src 'self' blob:"
# Swagger UI writes style attributes, and draws its icons and answers from data: and blob:.
DOCS_POLICY = f"{_SELF}style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:"

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    """Try it with a photo."""
    return _html(request, "index.html", PAGE_POLICY)


@router.api_route("/docs", methods=["GET", "HEAD"])
async def docs(request: Request) -> Response:
    """Swagger UI."""
    return _html(request, "docs.html", DOCS_POLICY)


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
async def file(request: Request, name: str) -> Response:
    """Serve what the two consist of."""
    response = await _FILES.get_response(name, request.scope)
    response.headers.update(_CACHE)
    return response


def _html(request: Request, name: str, policy: str) -> Response:
    """All addresses in the pages are relative to the service's own root, wherever that is."""
    root = request.scope.get("root_path", "").rstrip("/")
    base = f'<base href="{escape(root)}/">' if root else ""
    headers = _CACHE | {"Content-Security-Policy": policy}
    return HTMLResponse(_text(name).replace("<!-- base -->", base), headers=headers)


@cache
def _text(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")
