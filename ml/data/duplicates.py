"""What stands in a folder more than once: what to leave out, and what belongs together.

However many pairs look alike, the memory stays bounded: pairs stream by, and each photo remembers
one other.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ml.data.sample import Sample
from ml.data.similarity import Fingerprint, similar_pairs


@dataclass(frozen=True)
class Duplicates:
    """All by the samples' index."""

    out: dict[int, str]
    """What to leave out, and why."""
    groups: list[int]
    """Of each sample: the first that it belongs together with, itself where it is alone."""
    near: list[tuple[int, int]]
    """Photos that are kept and look alike: each once, with the first that it looks like."""


def find_duplicates(samples: Sequence[Sample], prints: Sequence[Fingerprint]) -> Duplicates:
    """Compare all photos; `index.csv`'s groups are joined with what looks alike.

    Of a picture that stands there several times the first stays; of one picture in two classes,
    none; of what looks like a test photo in a folder's own split, or is of its group, the test
    photo.
    """
    out, twins = _identical(samples, prints)
    links = _Links(len(samples))
    first_of: dict[str, int] = {}
    for i, sample in enumerate(samples):
        links.join(twins.get(i, i), i)
        if sample.group:
            links.join(first_of.setdefault(sample.group, i), i)
    single = [i for i in range(len(samples)) if i not in twins]
    copies: dict[int, int] = {}
    contrary: dict[int, int] = {}
    leaks: dict[int, int] = {}
    near: dict[int, int] = {}
    for pair in similar_pairs([prints[i] for i in single]):
        first, second = single[pair.first], single[pair.second]
        links.join(first, second)
        if pair.copy and samples[first].label != samples[second].label:
            contrary |= {first: second, second: first}
        elif samples[first].split != samples[second].split:  # train stands before test
            leaks[first] = min(second, leaks.get(first, second))
        else:
            seen = copies if pair.copy else near
            seen[second] = min(first, seen.get(second, first))
    out = {i: f"A copy of {samples[of].path.name}." for i, of in copies.items()} | out
    out |= _of_a_tested_group(samples)
    out |= {i: f"Looks like {samples[of].path.name} of the test set." for i, of in leaks.items()}
    out |= {i: _in_two_classes([samples[i], samples[of]]) for i, of in contrary.items()}
    kept = [(first, i) for i, first in sorted(near.items()) if not {first, i} & out.keys()]
    return Duplicates(out, [links.first(i) for i in range(len(samples))], kept)


def _identical(
    samples: Sequence[Sample], prints: Sequence[Fingerprint]
) -> tuple[dict[int, str], dict[int, int]]:
    """Files that are the same byte for byte: why they are left out, and each one's first."""
    alike: dict[str, list[int]] = defaultdict(list)
    for i, print in enumerate(prints):
        alike[print.digest].append(i)
    out: dict[int, str] = {}
    twins: dict[int, int] = {}
    for members in alike.values():
        first_of: dict[str, int] = {}
        for i in members:
            first = first_of.setdefault(samples[i].split, i)
            if first != i:
                twins[i] = first
                out[i] = f"A copy of {samples[first].path.name}."
        if len({samples[i].label for i in members}) > 1:
            out |= dict.fromkeys(members, _in_two_classes([samples[i] for i in members]))
    return out, twins


def _in_two_classes(members: Sequence[Sample]) -> str:
    classes = {sample.label: sample.path.name for sample in reversed(members)}
    files = " and ".join(f"{label}/{name}" for label, name in sorted(classes.items())[:2])
    return f"The same picture stands in two classes: {files}."


def _of_a_tested_group(samples: Sequence[Sample]) -> dict[int, str]:
    """What a folder's own split trains on and `index.csv` puts together with a test photo."""
    tested = {s.group: s.path.name for s in samples if s.group and s.split == "test"}
    return {
        i: f"Of the same group as {tested[sample.group]} of the test set."
        for i, sample in enumerate(samples)
        if sample.split == "train" and sample.group in tested
    }


class _Links:
    """Who belongs together: a forest of links, each towards the first (union-find)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def first(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = i = self._parent[self._parent[i]]
        return i

    def join(self, i: int, j: int) -> None:
        i, j = self.first(i), self.first(j)
        self._parent[max(i, j)] = min(i, j)
