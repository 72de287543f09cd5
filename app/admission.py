"""Who may come in: a bounded number of requests, and of bytes, is in the house at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.errors import Overloaded

BODIES = 8
"""How many bodies of the largest size may be held at once, however many smaller ones there are."""

USUAL_BYTES = 500_000
"""Of a photo: every place can hold one, however small the largest body is."""

Hold = Callable[[int], int]
"""Counts bytes that a request has brought in, and returns how many these are by now.

Raises:
    Overloaded: where all requests together hold too many.
"""


class Admission:
    """Counts who is inside. One event loop asks it, so it needs no lock."""

    def __init__(self, places: int, max_body_bytes: int) -> None:
        self.places = places
        self.inside = 0
        self.held_bytes = 0
        self._most_bytes = max(BODIES * max_body_bytes, places * min(max_body_bytes, USUAL_BYTES))

    @property
    def is_full(self) -> bool:
        """Whether no place is free."""
        return self.inside >= self.places

    @contextmanager
    def enter(self) -> Iterator[Hold]:
        """Take a place for as long as the request is worked on.

        Raises:
            Overloaded: at once, where none is free.
        """
        if self.is_full:
            raise overloaded()
        self.inside += 1
        held = 0

        def hold(count: int) -> int:
            nonlocal held
            if self.held_bytes + count > self._most_bytes:
                raise overloaded()
            self.held_bytes += count
            held += count
            return held

        try:
            yield hold
        finally:
            self.inside -= 1
            self.held_bytes -= held


def overloaded() -> Overloaded:
    """Make the error that is answered where there is no place."""
    return Overloaded("Too many photos are waiting. Try again after `Retry-After` seconds.")
