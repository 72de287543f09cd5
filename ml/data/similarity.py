"""Find pairs of photos that are copies or near-duplicates.

Each photo has a difference hash (N. Krawetz, "Kind of Like That", 2013) and a thumbnail of 24 x 24
pixels. The hash has 16 x 16 steps, each up, down or flat. The usual hash has no "flat", so its bits
are noise in a plain sky.

The search is exact. Photos with similar thumbnails have similar brightness, so each photo is
compared only with photos of similar brightness. Then follow four checks, each on the pairs that
passed the one before:

1. half the hash
2. the whole hash
3. sums of the thumbnails over 4 x 4 blocks, which never differ by more than the thumbnails
4. the thumbnails

200,000 photos take one minute on one core if their brightness varies, two if it does not, and
400 MB besides the fingerprints.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from ml.cpus import in_threads

# Limits for copies: the bits that differ (of 512), the mean and the largest difference in levels
# (of 255). Measured on 225 photos and drawings: resized and recompressed copies differ by up to 35
# bits, 2.4 levels on average and 22 levels at most. If a small object moves in the same sky, the
# average differs little, but the largest difference is 42 levels or more.
COPY_BITS, COPY_LEVELS, COPY_PEAK = 36, 2.5, 30
# The same limits for near-duplicates, such as frames of one video.
SIMILAR_BITS, SIMILAR_LEVELS, SIMILAR_PEAK = 64, 6.0, 50
FLAT_LEVELS = 2  # a step of up to this many levels is flat
_MAX_DIFFERENCE = SIMILAR_LEVELS * 24 * 24 * 3  # SIMILAR_LEVELS, summed over a thumbnail
_ROWS, _COLUMNS = 16, 4096  # compared at a time, to fit the CPU's cache
_THUMBNAILS = 128  # pairs of them compared at a time

Ints = npt.NDArray[np.intp]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Fingerprint:
    """The data by which photos are compared."""

    digest: str  # of the file's bytes
    steps: npt.NDArray[np.uint64]  # (8,), 512 bits
    thumbnail: Bytes  # (24, 24, 3)


class Pair(NamedTuple):
    """The indices of two similar photos; `copy` if they are the same picture."""

    first: int
    second: int
    copy: bool


def fingerprint(image: Image.Image, digest: str) -> Fingerprint:
    """Fingerprint an upright RGB photo; `digest` is that of its file."""
    gray = np.asarray(image.convert("L").resize((17, 16), Image.Resampling.BOX)).astype(np.int16)
    steps = np.diff(gray, axis=1)  # (16, 16)
    bits = np.packbits(np.stack([steps > FLAT_LEVELS, steps < -FLAT_LEVELS])).view(np.uint64)
    return Fingerprint(digest, bits, np.asarray(image.resize((24, 24), Image.Resampling.BOX)))


def similar_pairs(prints: Sequence[Fingerprint]) -> Iterator[Pair]:
    """Yield all pairs of similar photos, in an unsorted but reproducible order."""
    if not prints:
        return
    thumbnails = np.stack([each.thumbnail for each in prints])  # (N, 24, 24, 3)
    # Sums over 4 x 4 blocks of each channel are at most 36 x 255.
    blocks = thumbnails.reshape(-1, 4, 6, 4, 6, 3).sum(axis=(2, 4), dtype=np.int16).reshape(-1, 48)
    brightness = blocks.sum(axis=1, dtype=np.int64)  # (N,)
    order = np.argsort(brightness, kind="stable")
    ends = np.searchsorted(brightness[order], brightness[order] + _MAX_DIFFERENCE, side="right")
    # (8, N), so that the values of one word are contiguous.
    words = np.ascontiguousarray(np.stack([prints[i].steps for i in order]).T)

    def compare(start: int) -> list[Pair]:
        stop = min(start + _ROWS, len(prints))
        end = int(ends[stop - 1])
        found: list[Pair] = []
        for column in range(start, end, _COLUMNS):
            row, other, bits = _match_bits(words, slice(start, stop), column, end)
            found += _match_thumbnails(thumbnails, blocks, order[row], order[other], bits)
        return found

    for pairs in in_threads(compare, range(0, len(prints), _ROWS)):
        yield from pairs


def _match_bits(
    words: npt.NDArray[np.uint64], rows: slice, column: int, end: int
) -> tuple[Ints, Ints, Ints]:
    """Find rows and later columns of (8, N) words that differ in few bits, and count the bits."""
    width = min(_COLUMNS, end - column)
    # 256 different bits overflow the byte to 0. That only adds a candidate for the next check.
    half = np.zeros((rows.stop - rows.start, width), np.uint8)
    for word in words[: len(words) // 2]:
        half += np.bitwise_count(word[rows, None] ^ word[None, column : column + width])
    row, other = np.nonzero(half <= SIMILAR_BITS)
    row, other = row + rows.start, other + column
    row, other = row[row < other], other[row < other]
    bits = np.bitwise_count(words[:, row] ^ words[:, other]).sum(axis=0, dtype=np.intp)
    few = bits <= SIMILAR_BITS
    return row[few], other[few], bits[few]


def _match_thumbnails(
    thumbnails: Bytes, blocks: npt.NDArray[np.int16], one: Ints, other: Ints, bits: Ints
) -> list[Pair]:
    """Keep the pairs whose thumbnails are similar too."""
    near = np.abs(blocks[one] - blocks[other]).sum(axis=1, dtype=np.int32) <= _MAX_DIFFERENCE
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
