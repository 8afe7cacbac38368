"""Claims about which images are asked about first, and which split they end in."""

from collections import Counter
from itertools import pairwise

import numpy as np

from training.datasets import Example, Split
from training.teach.grouping import group_of, in_asking_order, split_groups

SHARES: dict[Split, float] = {"train": 0.7, "val": 0.2, "test": 0.1}


def examples(count: int, groups: int, seed: int = 0) -> list[Example]:
    """Of three labels, some rarer than others, in groups that may mix them."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(["common", "less common", "rare"], count, p=[0.6, 0.3, 0.1])
    return [
        Example("data", row, str(labels[row]), "skin", str(rng.integers(groups)), "train")
        for row in range(count)
    ]


def test_no_group_is_in_two_splits_and_every_group_is_in_one() -> None:
    drawn = examples(500, 200)
    split_of = split_groups(drawn, SHARES, 0)
    assert set(split_of) == {group_of(example) for example in drawn}


def test_the_same_group_name_in_two_data_sets_is_two_groups() -> None:
    drawn = [
        Example("one", 0, "common", "skin", "7", "train"),
        Example("two", 0, "common", "skin", "7", "train"),
    ]
    assert len(split_groups(drawn, SHARES, 0)) == 2


def test_every_label_is_split_as_near_to_the_shares_as_groups_allow() -> None:
    for seed in range(5):
        drawn = examples(600, 300, seed)
        split_of = split_groups(drawn, SHARES, seed)
        count = Counter((e.label, split_of[group_of(e)]) for e in drawn)
        for label, total in Counter(e.label for e in drawn).items():
            for split, share in SHARES.items():
                assert abs(count[label, split] - share * total) <= 2.5


def test_images_without_a_shared_group_are_split_to_the_image() -> None:
    drawn = [Example("data", i, "common", "skin", str(i), "train") for i in range(100)]
    sizes = Counter(split_groups(drawn, SHARES, 3).values())
    assert sizes == {"train": 70, "val": 20, "test": 10}


def test_the_split_follows_the_seed_and_not_the_order_of_the_examples() -> None:
    drawn = examples(300, 150)
    split_of = split_groups(drawn, SHARES, 1)
    assert split_groups(drawn[::-1], SHARES, 1) == split_of
    assert split_groups(drawn, SHARES, 2) != split_of


def test_a_groups_second_image_waits_for_every_groups_first() -> None:
    drawn = examples(200, 80)
    ordered = in_asking_order(drawn, 0)
    assert sorted(e.row for e in ordered) == list(range(200))
    seen: Counter[str] = Counter()
    turns = []
    for example in ordered:
        turns.append(seen[example.group])
        seen[example.group] += 1
    assert all(first <= second for first, second in pairwise(turns))


def test_the_order_of_asking_follows_the_seed() -> None:
    drawn = examples(50, 50)
    assert in_asking_order(drawn, 0) == in_asking_order(drawn[::-1], 0)
    assert in_asking_order(drawn, 0) != in_asking_order(drawn, 1)
