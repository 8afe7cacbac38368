"""Does a pair of files see? Tried on drawings, before the pair becomes a release.

A projector of another model of the same width loads without a word, and every picture then reads
as nonsense. What shows it here: the drawings of skin, eye and chest must each raise the scores of
its own kind of label, against the other drawings and against what the model says of anything.
A projector of a near relative (Gemma 3's on MedGemma) sees too: only its name tells it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from appliance.core.caption import is_caption
from appliance.core.labels import DOMAINS, Domain, LabelSet
from appliance.core.ports import Captioner, Reading
from appliance.errors import ModelError, ModelFileError, ReleaseError
from appliance.release.drawings import PER_KIND, draw

LEAST_TOLD_APART_NATS = 1.0
"""By so much a kind's drawings must raise its own labels' score, of each kind. Two small models
trained apart: 3.4 and 4.7 at the least; each with the other's projector: -1.4 and 0.0. With the
projection shuffled or weights drawn at random, 58 of 60 stayed below: 1 in 30 would pass."""
GET_PAIR = "get the model and its mmproj from the same place, made for each other"


@dataclass(frozen=True)
class Trial:
    """What the drawings showed."""

    drawings: int
    whole_captions: int
    told_apart_nats: Mapping[Domain, float]
    """By how much each kind's drawings raise the score of its own labels."""

    def as_manifest(self) -> dict[str, Any]:
        return {
            **vars(self),
            "told_apart_nats": {d: round(nats, 3) for d, nats in self.told_apart_nats.items()},
            "cannot_tell": "a projector of a near relative of the model",
        }


def try_pair(captioner: Captioner, say: Callable[[str], None]) -> Trial:
    """Read the drawings. Raises: ModelFileError when the pair does not run or does not see."""
    labels = captioner.release.labels
    readings: dict[Domain, list[Reading]] = {domain: [] for domain in DOMAINS}
    for number in range(PER_KIND * len(DOMAINS)):
        domain = DOMAINS[number % len(DOMAINS)]
        say(f"trying the pair on drawing {number + 1} of {PER_KIND * len(DOMAINS)}")
        readings[domain].append(_read(captioner, domain, number // len(DOMAINS)))
    every = [reading for inside in readings.values() for reading in inside]
    whole = sum(is_caption(reading.text, labels) for reading in every)
    if not whole:  # one that was not taught to write them runs on now and then
        raise ModelFileError(
            f"the pair does not write captions: none of {len(every)} was whole",
            "get an instruction-tuned model (-it), in another quantization if this one is small",
        )
    apart = told_apart(labels, {d: [r.label_scores for r in readings[d]] for d in DOMAINS})
    if min(apart.values()) < LEAST_TOLD_APART_NATS:
        raise ModelFileError(
            "the pair does not see: drawings of skin, eye and chest read much alike ("
            + ", ".join(f"{domain} {nats:+.1f}" for domain, nats in apart.items())
            + "), so the projector belongs to another model",
            f"{GET_PAIR}; or, if they are, try the other --prompt",
        )
    return Trial(len(every), whole, apart)


def told_apart(
    labels: LabelSet, scores: Mapping[Domain, Sequence[Sequence[float]]]
) -> dict[Domain, float]:
    """For each kind of picture, the log-score of its own labels, less what the model gives them on
    any picture and what the picture gives any label: 0 for a model that does not look.

    `scores`: of each kind's pictures, the log-probability of every label.
    """
    table = [[_mean(scores[of], labels, kind) for kind in DOMAINS] for of in DOMAINS]
    count = len(DOMAINS)
    rows = [sum(row) / count for row in table]
    columns = [sum(column) / count for column in zip(*table, strict=True)]
    whole = sum(rows) / count
    return {
        domain: table[place][place] - rows[place] - columns[place] + whole
        for place, domain in enumerate(DOMAINS)
    }


def _mean(pictures: Sequence[Sequence[float]], labels: LabelSet, kind: Domain) -> float:
    """Mean log of the probability that all labels of a kind hold."""
    places = [labels.names.index(name) for name in labels.in_domain(kind)]
    logs = []
    for scores in pictures:
        top = max(scores[place] for place in places)
        logs.append(top + math.log(sum(math.exp(scores[place] - top) for place in places)))
    return sum(logs) / len(logs)


def _read(captioner: Captioner, domain: Domain, variant: int) -> Reading:
    try:
        reading = captioner.read(draw(domain, variant, captioner.release.image_size))
    except (ModelError, ReleaseError) as exc:
        raise ModelFileError(f"the pair does not run: {exc.message}", GET_PAIR) from exc
    if not all(map(math.isfinite, reading.label_scores)):
        raise ModelFileError(
            "the pair gives scores that are no numbers: a damaged or faulty conversion", GET_PAIR
        )
    return reading
