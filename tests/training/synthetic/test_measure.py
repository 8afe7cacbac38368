"""The figures of drawings: what a perfect and a blind model get, and what a copy is."""

import numpy as np
import pytest
from numpy.typing import NDArray

from appliance.release.atlas_heads import unit
from training.atlas.measure import SCOPES
from training.synthetic.material import Material
from training.synthetic.measure import (
    NEAR,
    chosen,
    copy_rows,
    figures,
    label_mean,
    nearness,
    pairs,
)


def both_splits(material: Material) -> NDArray[np.int64]:
    return np.concatenate([chosen(material, split, 12) for split in ("val", "test")])


def test_at_most_so_many_pictures_of_a_label_are_drawn(material: Material) -> None:
    rows = chosen(material, "train", 1)
    assert len(rows) == len(np.unique(material.labels[rows])) == len(np.unique(material.labels))
    assert set(rows) <= set(material.split("train"))


def test_pictures_that_lie_with_their_captions_are_all_told_apart(material: Material) -> None:
    captions = np.eye(material.labels.max() + 1, dtype=np.float32)[material.labels]
    rows = both_splits(material)
    for scope in SCOPES:
        found = pairs(captions[rows], captions, material, rows, scope)
        assert found is not None
        assert found["accuracy"]["value"] == 1
        assert (found["similar"], found["dissimilar"]) == (1, 0)


def test_pictures_that_say_nothing_are_told_apart_by_chance(material: Material) -> None:
    captions = np.eye(material.labels.max() + 1, dtype=np.float32)[material.labels]
    rows = both_splits(material)
    blind = np.ones((len(rows), captions.shape[1]), np.float32)
    found = pairs(unit(blind), captions, material, rows, SCOPES[1])
    assert found is not None
    assert found["accuracy"]["value"] == 0.5


def test_the_threshold_is_not_chosen_on_the_test_split(material: Material) -> None:
    captions = np.eye(material.labels.max() + 1, dtype=np.float32)[material.labels]
    rows = both_splits(material)
    seen = captions[rows].copy()
    seen[np.isin(rows, material.split("test"))] *= 0.2
    found = pairs(seen, captions, material, rows, SCOPES[1])
    whole = pairs(captions[rows], captions, material, rows, SCOPES[1])
    assert found is not None and whole is not None
    assert found["threshold"] == whole["threshold"]


def test_a_mean_over_labels_weighs_them_equally_or_as_they_occur() -> None:
    truth, values = np.array([0, 0, 0, 1]), np.array([1.0, 1.0, 1.0, 0.0])
    assert label_mean(values, truth, None)["value"] == 0.5
    assert label_mean(values, truth, np.array([3, 1]))["value"] == 0.75
    assert label_mean(values, truth, None)["interval"] == [0.5, 0.5]


def test_a_copy_is_nought_even_when_paler() -> None:
    rng = np.random.default_rng(0)
    training = rng.integers(0, 256, (NEAR + 10, 40, 40, 3), dtype=np.uint8)
    rows = copy_rows(list(training))
    pale = (100 + training[3] * 0.3).astype(np.uint8)
    new = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    copied, paler, other = nearness(copy_rows([training[3], pale, new]), rows)
    assert copied < 0.01
    assert paler < 0.2
    assert other > 0.9


def test_figures_count_the_test_split_only(material: Material) -> None:
    rows = both_splits(material)
    captions = np.eye(material.labels.max() + 1, dtype=np.float32)[material.labels]
    test = np.isin(rows, material.split("test"))
    looked = {
        "vectors": captions[rows],
        "labels": np.where(test, material.labels[rows], -1),
        "nearness": np.where(test, 0.9, 0.0),
        "agreement": np.full(len(rows), 0.9),
    }
    found = figures(looked, captions, material, rows)
    assert found["pictures"] == test.sum()
    assert found["label_read"]["value"] == 1
    assert found["nearness"]["least"] == pytest.approx(0.9)
    assert found["mark_read"] == 1
    looked["agreement"] -= 0.4
    assert figures(looked, captions, material, rows)["mark_read"] == 0
