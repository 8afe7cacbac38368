"""The atlas's space: what the loss asks, what the heads learn, what the figures count."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from appliance.release.atlas_heads import Heads, read_heads, unit, write_heads
from tests.training.atlas.made_up import PER_SPLIT, made_up_material
from training.atlas.heads import contrastive_loss, train_heads
from training.atlas.material import AtlasMaterial
from training.atlas.measure import (
    SCOPES,
    Space,
    balanced,
    least_cosine,
    measure,
    pairs,
    reference_places,
    space_of,
)
from training.atlas.recipe import DEMONSTRATION, read_heads_recipe
from training.labels import label_set

RECIPE = replace(
    read_heads_recipe(DEMONSTRATION), steps=200, batch=64, dropout=0.0, learning_rate=5e-3
)


@pytest.fixture(scope="module")
def material() -> AtlasMaterial:
    return made_up_material()


@pytest.fixture(scope="module")
def heads(material: AtlasMaterial) -> Heads:
    return train_heads(RECIPE, material, lambda line: None)


def test_the_loss_is_the_mean_over_positives_of_the_log_softmax() -> None:
    rows = torch.eye(3)
    positive = torch.tensor([[1.0, 1, 0], [0, 1, 0], [0, 0, 0]])
    found = contrastive_loss(rows, rows, positive, torch.ones(3, 3), 1.0)
    whole = math.log(math.e + 2)
    first = ((1 - whole) + (0 - whole)) / 2
    assert float(found) == pytest.approx(-(first + (1 - whole) + 0) / 3, abs=1e-6)


def test_what_is_not_counted_is_not_in_the_softmax() -> None:
    rows = torch.eye(2)
    others = 1 - torch.eye(2)
    assert float(contrastive_loss(rows, rows, others, others, 0.5)) == pytest.approx(0, abs=1e-6)


def test_the_heads_bring_pictures_to_their_captions(heads: Heads, material: AtlasMaterial) -> None:
    space = space_of(heads, material)
    test = material.places("test")
    one_caption = {
        label: space.captions[material.labels == label][0] for label in np.unique(material.labels)
    }
    keys = np.array(list(one_caption.values()))
    found = np.array(list(one_caption))[(space.pictures[test] @ keys.T).argmax(1)]
    assert np.mean(found == material.labels[test]) > 0.9


def test_the_same_recipe_gives_the_same_heads(heads: Heads, material: AtlasMaterial) -> None:
    again = train_heads(RECIPE, material, lambda line: None)
    assert np.array_equal(again.image.first, heads.image.first)


def test_only_the_training_split_is_learnt_from(heads: Heads, material: AtlasMaterial) -> None:
    others = material.splits != "train"
    pictures = material.pictures.copy()
    pictures[others] += 100
    again = train_heads(RECIPE, replace(material, pictures=pictures), lambda line: None)
    assert np.array_equal(again.text.second, heads.text.second)


def test_heads_survive_their_file(heads: Heads, material: AtlasMaterial, tmp_path: object) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "heads.npz"
    write_heads(heads, file)
    again = read_heads(file.read_bytes())
    found = again.image.project(material.pictures)
    assert np.abs(found - heads.image.project(material.pictures)).max() < 5e-3


def test_cases_are_of_the_training_split_and_at_most_so_many(material: AtlasMaterial) -> None:
    places = reference_places(material, 7)
    assert set(material.splits[places]) == {"train"}
    assert np.bincount(material.labels[places]).max() == 7
    assert len(reference_places(material, None)) == PER_SPLIT["train"]


def test_a_balanced_mean_counts_a_rare_label_as_much_as_a_common_one() -> None:
    truth = np.array([0] * 8 + [1] * 2)
    found = balanced(np.array([1.0] * 8 + [0.0] * 2), truth, np.arange(10).astype(str))
    assert found["value"] == 0.5
    assert found["interval"] == [0.5, 0.5]


def test_a_mean_over_pictures_taken_again_is_known_no_better() -> None:
    truth, groups = np.repeat([0, 1], 20), np.arange(40).astype(str)
    values = np.tile([1.0, 0.0, 0.4, 0.6], 10)
    once, again = (
        balanced(np.tile(values, n), np.tile(truth, n), np.tile(groups, n)) for n in (1, 5)
    )
    assert again["interval"] == pytest.approx(once["interval"])


def test_pairs_that_share_few_pictures_are_not_taken_for_independent() -> None:
    """Whether a pair is told apart depends on its picture alone, and 30 pictures make 2,000
    pairs: over new pictures the accuracy spreads by sqrt(p (1 - p) / 30) and more."""
    material = made_up_material()
    test = material.places("test")
    captions = np.eye(len(label_set()), dtype=np.float32)[material.labels]
    pictures = captions.copy()
    pictures[test[::4]] = -1  # far from its own caption and from all others
    found = pairs(Space(pictures, captions), material)[SCOPES[1]]["image-caption"]
    assert 0.7 < found["accuracy"] < 0.98
    low, high = found["interval"]
    assert low < found["accuracy"] < high
    as_if_independent = 2 * 1.96 * math.sqrt(0.25 * 0.75 / 2000) / 2
    assert high - low > 3 * as_if_independent


def test_no_caption_is_paired_with_itself() -> None:
    """Every caption is its own direction: any cosine of 1 would be a caption's with itself."""
    material = made_up_material()
    captions = np.eye(len(material.rows), dtype=np.float32)
    found = pairs(Space(captions, captions), material)
    for kinds in (found[scope] for scope in SCOPES[:2]):
        assert kinds["text-text"]["similar"]["mean"] == 0
        assert kinds["image-caption"]["similar"]["mean"] == 1


def test_figures_of_a_space_that_knows_every_label(material: AtlasMaterial) -> None:
    one_hot = np.eye(len(label_set()), dtype=np.float32)[material.labels]
    space = Space(one_hot, one_hot)
    pixels = np.random.default_rng(0).normal(size=(len(material.rows), 12)).astype(np.float32)
    figures = measure(space, material, reference_places(material, None), pixels)
    found = figures["precision_at_5"]
    assert found["heads"]["value"] == 1
    assert found["chance"]["value"] == pytest.approx(1 / 3)
    assert 0.1 < found["pixels"]["value"] < 0.6
    for scope in SCOPES[:2]:
        assert figures["pairs"][scope]["image-caption"]["accuracy"] == 1


def test_a_space_that_knows_nothing_tells_no_pair_apart(material: AtlasMaterial) -> None:
    rng = np.random.default_rng(0)
    rows = unit(rng.normal(size=(len(material.rows), 8)).astype(np.float32))
    other = unit(rng.normal(size=(len(material.rows), 8)).astype(np.float32))
    pixels = rows
    figures = measure(Space(rows, other), material, reference_places(material, None), pixels)
    accuracy = figures["pairs"]["as they occur"]["image-caption"]["accuracy"]
    assert 0.3 < accuracy < 0.7


def test_nearly_every_validation_picture_has_a_case_near(
    heads: Heads, material: AtlasMaterial
) -> None:
    space, references = space_of(heads, material), reference_places(material, None)
    floor = least_cosine(space, material, references)
    best = (space.pictures[material.places("val")] @ space.cases[references].T).max(1)
    assert np.mean(best >= floor) >= 0.95
