"""Every error that a client can get: its status, code, headers and an example sentence.

The exception handlers, load shedding, the Ray proxy, the OpenAPI document and the tests of the
documentation all use these classes. Importing this module loads no framework and no model.
"""

from typing import ClassVar

import ml.errors

_SEE_DOCS = "The routes are listed at /docs."


class RequestError(ml.errors.SkyspotterError):
    """A request that the service cannot answer. The default detail is the example."""

    status: int
    code: ClassVar[str]
    headers: ClassVar[dict[str, str]]
    example: ClassVar[str]

    def __init_subclass__(
        cls, status: int, code: str, headers: dict[str, str] | None = None
    ) -> None:
        cls.status, cls.code, cls.headers = status, code, headers or {}

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.example)


class BadRequest(RequestError, status=400, code="bad_request", headers={"Connection": "close"}):
    """The request is malformed HTTP."""

    example = "Invalid HTTP request received. Send it with an ordinary client."


class NoImage(RequestError, status=400, code="no_image"):
    """The request has no photo, or its form cannot be read."""

    example = "The form has no file in its field `file`. Send the photo there."


class Unauthorized(
    RequestError, status=401, code="unauthorized", headers={"WWW-Authenticate": "Bearer"}
):
    """The service requires an API key, and the request has no valid one."""

    example = (
        "This service requires an API key. Send it as `Authorization: Bearer KEY` or "
        "`X-API-Key: KEY`."
    )


class NotFound(RequestError, status=404, code="not_found"):
    """The route does not exist."""

    example = f"Not Found. {_SEE_DOCS}"


class MethodNotAllowed(RequestError, status=405, code="method_not_allowed"):
    """The route exists, but not with this method."""

    example = f"Method Not Allowed. {_SEE_DOCS}"


class BodyTooLarge(RequestError, status=413, code="body_too_large"):
    """The body exceeds the limit."""

    example = "The request is larger than 20 MB. Send a smaller one."


class PhotoTooLarge(RequestError, status=413, code="too_many_pixels"):
    """The photo has more pixels than the limit; its header alone shows that."""

    example = (
        "The photo has 9000x6000 pixels. At most 50 million are accepted: send a smaller version."
    )


class TooManyFiles(RequestError, status=413, code="too_many_files"):
    """The form has more photos than the limit."""

    example = "At most 32 photos are accepted at a time. Send fewer."


class NotAnImage(RequestError, status=415, code="unsupported_format"):
    """The file is not an image, or its format is not accepted."""

    example = "This file is not an image. Send one of JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF."


class DamagedImage(RequestError, status=422, code="unreadable_image"):
    """The image is damaged or cut off."""

    example = "This JPEG file is damaged or cut off. Send the whole, original file."


class InvalidParameter(RequestError, status=422, code="invalid_parameter"):
    """A query parameter is invalid."""

    example = "Parameter top_k: Input should be greater than or equal to 1."


class ClientDisconnected(RequestError, status=499, code="client_gone"):
    """The client disconnected; only metrics and the log show this, with nginx's status."""

    example = "The client disconnected before the response."


class InternalError(RequestError, status=500, code="internal_error"):
    """The service failed. The sentence is fixed; the log has the traceback."""

    example = "Something went wrong in the service. Report the request_id to its operator."


class NotReady(RequestError, status=503, code="not_ready", headers={"Retry-After": "2"}):
    """The model is not loaded."""

    example = "The model is not loaded. Try again in a moment; /health says more."


class Overloaded(RequestError, status=503, code="overloaded", headers={"Retry-After": "1"}):
    """The queue is full, or the requests in it hold too many bytes."""

    example = "Too many photos are waiting. Try again after `Retry-After` seconds."


class TimedOut(RequestError, status=504, code="timed_out", headers={"Connection": "close"}):
    """The deadline passed while the photo was received, queued or classified."""

    # Closing the connection stops a client that sends too slowly.
    example = (
        "The photo was not received and answered within 30 seconds. Try again, or send a "
        "smaller photo."
    )


ERRORS: tuple[type[RequestError], ...] = tuple(
    sorted(RequestError.__subclasses__(), key=lambda error: (error.status, error.code))
)
"""Every class above, sorted by status and code."""


class HTTPError(RequestError, status=400, code="http_error"):
    """Any other HTTP error of the framework. Not in `ERRORS`: its status varies."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{detail.rstrip('.')}. {_SEE_DOCS}")
        self.status = status


_IMAGE_ERRORS: dict[type[ml.errors.ImageError], type[RequestError]] = {
    ml.errors.EmptyImage: NoImage,
    ml.errors.UnsupportedFormat: NotAnImage,
    ml.errors.UnreadableImage: DamagedImage,
    ml.errors.TooManyPixels: PhotoTooLarge,
}


def from_image_error(error: ml.errors.ImageError) -> RequestError:
    """Convert an error of the decoder; its sentence stays."""
    return _IMAGE_ERRORS[type(error)](str(error))


def error_body(error: RequestError, request_id: str) -> dict[str, str]:
    """Return the JSON body that every error has."""
    return {"detail": str(error), "code": error.code, "request_id": request_id}
