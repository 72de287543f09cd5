"""Every error that a caller can see: one table from what went wrong to what is answered."""

import logging
from typing import ClassVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import ClientDisconnect

from app.middleware.access_log import note
from app.middleware.request_id import HEADER, request_id
from ml.errors import (
    EmptyImage,
    ImageError,
    SkyspotterError,
    TooManyPixels,
    UnreadableImage,
    UnsupportedFormat,
)

log = logging.getLogger("skyspotter")


class RequestError(SkyspotterError):
    """A request that cannot be answered; `status` and `code` say how."""

    status: ClassVar[int]
    code: ClassVar[str]
    headers: ClassVar[dict[str, str]] = {}


class BadRequest(RequestError):
    """What has come is no HTTP."""

    status, code = 400, "bad_request"
    headers: ClassVar[dict[str, str]] = {"Connection": "close"}


class NoImage(RequestError):
    """There is no photo in the request."""

    status, code = 400, "no_image"


class BodyTooLarge(RequestError):
    """The body exceeds the limit."""

    status, code = 413, "body_too_large"


class TooManyFiles(RequestError):
    """A batch has more photos than the limit."""

    status, code = 413, "too_many_files"


class Unauthorized(RequestError):
    """The service asks for an API key, and none that it knows was sent."""

    status, code = 401, "unauthorized"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": "Bearer"}


class Overloaded(RequestError):
    """As many requests wait as may."""

    status, code = 503, "overloaded"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class NotReady(RequestError):
    """The model is not loaded, or could not be."""

    status, code = 503, "not_ready"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "2"}


class TimedOut(RequestError):
    """The deadline passed: while the photo came in, waited or was worked on."""

    status, code = 504, "timed_out"
    # Who sends too slowly is not waited for any longer.
    headers: ClassVar[dict[str, str]] = {"Connection": "close"}


_IMAGE_ERRORS: dict[type[ImageError], tuple[int, str]] = {
    EmptyImage: (400, "no_image"),
    UnsupportedFormat: (415, "unsupported_format"),
    UnreadableImage: (422, "unreadable_image"),
    TooManyPixels: (413, "too_many_pixels"),
}
_ROUTES = "The routes are listed at /docs."
_HTTP_ERRORS = {
    400: ("no_image", "The form cannot be read. Send the photo in its field `file`."),
    404: ("not_found", f"Not Found. {_ROUTES}"),
    405: ("method_not_allowed", f"Method Not Allowed. {_ROUTES}"),
}


def code_of(error: ImageError) -> str:
    """Return an image error's public code."""
    return _IMAGE_ERRORS[type(error)][1]


def answer(
    request: Request, status: int, code: str, detail: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Build the one shape that all errors have."""
    own_id = request_id(request.scope)
    note(request.scope, code=code)
    return JSONResponse(
        {"detail": detail, "code": code, "request_id": own_id},
        status,
        {HEADER: own_id} | (headers or {}),
    )


def handle_errors(app: FastAPI) -> None:
    """Have all errors of `app` answered in that shape."""
    app.add_exception_handler(RequestError, _request_error)
    app.add_exception_handler(ImageError, _image_error)
    app.add_exception_handler(RequestValidationError, _invalid_parameter)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _gone)
    # Within the other middleware, so that these answers too have their headers and are seen.
    app.add_middleware(ServerErrorMiddleware, handler=_internal_error)


async def _request_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)
    return answer(request, error.status, error.code, str(error), error.headers)


async def _image_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ImageError)
    status, code = _IMAGE_ERRORS[type(error)]
    return answer(request, status, code, str(error))


async def _invalid_parameter(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    name = problem["loc"][-1]
    return answer(request, 422, "invalid_parameter", f"Parameter {name}: {problem['msg']}.")


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    unforeseen = ("http_error", f"{error.detail.rstrip('.')}. {_ROUTES}")
    code, detail = _HTTP_ERRORS.get(error.status_code, unforeseen)
    return answer(request, error.status_code, code, detail, dict(error.headers or {}))


async def _gone(request: Request, _: Exception) -> JSONResponse:
    # Nobody reads this, for the caller has hung up. Numbers and log tell it apart, as nginx' do.
    return answer(request, 499, "client_gone", "The caller hung up before the answer.")


async def _internal_error(request: Request, error: Exception) -> JSONResponse:
    # The server logs the exception with its traceback; the caller gets an id to ask about.
    log.error("internal error in request %s", request_id(request.scope))
    detail = "Something went wrong in the service. Report the request_id to its operator."
    return answer(request, 500, "internal_error", detail)
