"""Getting the photo's bytes out of a request: a form's field `file`, or the body itself."""

from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.types import Message, Receive

from app.errors import BodyTooLarge, NoImage

_NO_FILE = "The form has no file in its field `file`. Send the photo there."

_BINARY = {"type": "string", "format": "binary"}
# Written out by hand: FastAPI cannot say "a form or the bare body", and its `contentMediaType`
# makes Swagger UI draw a text box where a list of files is meant.
REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A photo: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": _BINARY},
                }
            },
            "image/*": {"schema": _BINARY},
            "application/octet-stream": {"schema": _BINARY},
        },
    }
}


async def read_photo(request: Request, max_body_bytes: int) -> bytes:
    """Read the photo, never more than `max_body_bytes` of it.

    A body that is no form is taken for the photo itself, whatever the client calls it: its
    content decides.

    Raises:
        BodyTooLarge: by what the client announces, or as soon as more has arrived.
        NoImage: where a form has no file.
    """
    too_large = BodyTooLarge(
        f"The request is larger than {max_body_bytes / 1e6:g} MB. Send a smaller photo."
    )
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_body_bytes:
        raise too_large
    limited = Request(request.scope, _limited(request.receive, max_body_bytes, too_large))
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await limited.body()
    async with limited.form(max_files=1, max_fields=16) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise NoImage(_NO_FILE)
        return await file.read()


def _limited(receive: Receive, limit: int, too_large: BodyTooLarge) -> Receive:
    """Count what arrives: chunked bodies announce no length, and announcements can lie."""
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise too_large
        return message

    return counted
