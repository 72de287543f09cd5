"""Find copies and near-duplicates in a folder: which photos to drop, and which to group.

Memory does not grow with the number of similar pairs: pairs are processed one at a time, and at
most one other photo is stored for each photo.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ml.data.sample import Sample
from ml.data.similarity import Fingerprint, similar_pairs


@dataclass(frozen=True)
class Duplicates:
    """The result of comparing all samples. A sample is given by its index."""

    dropped: dict[int, str]  # the samples to drop, and why
    groups: list[int]  # for each sample: the first sample of its group, which may be itself
    near: list[tuple[int, int]]  # for each near-duplicate kept: (earliest similar photo, photo)


def find_duplicates(samples: Sequence[Sample], prints: Sequence[Fingerprint]) -> Duplicates:
    """Compare all photos, and join similar photos with the groups of `index.csv`.

    Of several copies, the first is kept. Copies in two classes are all dropped. If the folder
    has its own split, training photos that are similar to a test photo, or in the same group,
    are dropped.
    """
    dropped, identical_to = _find_identical(samples, prints)
    groups = _group_samples(samples, identical_to)
    single = [i for i in range(len(samples)) if i not in identical_to]
    copies: dict[int, int] = {}
    conflicts: dict[int, int] = {}
    leaks: dict[int, int] = {}
    near: dict[int, int] = {}
    for pair in similar_pairs([prints[i] for i in single]):
        first, second = single[pair.first], single[pair.second]
        groups.join(first, second)
        if pair.copy and samples[first].label != samples[second].label:
            conflicts |= {first: second, second: first}
        elif samples[first].split != samples[second].split:  # all train photos come before test
            leaks[first] = min(second, leaks.get(first, second))
        else:
            similar = copies if pair.copy else near
            similar[second] = min(first, similar.get(second, first))
    dropped = {i: _copy_of(samples[first]) for i, first in copies.items()} | dropped
    test_groups = {s.group: s.path.name for s in samples if s.group and s.split == "test"}
    dropped |= {
        i: f"In the same group as {test_groups[sample.group]} of the test set."
        for i, sample in enumerate(samples)
        if sample.split == "train" and sample.group in test_groups
    }
    dropped |= {i: f"Looks like {samples[j].path.name} of the test set." for i, j in leaks.items()}
    dropped |= {i: _in_two_classes([samples[i], samples[j]]) for i, j in conflicts.items()}
    kept = [(first, i) for i, first in sorted(near.items()) if not {first, i} & dropped.keys()]
    return Duplicates(dropped, [groups.first(i) for i in range(len(samples))], kept)


def _find_identical(
    samples: Sequence[Sample], prints: Sequence[Fingerprint]
) -> tuple[dict[int, str], dict[int, int]]:
    """Find files with the same bytes; return why each is dropped, and the first file it equals."""
    same: dict[str, list[int]] = defaultdict(list)
    for i, fingerprint in enumerate(prints):
        same[fingerprint.digest].append(i)
    dropped: dict[int, str] = {}
    identical_to: dict[int, int] = {}
    for members in same.values():
        first_of: dict[str, int] = {}
        for i in members:
            first = first_of.setdefault(samples[i].split, i)
            if first != i:
                identical_to[i] = first
                dropped[i] = _copy_of(samples[first])
        if len({samples[i].label for i in members}) > 1:
            dropped |= dict.fromkeys(members, _in_two_classes([samples[i] for i in members]))
    return dropped, identical_to


def _group_samples(samples: Sequence[Sample], identical_to: dict[int, int]) -> "_UnionFind":
    """Group identical files, and the samples of each group of `index.csv`."""
    groups = _UnionFind(len(samples))
    first_of: dict[str, int] = {}
    for i, sample in enumerate(samples):
        groups.join(identical_to.get(i, i), i)
        if sample.group:
            groups.join(first_of.setdefault(sample.group, i), i)
    return groups


def _copy_of(sample: Sample) -> str:
    return f"A copy of {sample.path.name}."


def _in_two_classes(members: Sequence[Sample]) -> str:
    classes = {sample.label: sample.path.name for sample in reversed(members)}
    files = " and ".join(f"{label}/{name}" for label, name in sorted(classes.items())[:2])
    return f"The same picture is in two classes: {files}."


class _UnionFind:
    """Disjoint groups of samples; the first sample of a group represents it."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def first(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = i = self._parent[self._parent[i]]
        return i

    def join(self, i: int, j: int) -> None:
        i, j = self.first(i), self.first(j)
        self._parent[max(i, j)] = min(i, j)
