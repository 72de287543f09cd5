"""Read photos from a request, either from a form or from the body itself, within limits."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from app.admission import Slot
from app.errors import BodyTooLarge, NoImage, TimedOut, TooManyFiles

_NO_FILE = "The form has no file in its field `file`. Send the photo there."
_NO_FILES = "The form has no files in its field `files`. Send the photos there."
_CHARSET = re.compile(rb"(?i);\s*charset\s*=[^;]*")
_MAX_FIELDS = 16  # form fields that are not files; all are ignored
_PAUSE_SECONDS = 5.0
_MIN_BYTES_PER_SECOND = 4000  # a slower client would hold a slot for too long

_BINARY = {"type": "string", "format": "binary"}


def _form(**properties: Any) -> dict[str, Any]:
    return {"schema": {"type": "object", "required": [*properties], "properties": properties}}


# Written by hand: FastAPI cannot describe "a form or the bare body", and its `contentMediaType`
# makes Swagger UI show a text box instead of a list of files.
REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A photo: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF.",
        "content": {
            "multipart/form-data": _form(file=_BINARY),
            "image/*": {"schema": _BINARY},
            "application/octet-stream": {"schema": _BINARY},
        },
    }
}
BATCH_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Photos: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF.",
        "content": {
            "multipart/form-data": _form(files={"type": "array", "minItems": 1, "items": _BINARY})
        },
    }
}


async def read_photo(request: Request, max_body_bytes: int, slot: Slot) -> bytes:
    """Read one photo, at most `max_body_bytes` of it.

    A body that is not a form is the photo itself, whatever its content type: the content decides.

    Raises:
        BodyTooLarge: if the announced length, or what has arrived, exceeds the limit.
        Overloaded: if all requests together would buffer too many bytes.
        TimedOut: if the client sends too slowly.
        TooManyFiles: if the form has several photos.
        NoImage: if the form has no photo.
    """
    limited = _limited(request, max_body_bytes, slot)
    if not _is_form(request):
        return await limited.body()
    one = TooManyFiles("One photo is accepted at a time. Send several to /predict/batch.")
    async with _opened(limited, 1, one) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise NoImage(_NO_FILE)
        return await file.read()


async def read_photos(
    request: Request, max_body_bytes: int, max_files: int, slot: Slot
) -> list[tuple[str, bytes]]:
    """Read the photos of a batch, as (name, bytes), in the order of the request.

    Raises:
        BodyTooLarge, Overloaded, TimedOut, TooManyFiles
        NoImage: if the body is not a form, or the form has no file in its field `files`.
    """
    limited = _limited(request, max_body_bytes, slot)
    if not _is_form(request):
        raise NoImage(_NO_FILES)
    too_many = TooManyFiles(f"At most {max_files} photos are accepted at a time. Send fewer.")
    async with _opened(limited, max_files, too_many) as form:
        files = [file for file in form.getlist("files") if isinstance(file, UploadFile)]
        if not files:
            raise NoImage(_NO_FILES)
        return [(file.filename or "", await file.read()) for file in files]


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


@asynccontextmanager
async def _opened(
    request: Request, max_files: int, too_many: TooManyFiles
) -> AsyncIterator[FormData]:
    """Parse the form, and delete its temporary files at the end."""
    try:
        async with request.form(max_files=max_files, max_fields=_MAX_FIELDS) as form:
            yield form
    except HTTPException as error:
        # Only the message tells Starlette's limits apart.
        if "Too many files" in error.detail:
            raise too_many from error
        raise


def _limited(request: Request, limit: int, slot: Slot) -> Request:
    """Limit the bytes that arrive: a chunked body has no length, and a length can be wrong.

    Raises:
        BodyTooLarge: if the announced length exceeds the limit.
    """
    too_large = BodyTooLarge(f"The request is larger than {limit / 1e6:g} MB. Send a smaller one.")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > 18 or int(announced) > limit):
        raise too_large
    # Ignore the client's charset: with some charsets, the form parser fails on file names.
    headers = [
        (name, _CHARSET.sub(b"", value) if name == b"content-type" else value)
        for name, value in request.scope["headers"]
    ]
    return Request(
        {**request.scope, "headers": headers}, _counted(request.receive, limit, slot, too_large)
    )


def _counted(receive: Receive, limit: int, slot: Slot, too_large: BodyTooLarge) -> Receive:
    started = asyncio.get_running_loop().time()

    async def counted() -> Message:
        earned = slot.reserved_bytes / _MIN_BYTES_PER_SECOND
        try:
            async with asyncio.timeout_at(started + _PAUSE_SECONDS + earned):
                message = await receive()
        except TimeoutError as error:
            raise TimedOut(
                f"The photo arrives at less than {_MIN_BYTES_PER_SECOND / 1000:g} kB a second. "
                "Send a smaller one, or use a faster connection."
            ) from error
        if chunk := message.get("body"):
            slot.reserve(len(chunk))
            if slot.reserved_bytes > limit:
                raise too_large
        return message

    return counted
