"""A model file read once, and the texts that it carries beside its network.

What was checked is then what runs, whatever becomes of the file meanwhile. The texts alone are read
without the network: choosing between two files by their cards costs no time and no memory.
https://protobuf.dev/programming-guides/encoding describes the format: numbered fields, of which
that of the network is skipped by its length.
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
_VARINT, _EIGHT_BYTES, _COUNTED, _FOUR_BYTES = 0, 1, 2, 5


@dataclass(frozen=True)
class ModelFile:
    """The bytes of an ONNX file, and where they come from."""

    path: Path
    data: bytes

    @classmethod
    def read(cls, model: "Path | ModelFile") -> "ModelFile":
        """Read a file, unless it has been.

        Raises:
            ModelError: where there is none.
        """
        if isinstance(model, ModelFile):
            return model
        with _opened(model) as opened:
            return cls(model, opened.read())

    @cached_property
    def metadata(self) -> dict[str, str]:
        """What is stored under each name.

        Raises:
            ModelError: where the file is damaged or no ONNX file.
        """
        return _metadata(BytesIO(self.data), self.path)

    @cached_property
    def card(self) -> Card:
        """The model's card.

        Raises:
            ModelError: where there is none, or it makes no sense.
        """
        return Card.from_metadata(self.metadata)

    def network_hash(self) -> str:
        """SHA-256 of the network alone, without the texts that stand beside it."""
        found = sha256()
        for part in _fields(BytesIO(self.data), _GRAPH):
            found.update(part)
        return found.hexdigest()

    def verify(self) -> None:
        """Compare the network with the hash that was written beside it; older files have none.

        Raises:
            ModelError: where not every byte is as it was.
        """
        if HASH in self.metadata and self.metadata[HASH] != self.network_hash():
            raise ModelError(
                f"{self.path} is damaged: its network is not the one that was written."
            )


def read_metadata(model: Path) -> dict[str, str]:
    """Read what is stored under each name, and nothing else of the file.

    Raises:
        ModelError: where the file is missing, damaged or no ONNX file.
    """
    with _opened(model) as opened:
        return _metadata(opened, model)


def network_hash(model: Path) -> str:
    """SHA-256 of the network alone, without the texts that stand beside it."""
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
        raise ModelError(f"{model} is no ONNX model, or is damaged.") from error
    return found


def _fields(stream: BinaryIO, wanted: int) -> Iterator[bytes]:
    """The content of each field of that number."""
    end = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    while stream.tell() < end:
        number, kind = divmod(_varint(stream), 8)
        if kind == _VARINT:
            _varint(stream)
            continue
        if kind == _COUNTED:
            length = _varint(stream)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError("no such kind of field")
        if stream.tell() + length > end:
            raise IndexError("cut off")
        if number == wanted:
            yield stream.read(length)
        else:
            stream.seek(length, os.SEEK_CUR)


def _varint(stream: BinaryIO) -> int:
    """A number of seven bits a byte, the lowest first."""
    value = 0
    for shift in range(0, 64, 7):
        byte = stream.read(1)[0]
        value |= (byte & 127) << shift
        if byte < 128:
            return value
    raise ValueError("too long a number")
