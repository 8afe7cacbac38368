"""The gate as fitted: what is near passes, what is far does not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from appliance.core.gate import MEASURES, Refusal, read_gate, refusal, unfamiliar
from appliance.core.ports import Captioner, Picture, Reading, ReleaseCard
from appliance.release.manifest import read_release
from appliance.release.shelf import BUILT_IN
from appliance.wiring import open_captioner
from export.familiarity import KEEP_EVERY, Seen, fit, look, shuffled, varied
from tests.benchmarks.twins import twin_fates
from training.evaluation.questions import read_questions

WIDTH = 6
DOMAINS = ("skin", "fundus")
CENTRES = {"skin": np.zeros(WIDTH), "fundus": np.full(WIDTH, 8.0)}


def seen(pictures: int, seed: int, spread: float = 1.0) -> Seen:
    """So many pictures of each domain, around its centre."""
    rng = np.random.default_rng(seed)
    return Seen(
        np.repeat(DOMAINS, pictures),
        np.vstack([CENTRES[d] + rng.normal(0, spread, (pictures, WIDTH)) for d in DOMAINS]),
        rng.uniform(0.3, 0.7, (2 * pictures, len(MEASURES))),
    )


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    return fit(seen(150, 0), seen(150, 1, 1.2), seen(200, 2), seen(50, 3, 30.0))


def refused_share(said: dict[str, Any], pictures: Seen) -> float:
    familiarity = read_gate(said).familiarity
    assert familiarity is not None
    found = [
        unfamiliar(familiarity, features, dict(zip(MEASURES, measures, strict=True)))
        for features, measures in zip(
            pictures.features.tolist(), pictures.measures.tolist(), strict=True
        )
    ]
    return sum(isinstance(each, Refusal) for each in found) / len(found)


def test_what_is_near_is_kept_and_what_is_far_is_refused(said: dict[str, Any]) -> None:
    assert refused_share(said, seen(200, 4)) <= 0.03
    assert refused_share(said, seen(100, 5, 15.0)) >= 0.95


def test_what_lies_between_two_domains_is_far_from_both(said: dict[str, Any]) -> None:
    pictures = seen(100, 6)
    between = Seen(pictures.domains, np.full((200, WIDTH), 4.0), pictures.measures)
    assert refused_share(said, between) >= 0.95


def test_it_says_how_many_validation_pictures_it_refuses(said: dict[str, Any]) -> None:
    assert set(said["refused_in_validation"]) == set(DOMAINS)
    assert max(said["refused_in_validation"].values()) <= 0.05


def test_a_domain_whose_strangers_are_near_has_no_slack() -> None:
    near, far = (
        fit(seen(150, 0), seen(150, 1, 1.2), seen(200, 2), seen(50, 3, spread))
        for spread in (1.0, 30.0)
    )
    for domain in DOMAINS:
        assert far["groups"][domain]["farthest"] == pytest.approx(
            1.4 * near["groups"][domain]["farthest"], rel=1e-4
        )


def test_limits_are_the_widest_of_the_domains(said: dict[str, Any]) -> None:
    gate = read_gate(said)
    measures = dict.fromkeys(MEASURES, 0.5)
    assert refusal(gate, measures) is None
    blurred = refusal(gate, {**measures, "detail": 0.01})
    assert blurred is not None and blurred.code == "image-blurred"


def test_the_same_pictures_give_the_same_gate(said: dict[str, Any]) -> None:
    assert said == fit(seen(150, 0), seen(150, 1, 1.2), seen(200, 2), seen(50, 3, 30.0))


class Encoder(Captioner):
    """Sees the mean colour, and is killed after so many pictures."""

    def __init__(self, killed_after: int | None = None) -> None:
        self.looked = 0
        self.killed_after = killed_after

    @property
    def release(self) -> ReleaseCard:
        return read_release(BUILT_IN).card

    def features(self, picture: Picture) -> tuple[float, ...]:
        if self.looked == self.killed_after:
            raise KeyboardInterrupt
        self.looked += 1
        return tuple(np.frombuffer(picture.rgb, np.uint8).reshape(-1, 3).mean(0).tolist())

    def read(self, picture: Picture, *, anew: bool = False) -> Reading:
        raise AssertionError("nobody asks")


def test_looking_that_was_stopped_goes_on_where_it_was(data: Path, tmp_path: Path) -> None:
    questions = read_questions(data, "train")
    questions = [questions[n % len(questions)] for n in range(KEEP_EVERY + 20)]
    file = tmp_path / "kept" / "varied.npy"
    with pytest.raises(KeyboardInterrupt):
        look(Encoder(killed_after=KEEP_EVERY + 5), questions, varied, file, print)
    again = Encoder()
    resumed = look(again, questions, varied, file, print)
    assert again.looked == 20
    whole = look(Encoder(), questions, varied, tmp_path / "whole.npy", print)
    assert np.array_equal(resumed.values, whole.values)
    assert np.array_equal(resumed.domains, whole.domains)


def test_a_varied_radiograph_stays_grey_and_a_photograph_keeps_its_colour() -> None:
    rng = np.random.default_rng(0)
    grey = np.repeat(rng.integers(0, 256, (60, 80, 1), np.uint8), 3, axis=2)
    assert np.ptp(np.asarray(varied(Image.fromarray(grey), rng)), axis=2).max() == 0
    red = np.full((60, 80, 3), (200, 80, 60), np.uint8)
    changed = np.asarray(varied(Image.fromarray(red), rng)).mean((0, 1))
    assert changed[0] > changed[1] > changed[2]


def test_shuffling_keeps_every_pixel() -> None:
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 256, (256, 256, 3), np.uint8)
    mixed = np.asarray(shuffled(Image.fromarray(whole), rng))
    assert not np.array_equal(mixed, whole)
    assert np.array_equal(np.sort(mixed.reshape(-1)), np.sort(whole.reshape(-1)))


@pytest.mark.data
def test_the_answer_depends_on_the_picture(shared: Path) -> None:
    """Blank, shuffled and mismatched twins of test pictures; the benchmark takes all 200."""
    questions = read_questions(shared / "data", "test", 40)
    with open_captioner(read_release(BUILT_IN), 1) as captioner:
        fates = twin_fates(captioner, questions, 12)
    assert fates["blank"]["refused"] == 12
    assert fates["mismatched"]["the same"] == 0
    assert fates["shuffled"]["the same"] <= 2  # skin texture reads as skin in any order
