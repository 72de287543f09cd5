"""Read photos from a request, either from a form or from the body itself, within limits."""

import asyncio
import re
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message

from app.admission import Slot
from app.errors import BodyTooLarge, NoImage, TimedOut, TooManyFiles

_CHARSET = re.compile(rb"(?i);\s*charset\s*=[^;]*")
_MAX_FIELDS = 16  # form fields that are not files; all are ignored
_MIN_BYTES_PER_SECOND = 4000  # on average; a slower client would hold a slot for too long
_PAUSE_SECONDS = 5.0  # in addition, for the first bytes and for pauses

_BINARY = {"type": "string", "format": "binary"}


def _body(content: str, field: str, schema: dict[str, Any], *bare_types: str) -> dict[str, Any]:
    """Describe the request body for OpenAPI: a form with one field, or the photo itself.

    FastAPI cannot describe "a form or the bare body", and its `contentMediaType` makes Swagger UI
    show a text box instead of a list of files.
    """
    form = {"type": "object", "required": [field], "properties": {field: schema}}
    schemas = {"multipart/form-data": form} | dict.fromkeys(bare_types, _BINARY)
    described = {
        "required": True,
        "description": f"{content}: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF.",
        "content": {media_type: {"schema": schema} for media_type, schema in schemas.items()},
    }
    return {"requestBody": described}


PHOTO_BODY = _body("A photo", "file", _BINARY, "image/*", "application/octet-stream")
BATCH_BODY = _body("Photos", "files", {"type": "array", "minItems": 1, "items": _BINARY})


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
    too_many = TooManyFiles("One photo is accepted at a time. Send several to /predict/batch.")
    files = await _read_files(limited, "file", 1, too_many)
    if not files:
        raise NoImage
    return files[0][1]


async def read_photos(
    request: Request, max_body_bytes: int, max_files: int, slot: Slot
) -> list[tuple[str, bytes]]:
    """Read the photos of a batch, as (name, bytes), in the order of the request.

    Raises:
        BodyTooLarge, Overloaded, TimedOut, TooManyFiles
        NoImage: if the body is not a form, or the form has no file in its field `files`.
    """
    limited = _limited(request, max_body_bytes, slot)
    too_many = TooManyFiles(f"At most {max_files} photos are accepted at a time. Send fewer.")
    files = await _read_files(limited, "files", max_files, too_many) if _is_form(request) else []
    if not files:
        raise NoImage("The form has no files in its field `files`. Send the photos there.")
    return files


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def _read_files(
    request: Request, field: str, max_files: int, too_many: TooManyFiles
) -> list[tuple[str, bytes]]:
    """Read the files in a field of the form, as (name, bytes)."""
    try:
        async with request.form(max_files=max_files, max_fields=_MAX_FIELDS) as form:
            files = [file for file in form.getlist(field) if isinstance(file, UploadFile)]
            return [(file.filename or "", await file.read()) for file in files]
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
    started = asyncio.get_running_loop().time()

    async def receive() -> Message:
        allowed = _PAUSE_SECONDS + slot.reserved_bytes / _MIN_BYTES_PER_SECOND
        try:
            async with asyncio.timeout_at(started + allowed):
                message = await request.receive()
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

    # Ignore the client's charset: with some charsets, the form parser fails on file names.
    headers = [
        (name, _CHARSET.sub(b"", value) if name == b"content-type" else value)
        for name, value in request.scope["headers"]
    ]
    return Request({**request.scope, "headers": headers}, receive)
