"""Exception handlers: convert each exception to an error of `app/errors.py`, and answer it."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import ClientDisconnect

from app import errors
from app.errors import RequestError
from app.record import RequestRecord
from ml.errors import ImageError

log = logging.getLogger("skyspotter")


def add_error_handlers(app: FastAPI) -> None:
    """Answer every exception of `app` with an error body."""
    for kind in (RequestError, ImageError, RequestValidationError, HTTPException, ClientDisconnect):
        app.add_exception_handler(kind, _handle)
    # Inside the other middleware, so that a 500 gets their headers, a log line and metrics too.
    app.add_middleware(ServerErrorMiddleware, handler=_handle)


def to_request_error(error: Exception) -> RequestError:
    """Return the error that the client gets for an exception."""
    match error:
        case RequestError():
            return error
        case ImageError():
            return errors.from_image_error(error)
        case RequestValidationError():
            problem = error.errors()[0]
            return errors.InvalidParameter(f"Parameter {problem['loc'][-1]}: {problem['msg']}.")
        case HTTPException(status_code=400):  # Starlette's form parser
            return errors.NoImage("The form cannot be read. Send the photo in its field `file`.")
        case HTTPException(status_code=404):
            return errors.NotFound()
        case HTTPException(status_code=405):
            return errors.MethodNotAllowed()
        case HTTPException():
            return errors.HTTPError(error.status_code, error.detail)
        case ClientDisconnect():
            return errors.ClientDisconnected()
        case _:
            return errors.InternalError()


async def _handle(request: Request, exception: Exception) -> JSONResponse:
    error = to_request_error(exception)
    record = RequestRecord.of(request.scope)
    record.code = error.code
    if isinstance(error, errors.InternalError):
        # The server logs the traceback; this line gives the id to search for.
        log.error("internal error in request %s", record.request_id)
    headers = {**error.headers}
    if isinstance(exception, HTTPException):
        headers |= exception.headers or {}  # such as `Allow` of a 405
    return JSONResponse(errors.error_body(error, record.request_id), error.status, headers)
