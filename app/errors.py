"""Every error that a client can get: its status, code, headers and an example sentence.

The exception handlers, load shedding, the Ray proxy, the OpenAPI document and the tests of the
documentation all use these classes. Importing this module loads no framework and no model.
"""

from typing import ClassVar

from ml.errors import (
    EmptyImage,
    ImageError,
    SkyspotterError,
    TooManyPixels,
    UnreadableImage,
    UnsupportedFormat,
)

_SEE_DOCS = "The routes are listed at /docs."


class RequestError(SkyspotterError):
    """A request that the service cannot answer. Without a detail, the example is the detail."""

    status: ClassVar[int]
    code: ClassVar[str]
    example: ClassVar[str]
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.example)


class BadRequest(RequestError):
    """The request is malformed HTTP."""

    status, code = 400, "bad_request"
    headers: ClassVar[dict[str, str]] = {"Connection": "close"}
    example = "Invalid HTTP request received. Send it with an ordinary client."


class NoImage(RequestError):
    """The request has no photo, or its form cannot be read."""

    status, code = 400, "no_image"
    example = "The form has no file in its field `file`. Send the photo there."


class Unauthorized(RequestError):
    """The service requires an API key, and the request has no valid one."""

    status, code = 401, "unauthorized"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": "Bearer"}
    example = (
        "This service requires an API key. Send it as `Authorization: Bearer KEY` or "
        "`X-API-Key: KEY`."
    )


class NotFound(RequestError):
    """The route does not exist."""

    status, code = 404, "not_found"
    example = f"Not Found. {_SEE_DOCS}"


class MethodNotAllowed(RequestError):
    """The route exists, but not with this method."""

    status, code = 405, "method_not_allowed"
    example = f"Method Not Allowed. {_SEE_DOCS}"


class BodyTooLarge(RequestError):
    """The body exceeds the limit."""

    status, code = 413, "body_too_large"
    example = "The request is larger than 20 MB. Send a smaller one."


class PhotoTooLarge(RequestError):
    """The photo has more pixels than the limit; its header alone shows that."""

    status, code = 413, "too_many_pixels"
    example = (
        "The photo has 9000x6000 pixels. At most 50 million are accepted: send a smaller version."
    )


class TooManyFiles(RequestError):
    """The form has more photos than the limit."""

    status, code = 413, "too_many_files"
    example = "At most 32 photos are accepted at a time. Send fewer."


class NotAnImage(RequestError):
    """The file is not an image, or its format is not accepted."""

    status, code = 415, "unsupported_format"
    example = "This file is not an image. Send one of JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF."


class DamagedImage(RequestError):
    """The image is damaged or cut off."""

    status, code = 422, "unreadable_image"
    example = "This JPEG file is damaged or cut off. Send the whole, original file."


class InvalidParameter(RequestError):
    """A query parameter is invalid."""

    status, code = 422, "invalid_parameter"
    example = "Parameter top_k: Input should be greater than or equal to 1."


class ClientDisconnected(RequestError):
    """The client disconnected; only metrics and the log show this, with nginx's status."""

    status, code = 499, "client_gone"
    example = "The client disconnected before the response."


class InternalError(RequestError):
    """The service failed. The sentence is fixed; the log has the traceback."""

    status, code = 500, "internal_error"
    example = "Something went wrong in the service. Report the request_id to its operator."


class NotReady(RequestError):
    """The model is not loaded."""

    status, code = 503, "not_ready"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "2"}
    example = "The model is not loaded. Try again in a moment; /health says more."


class Overloaded(RequestError):
    """The queue is full, or the requests in it hold too many bytes."""

    status, code = 503, "overloaded"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}
    example = "Too many photos are waiting. Try again after `Retry-After` seconds."


class TimedOut(RequestError):
    """The deadline passed while the photo was received, queued or classified."""

    status, code = 504, "timed_out"
    # Closing the connection stops a client that sends too slowly.
    headers: ClassVar[dict[str, str]] = {"Connection": "close"}
    example = (
        "The photo was not received and answered within 30 seconds. Try again, or send a "
        "smaller photo."
    )


ERRORS: tuple[type[RequestError], ...] = tuple(
    sorted(RequestError.__subclasses__(), key=lambda error: (error.status, error.code))
)
"""Every class above, sorted by status and code."""


class HTTPError(RequestError):
    """Any other HTTP error of the framework. Not in `ERRORS`: its status varies."""

    code = "http_error"

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{detail.rstrip('.')}. {_SEE_DOCS}")
        self.status = status  # type: ignore[misc]


_IMAGE_ERRORS: dict[type[ImageError], type[RequestError]] = {
    EmptyImage: NoImage,
    UnsupportedFormat: NotAnImage,
    UnreadableImage: DamagedImage,
    TooManyPixels: PhotoTooLarge,
}


def from_image_error(error: ImageError) -> RequestError:
    """Convert an error of the decoder; its sentence stays."""
    return _IMAGE_ERRORS[type(error)](str(error))


def error_body(error: RequestError, request_id: str) -> dict[str, str]:
    """Return the JSON body that every error has."""
    return {"detail": str(error), "code": error.code, "request_id": request_id}
