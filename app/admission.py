"""Limit concurrent requests and buffered bytes."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import Overloaded

LARGEST_BODIES = 8
"""The buffer holds at least this many bodies of the largest size."""

TYPICAL_BYTES = 500_000
"""The buffer holds a photo of this size for every request, even if the largest body is small."""


class Admission:
    """Counts requests and their bytes. Only one event loop uses it, so it needs no lock."""

    def __init__(self, max_requests: int, max_body_bytes: int) -> None:
        self.max_requests = max_requests
        self.in_flight = 0
        self.buffered_bytes = 0
        self.max_buffered_bytes = max(
            LARGEST_BODIES * max_body_bytes, max_requests * min(max_body_bytes, TYPICAL_BYTES)
        )

    @property
    def is_full(self) -> bool:
        """Whether another request would be rejected."""
        return self.in_flight >= self.max_requests

    @contextmanager
    def acquire(self) -> Iterator["Slot"]:
        """Hold a slot while a request is processed; raise Overloaded if none is free."""
        if self.is_full:
            raise Overloaded
        slot = Slot(self)
        self.in_flight += 1
        try:
            yield slot
        finally:
            self.in_flight -= 1
            self.buffered_bytes -= slot.reserved_bytes


class Slot:
    """One admitted request, and the bytes that it buffers."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.reserved_bytes = 0

    def reserve(self, count: int) -> None:
        """Count bytes that have arrived; raise Overloaded if all requests buffer too many."""
        if self._admission.buffered_bytes + count > self._admission.max_buffered_bytes:
            raise Overloaded
        self._admission.buffered_bytes += count
        self.reserved_bytes += count
