"""Read an ONNX file and its metadata.

`ModelFile` reads a file once, so that exactly the checked bytes run, even if the file changes.
`read_metadata` skips the network, so that comparing the cards of two files is cheap.

An ONNX file is a protobuf message, a sequence of numbered fields:
https://protobuf.dev/programming-guides/encoding. A field is skipped by its length.
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

HASH = "network_sha256"
_GRAPH, _METADATA = 7, 14  # field numbers of ModelProto: the network, and entries of metadata
_KEY, _VALUE = 1, 2  # field numbers of such an entry
_VARINT, _LENGTH_PREFIXED, _FIXED_LENGTHS = 0, 2, {1: 8, 5: 4}  # wire types


@dataclass(frozen=True)
class ModelFile:
    """The path and the bytes of an ONNX file."""

    path: Path
    data: bytes

    @classmethod
    def read(cls, model: "Path | ModelFile") -> "ModelFile":
        """Read a file, or return a `ModelFile` unchanged; raise ModelError if there is none."""
        if isinstance(model, ModelFile):
            return model
        with _opened(model) as opened:
            return cls(model, opened.read())

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The metadata; raises ModelError if the file is damaged or not an ONNX file."""
        return _metadata(BytesIO(self.data), self.path)

    @cached_property
    def card(self) -> Card:
        """The model's card; raises ModelError if it is missing or invalid."""
        return Card.from_metadata(self.metadata)

    def verify(self) -> None:
        """Compare the network with its SHA-256 in the metadata, which older files do not have.

        Raises:
            ModelError: if they differ.
        """
        if HASH not in self.metadata:
            return
        network = b"".join(_fields(BytesIO(self.data), _GRAPH))
        if self.metadata[HASH] != sha256(network).hexdigest():
            raise ModelError(f"{self.path} is damaged: the hash of its network does not match.")


def read_metadata(model: Path) -> dict[str, str]:
    """Read only the metadata of an ONNX file.

    Raises:
        ModelError: if the file is missing, damaged or not an ONNX file.
    """
    with _opened(model) as opened:
        return _metadata(opened, model)


def _opened(model: Path) -> BinaryIO:
    if not model.is_file():
        raise ModelError(f"There is no model file {model}.")
    return model.open("rb")


def _metadata(stream: BinaryIO, model: Path) -> dict[str, str]:
    def text(entry: bytes, number: int) -> str:
        return b"".join(_fields(BytesIO(entry), number)).decode()

    try:
        if not stream.read(1):
            raise ValueError("empty")
        return {text(entry, _KEY): text(entry, _VALUE) for entry in _fields(stream, _METADATA)}
    except (IndexError, ValueError) as error:
        raise ModelError(f"{model} is not an ONNX model, or is damaged.") from error


def _fields(stream: BinaryIO, wanted: int) -> Iterator[bytes]:
    """Yield the content of each field whose number is `wanted`."""
    end = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    while stream.tell() < end:
        number, kind = divmod(_varint(stream), 8)
        if kind == _VARINT:
            _varint(stream)
            continue
        length = _varint(stream) if kind == _LENGTH_PREFIXED else _FIXED_LENGTHS.get(kind)
        if length is None:
            raise ValueError("unknown wire type")
        if stream.tell() + length > end:
            raise IndexError("cut off")
        if number == wanted:
            yield stream.read(length)
        else:
            stream.seek(length, os.SEEK_CUR)


def _varint(stream: BinaryIO) -> int:
    """Read a number that is stored in seven bits per byte, lowest first."""
    value = 0
    for shift in range(0, 64, 7):
        byte = stream.read(1)[0]
        value |= (byte & 127) << shift
        if byte < 128:
            return value
    raise ValueError("varint too long")
