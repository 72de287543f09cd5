"""Getting photos out of a request: a form's files, or the body itself; never more than may come."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from app.admission import Hold
from app.errors import BodyTooLarge, NoImage, TimedOut, TooManyFiles

_NO_FILE = "The form has no file in its field `file`. Send the photo there."
_NO_FILES = "The form has no files in its field `files`. Send the photos there."
_CHARSET = re.compile(rb"(?i);\s*charset\s*=[^;]*")
_FIELDS = 16  # of a form that are no files; none of them is read
_PAUSE_SECONDS = 5.0
_LEAST_RATE = 4000  # bytes a second; who sends more slowly, or pauses, keeps others out

_BINARY = {"type": "string", "format": "binary"}


def _form(**properties: Any) -> dict[str, Any]:
    return {"schema": {"type": "object", "required": [*properties], "properties": properties}}


# Written out by hand: FastAPI cannot say "a form or the bare body", and its `contentMediaType`
# makes Swagger UI draw a text box where a list of files is meant.
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


async def read_photo(request: Request, max_body_bytes: int, hold: Hold) -> bytes:
    """Read the photo, never more than `max_body_bytes` of it.

    A body that is no form is taken for the photo itself, whatever the client calls it: its
    content decides.

    Raises:
        BodyTooLarge: by what the client announces, or as soon as more has arrived.
        Overloaded: where all requests together hold too much.
        TimedOut: where it comes too slowly.
        TooManyFiles: where a form has several.
        NoImage: where a form has no file.
    """
    limited = _limited(request, max_body_bytes, hold)
    if not _is_form(request):
        return await limited.body()
    one = TooManyFiles("One photo is accepted at a time. Send several to /predict/batch.")
    async with _opened(limited, 1, one) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise NoImage(_NO_FILE)
        return await file.read()


async def read_photos(
    request: Request, max_body_bytes: int, max_files: int, hold: Hold
) -> list[tuple[str, bytes]]:
    """Read the photos of a batch, as (name, bytes), in the order in which they were sent.

    Raises:
        BodyTooLarge, Overloaded, TimedOut, TooManyFiles
        NoImage: where there is no form, or no file in its field `files`.
    """
    limited = _limited(request, max_body_bytes, hold)
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
    """Parse the form; what goes to disk on the way is deleted at the end."""
    try:
        async with request.form(max_files=max_files, max_fields=_FIELDS) as form:
            yield form
    except HTTPException as error:
        # Starlette tells its limits apart by their words alone.
        if "Too many files" in error.detail:
            raise too_many from error
        raise


def _limited(request: Request, limit: int, hold: Hold) -> Request:
    """Count what arrives: chunked bodies announce no length, and announcements can lie.

    Raises:
        BodyTooLarge: where the client announces more already.
    """
    too_large = BodyTooLarge(f"The request is larger than {limit / 1e6:g} MB. Send a smaller one.")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > 18 or int(announced) > limit):
        raise too_large
    # The caller's word for how names are encoded is not taken: with some, names cannot be read.
    headers = [
        (name, _CHARSET.sub(b"", value) if name == b"content-type" else value)
        for name, value in request.scope["headers"]
    ]
    return Request(
        {**request.scope, "headers": headers}, _counted(request.receive, limit, hold, too_large)
    )


def _counted(receive: Receive, limit: int, hold: Hold, too_large: BodyTooLarge) -> Receive:
    started, held = asyncio.get_running_loop().time(), 0

    async def counted() -> Message:
        nonlocal held
        try:
            async with asyncio.timeout_at(started + _PAUSE_SECONDS + held / _LEAST_RATE):
                message = await receive()
        except TimeoutError as error:
            raise TimedOut(
                f"The photo comes more slowly than {_LEAST_RATE / 1000:g} kB a second. Send a "
                "smaller one, or from a better connection."
            ) from error
        if chunk := message.get("body"):
            held = hold(len(chunk))
            if held > limit:
                raise too_large
        return message

    return counted
