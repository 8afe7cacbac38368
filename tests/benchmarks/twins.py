"""Twins of a picture that a model which looks must answer otherwise: blank, shuffled, mismatched.

A caption that stays the same whatever the picture shows comes from the words alone.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
from PIL import Image

from appliance.core.decision import RISK, believe, decide
from appliance.core.gate import Refusal, refusal, unfamiliar
from appliance.core.ports import Captioner, Picture
from export.familiarity import as_picture, opened, shuffled
from training.evaluation.questions import Question

LEAST_CHANGE = 0.1
"""Total variation between the label distributions of a picture and its twin that counts as a
change: half the sum of the differences, 0 to 1."""
Fate = Literal["refused", "abstains", "changed", "the same"]
FATES: tuple[Fate, ...] = get_args(Fate)
Twin = Callable[[Image.Image, Image.Image, np.random.Generator], Image.Image]
"""From a picture and one of another label."""

TWINS: dict[str, Twin] = {
    "blank": lambda image, other, rng: Image.new("RGB", image.size, _mean(image)),
    "shuffled": lambda image, other, rng: shuffled(image, rng),
    "mismatched": lambda image, other, rng: other,
}


def twin_fates(
    captioner: Captioner, questions: Sequence[Question], pictures: int
) -> dict[str, Counter[Fate]]:
    """Of each kind of twin, over so many pictures that are read, evenly over the questions."""
    rng = np.random.default_rng(0)
    size = captioner.release.image_size
    fates: dict[str, Counter[Fate]] = {name: Counter() for name in TWINS}
    done = 0
    for place in rng.permutation(len(questions)):
        question = questions[place]
        image = opened(question)
        picture = as_picture(image, size)
        if refused(captioner, picture):
            continue
        others = [q for q in questions if q.label != question.label]
        other = opened(others[int(rng.integers(len(others)))])
        for name, twin in TWINS.items():
            spoiled = as_picture(twin(image, other, rng), size)
            fates[name][fate(captioner, picture, spoiled)] += 1
        done += 1
        if done == pictures:
            break
    return fates


def refused(captioner: Captioner, picture: Picture) -> str:
    """The code of the gate's refusal; empty when the picture is read."""
    gate = captioner.release.gate
    found: Refusal | str | None = refusal(gate, picture.measures)
    if found is None and gate.familiarity is not None:
        found = unfamiliar(gate.familiarity, captioner.features(picture), picture.measures)
    return found.code if isinstance(found, Refusal) else ""


def fate(captioner: Captioner, picture: Picture, twin: Picture) -> Fate:
    """What becomes of the twin of a picture that is read."""
    if refused(captioner, twin):
        return "refused"
    card = captioner.release
    before, after = (
        believe(card.labels, captioner.read(each).label_scores, card.calibration)
        for each in (picture, twin)
    )
    if decide(card.labels, after, card.calibration, RISK).kind == "abstain":
        return "abstains"
    names = card.labels.names
    change = total_variation(
        [before.probability[name] for name in names], [after.probability[name] for name in names]
    )
    return "changed" if change >= LEAST_CHANGE else "the same"


def total_variation(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / 2


def _mean(image: Image.Image) -> tuple[int, ...]:
    return tuple(np.asarray(image).reshape(-1, 3).mean(0).astype(int).tolist())
