"""Which photos of a folder are the same picture, or nearly so.

Two looks at each photo: a difference hash (N. Krawetz, "Kind of Like That", 2013) of 16 x 16
steps, each up, down or flat, and a thumbnail of 24 x 24. The usual hash has no "flat", and in a
plain sky its bits are noise.

The search is exact. Two photos whose thumbnails differ by few levels on average have nearly the
same brightness, so each is compared with its neighbours in brightness alone: by half the bits, all
the bits, the thumbnails' sums over 4 x 4 blocks (which differ by no more than the thumbnails do)
and the thumbnails, each for what the one before has left. 200,000 photos cost one minute of one
core where their brightness varies and two where it does not, and 400 MB beside their fingerprints.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from ml.cpus import on_all_cpus

# Measured on 225 photos and drawings: resized and recompressed copies differ by up to 35 bits, 2.4
# levels on average and 22 where they differ most. A small object that flies elsewhere in the same
# sky differs little on average, yet by 42 levels and more where it stands.
COPY_BITS, COPY_LEVELS, COPY_PEAK = 36, 2.5, 30
"""Up to this, two photos are one picture: of 512 bits; of 255 levels on average and at most."""
SIMILAR_BITS, SIMILAR_LEVELS, SIMILAR_PEAK = 64, 6.0, 50
"""Up to this, two photos are near-duplicates, such as frames of one video."""
FLAT = 2
"""A step of up to this many levels is flat."""
_REACH = SIMILAR_LEVELS * 24 * 24 * 3  # the same, summed over a thumbnail
_ROWS, _COLUMNS = 16, 4096  # compared at a time: what the CPU's cache holds
_THUMBNAILS = 128  # pairs of them compared at a time

Ints = npt.NDArray[np.intp]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Fingerprint:
    """What comparing needs of one photo."""

    digest: str  # of the file's bytes
    steps: npt.NDArray[np.uint64]  # (8,), 512 bits
    thumbnail: Bytes  # (24, 24, 3)


@dataclass(frozen=True)
class Pair:
    """Two photos, by their index, that look alike; `copy` where they are one picture."""

    first: int
    second: int
    copy: bool


def fingerprint(image: Image.Image, digest: str) -> Fingerprint:
    """Fingerprint an upright RGB photo; `digest` is that of its file."""
    gray = np.asarray(image.convert("L").resize((17, 16), Image.Resampling.BOX)).astype(np.int16)
    steps = np.diff(gray, axis=1)  # (16, 16)
    bits = np.packbits(np.stack([steps > FLAT, steps < -FLAT])).view(np.uint64)
    return Fingerprint(digest, bits, np.asarray(image.resize((24, 24), Image.Resampling.BOX)))


def similar_pairs(prints: Sequence[Fingerprint]) -> Iterator[Pair]:
    """All pairs that look alike, in no particular yet always the same order."""
    if not prints:
        return
    thumbnails = np.stack([print.thumbnail for print in prints])  # (N, 24, 24, 3)
    # Sums over 4 x 4 blocks of each channel are at most 36 x 255.
    blocks = thumbnails.reshape(-1, 4, 6, 4, 6, 3).sum(axis=(2, 4), dtype=np.int16).reshape(-1, 48)
    brightness = blocks.sum(axis=1, dtype=np.int64)  # (N,)
    order = np.argsort(brightness, kind="stable")
    ends = np.searchsorted(brightness[order], brightness[order] + _REACH, side="right")
    # Bits by word, (8, N): the columns of a word lie side by side.
    words = np.ascontiguousarray(np.stack([prints[i].steps for i in order]).T)

    def compare(start: int) -> list[Pair]:
        stop = min(start + _ROWS, len(prints))
        found: list[Pair] = []
        for column in range(start, int(ends[stop - 1]), _COLUMNS):
            rows, columns, bits = _close(words, slice(start, stop), column, int(ends[stop - 1]))
            found += _alike(thumbnails, blocks, order[rows], order[columns], bits)
        return found

    for pairs in on_all_cpus(compare, range(0, len(prints), _ROWS)):
        yield from pairs


def _close(
    words: npt.NDArray[np.uint64], rows: slice, column: int, end: int
) -> tuple[Ints, Ints, Ints]:
    """Where rows and later columns of (8, N) words differ in few bits, and in how many."""
    width = min(_COLUMNS, end - column)
    # Four words differ in 256 bits at most, which a byte counts as none: one more candidate.
    half = np.zeros((rows.stop - rows.start, width), np.uint8)
    for word in words[: len(words) // 2]:
        half += np.bitwise_count(word[rows, None] ^ word[None, column : column + width])
    row, other = np.nonzero(half <= SIMILAR_BITS)
    row, other = row + rows.start, other + column
    row, other = row[row < other], other[row < other]
    bits = np.bitwise_count(words[:, row] ^ words[:, other]).sum(axis=0, dtype=np.intp)
    few = bits <= SIMILAR_BITS
    return row[few], other[few], bits[few]


def _alike(
    thumbnails: Bytes, blocks: npt.NDArray[np.int16], one: Ints, other: Ints, bits: Ints
) -> list[Pair]:
    """Pairs, of those whose bits are close, whose thumbnails are close too."""
    near = np.abs(blocks[one] - blocks[other]).sum(axis=1, dtype=np.int32) <= _REACH
    one, other, bits = one[near], other[near], bits[near]
    found = []
    for start in range(0, len(one), _THUMBNAILS):
        part = slice(start, start + _THUMBNAILS)
        a, b = thumbnails[one[part]], thumbnails[other[part]]  # (n, 24, 24, 3)
        difference = (np.maximum(a, b) - np.minimum(a, b)).reshape(len(a), -1)
        levels = difference.sum(axis=1, dtype=np.int32) / difference.shape[1]
        peak = difference.max(axis=1)
        similar = (levels <= SIMILAR_LEVELS) & (peak <= SIMILAR_PEAK)
        copy = (bits[part] <= COPY_BITS) & (levels <= COPY_LEVELS) & (peak <= COPY_PEAK)
        for i in np.flatnonzero(similar):
            first, second = sorted((int(one[start + i]), int(other[start + i])))
            found.append(Pair(first, second, bool(copy[i])))
    return found
