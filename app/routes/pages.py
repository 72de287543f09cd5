"""The web page at `/` and Swagger UI at `/docs`, which both work without internet access.

All files are served from here, and the content security policies forbid any other source.
"""

from functools import cache
from html import escape
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

PAGE = Path(__file__).parent.parent / "page"
# Not mounted as a sub-app: paths would be wrong behind a proxy that strips ROOT_PATH.
# The package is located but never imported; its files are read on demand.
_FILES = StaticFiles(directory=PAGE, packages=[("fastapi_swagger", "resources")])

# Browsers keep the files and revalidate them with ETags, which is cheap.
_CACHE = {"Cache-Control": "no-cache"}
_SELF = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'self'; "
    "form-action 'none'; frame-ancestors 'none'; "
)
PAGE_POLICY = f"{_SELF}style-src 'self'; img-src 'self' blob:"
# Swagger UI uses style attributes, and data: and blob: URLs for icons and responses.
DOCS_POLICY = f"{_SELF}style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:"

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    """Return the web page."""
    return _html(request, "index.html", PAGE_POLICY)


@router.api_route("/docs", methods=["GET", "HEAD"])
async def docs(request: Request) -> Response:
    """Return Swagger UI."""
    return _html(request, "docs.html", DOCS_POLICY)


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
async def file(request: Request, name: str) -> Response:
    """Return a file of the two pages."""
    response = await _FILES.get_response(name, request.scope)
    response.headers.update(_CACHE)
    return response


def _html(request: Request, name: str, policy: str) -> Response:
    """Return a page. Its URLs are relative, so set the service's root path as their base."""
    root = request.scope.get("root_path", "").rstrip("/")
    base = f'<base href="{escape(root)}/">' if root else ""
    headers = _CACHE | {"Content-Security-Policy": policy}
    return HTMLResponse(_text(name).replace("<!-- base -->", base), headers=headers)


@cache
def _text(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")
