"""Generated photos to send, in a form or as the raw body."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np

from ml.data.synthetic import CLASSES, draw

_BOUNDARY = "f0e1d2c3b4a5968778695a4b3c2d1e0f"


@dataclass(frozen=True)
class Photo:
    """A request body and its content type."""

    body: bytes
    type: str


def jpeg(width: int = 640, height: int = 480, label: str = CLASSES[0]) -> bytes:
    """Draw an object of class `label` in the sky, as a JPEG of quality 90."""
    picture = draw(label, np.random.default_rng(0))[0].resize((width, height))
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def as_body(photo: bytes) -> Photo:
    """Send the photo as the raw body."""
    return Photo(photo, "image/jpeg")


def as_form(photo: bytes) -> Photo:
    """Send the photo in the form field `file`, as browsers and curl do."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = head.encode() + photo + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return Photo(body, f"multipart/form-data; boundary={_BOUNDARY}")
