"""Which images are asked about first, and which split they end in, by seed alone.

Ranks come from hashes, not from a generator, so that no library's next version moves an image
from one split to another.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from training.datasets import Example, Split

Group = tuple[str, str]
"""Data set, and the lesion or patient in it."""


def group_of(example: Example) -> Group:
    return example.dataset, example.group


def in_asking_order(examples: Sequence[Example], seed: int) -> list[Example]:
    """Shuffled, with every group's first image before any group's second."""
    shuffled = sorted(examples, key=lambda e: _rank(seed, "ask", e.dataset, str(e.row)))
    seen: Counter[Group] = Counter()
    turns = []
    for example in shuffled:
        turns.append((seen[group_of(example)], example))
        seen[group_of(example)] += 1
    return [example for _, example in sorted(turns, key=lambda turn: turn[0])]


def split_groups(
    examples: Iterable[Example], shares: dict[Split, float], seed: int
) -> dict[Group, Split]:
    """A split for every group, each label as near to `shares` as whole groups allow.

    Large groups first, then by rank; each goes where its labels lack most (the greedy step of
    Sechidis et al. 2011, doi:10.1007/978-3-642-23808-6_10, for groups instead of single images).
    """
    members: dict[Group, Counter[str]] = defaultdict(Counter)
    for example in examples:
        members[group_of(example)][example.label] += 1
    totals = sum(members.values(), Counter[str]())
    lacking = {split: {label: n * share for label, n in totals.items()}
               for split, share in shares.items()}  # fmt: skip

    def need(split: Split, labels: Counter[str]) -> tuple[float, float]:
        of_these = sum(n * lacking[split][label] for label, n in labels.items())
        return of_these, sum(lacking[split].values())

    chosen: dict[Group, Split] = {}
    for group in sorted(members, key=lambda g: (-members[g].total(), _rank(seed, "split", *g))):
        labels = members[group]
        split = max(shares, key=lambda s: need(s, labels))
        chosen[group] = split
        for label, count in labels.items():
            lacking[split][label] -= count
    return chosen


def _rank(seed: int, *words: str) -> str:
    return hashlib.sha256("\0".join((str(seed), *words)).encode()).hexdigest()
