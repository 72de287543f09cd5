"""Read an ONNX file and its metadata.

`ModelFile` reads a file once, so that the bytes that were checked are the bytes that run, even if
the file changes meanwhile. `read_metadata` reads the metadata without the network: comparing the
cards of two files then costs almost no time or memory.

An ONNX file is a protobuf message, a sequence of numbered fields:
https://protobuf.dev/programming-guides/encoding. The field of the network is skipped by its length.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from ml.errors import ModelError
from ml.models.card import Card

_GRAPH = 7  # of ModelProto: the network
_METADATA = 14  # of ModelProto: StringStringEntryProto, repeated
_KEY, _VALUE = 1, 2
HASH = "network_sha256"
_VARINT, _EIGHT_BYTES, _LENGTH_PREFIXED, _FOUR_BYTES = 0, 1, 2, 5


@dataclass(frozen=True)
class ModelFile:
    """The path and the bytes of an ONNX file."""

    path: Path
    data: bytes

    @classmethod
    def read(cls, model: "Path | ModelFile") -> "ModelFile":
        """Read a file. A `ModelFile` is returned unchanged.

        Raises:
            ModelError: if there is no file.
        """
        if isinstance(model, ModelFile):
            return model
        with _opened(model) as opened:
            return cls(model, opened.read())

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The metadata: texts by name.

        Raises:
            ModelError: if the file is damaged or not an ONNX file.
        """
        return _metadata(BytesIO(self.data), self.path)

    @cached_property
    def card(self) -> Card:
        """The model's card.

        Raises:
            ModelError: if there is none, or it is invalid.
        """
        return Card.from_metadata(self.metadata)

    def network_hash(self) -> str:
        """Return the SHA-256 of the network without the metadata."""
        found = sha256()
        for part in _fields(BytesIO(self.data), _GRAPH):
            found.update(part)
        return found.hexdigest()

    def verify(self) -> None:
        """Compare the network with the hash in the metadata, which older files do not have.

        Raises:
            ModelError: if the hash differs.
        """
        if HASH in self.metadata and self.metadata[HASH] != self.network_hash():
            raise ModelError(f"{self.path} is damaged: the hash of its network does not match.")


def read_metadata(model: Path) -> dict[str, str]:
    """Read only the metadata of an ONNX file.

    Raises:
        ModelError: if the file is missing, damaged or not an ONNX file.
    """
    with _opened(model) as opened:
        return _metadata(opened, model)


def network_hash(model: Path) -> str:
    """Return the SHA-256 of the network without the metadata."""
    return ModelFile.read(model).network_hash()


def _opened(model: Path) -> BinaryIO:
    if not model.is_file():
        raise ModelError(f"There is no model file {model}.")
    return model.open("rb")


def _metadata(stream: BinaryIO, model: Path) -> dict[str, str]:
    found = {}
    try:
        if not stream.read(1):
            raise ValueError("empty")
        for entry in _fields(stream, _METADATA):
            name, text = (
                b"".join(_fields(BytesIO(entry), number)).decode() for number in (_KEY, _VALUE)
            )
            found[name] = text
    except (IndexError, ValueError) as error:
        raise ModelError(f"{model} is not an ONNX model, or is damaged.") from error
    return found


def _fields(stream: BinaryIO, wanted: int) -> Iterator[bytes]:
    """Yield the content of each field with the number `wanted`."""
    end = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    while stream.tell() < end:
        number, kind = divmod(_varint(stream), 8)
        if kind == _VARINT:
            _varint(stream)
            continue
        if kind == _LENGTH_PREFIXED:
            length = _varint(stream)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError("unknown wire type")
        if stream.tell() + length > end:
            raise IndexError("cut off")
        if number == wanted:
            yield stream.read(length)
        else:
            stream.seek(length, os.SEEK_CUR)


def _varint(stream: BinaryIO) -> int:
    """Read a number that is stored as seven bits per byte, lowest first."""
    value = 0
    for shift in range(0, 64, 7):
        byte = stream.read(1)[0]
        value |= (byte & 127) << shift
        if byte < 128:
            return value
    raise ValueError("varint too long")
