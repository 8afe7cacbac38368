"""Fits a release's gate: how far from what it was trained on a picture may be.

Reads downward: which pictures are looked at, what the encoder makes of them, limits of the
measures, one Gaussian a domain, and how far from it a picture may lie.

What was tried, on the demonstration release 0.3 and the development half of
tests/benchmarks/gate_set.py (355 pictures), each at 2 % of the validation pictures refused:

| features | model | share of the set refused |
|---|---|---|
| mean soft token | a Gaussian a label, one covariance (Lee et al. 2018, arXiv:1807.03888) | 0.70 |
| mean and spread of the soft tokens | the same | 0.64 |
| mean soft token, measures | 10th nearest neighbour (Sun et al. 2022, arXiv:2204.06507) | 0.76 |
| mean soft token, measures | relative Mahalanobis (Ren et al. 2021, arXiv:2106.09022) | 0.85 |
| mean soft token | a Gaussian a domain, each its own covariance | 0.89 |
| mean and spread of the soft tokens | the same | 0.84 |
| measures | the same | 0.80 |
| a 4 x 4 thumbnail | the same | 0.27 |
| mean soft token, measures | the same | 0.92 |
| mean soft token, measures, thumbnail | the same | 0.91 |
| mean soft token, measures | the same, and the limits of the measures | 0.97 |

The covariance must be the domain's own: radiographs have no colour at all, which a shared one
forgives. Fitted on the pictures as they are, three of three chest films from elsewhere were
refused, and 30 to 50 % of validation pictures once these were cropped, lighter or darker, as
another camera would have them; so each training picture is also taken varied. No film of a bone,
CT or MR came within 1.5 times the chest's limit, so that domain has slack, and the three films
are read. With that 0.97. What is still let through is mostly skin with its patches shuffled.
96 axes do as well as all 268.
"""

import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from appliance.core.gate import MEASURES, Gate, Refusal, pack, read_gate, refusal, unfamiliar
from appliance.core.labels import DOMAINS
from appliance.core.ports import Captioner, Picture
from appliance.release.manifest import read_release
from appliance.wiring import measure_picture, open_captioner
from training.datasets import file_sizes
from training.evaluation.questions import Question, read_questions
from training.whole_file import write_whole

Rows = NDArray[np.float64]
Say = Callable[[str], None]
Change = Callable[[Image.Image, np.random.Generator], Image.Image]
"""What is done to a picture before it is looked at."""

TRAIN_PER_LABEL = 100
SHUFFLED_PER_DOMAIN = 100
KEEP_EVERY = 256
"""Pictures looked at between two times that they are kept."""
LIMITED: tuple[str, ...] = ("spread", "dark", "bright", "detail", "grain", "entropy", "one_shade")
"""The measures that have limits; the rest only go into the distance."""
BEYOND_LIMITS = 0.001
"""Share of a domain's pictures beyond each limit."""
MOST_AXES = 96
SHRINKAGE = 0.02
"""Of each covariance towards its diagonal."""
LEAST_SCALE = 1e-3
USUAL, NEAR = 0.95, 0.985
"""Shares of validation pictures that lie nearer than the two limits."""
SLACK = 1.4
"""How much farther a picture may lie in a domain where all but STRANGE_NEAR of those with shuffled
patches lie farther still: there is room for pictures from elsewhere."""
STRANGE_NEAR = 0.05
FINEST = 5
"""Significant digits of what is written in full."""


@dataclass(frozen=True)
class Seen:
    """Pictures as the gate sees them; all have as many rows."""

    domains: NDArray[np.str_]
    features: Rows
    """(pictures, text width)"""
    measures: Rows
    """(pictures, measures)"""

    @property
    def values(self) -> Rows:
        return np.hstack([self.features, self.measures])


def fit_gate(release: Path, data: Path, kept: Path, threads: int, say: Say) -> dict[str, Any]:
    """The manifest's `gate`. `release` may be a draft. What its encoder makes of each picture
    stays in the folder `kept`, so that a call that was stopped goes on.

    Raises: DatasetError.
    """
    found = read_release(release)
    rng = np.random.default_rng(0)
    train = list(_per_label(read_questions(data, "train"), TRAIN_PER_LABEL, rng))
    val = read_questions(data, "val")
    some = _per_domain(val, SHUFFLED_PER_DOMAIN)
    held = json.dumps([found.card.sha256, file_sizes(data)])
    key = hashlib.sha256(held.encode()).hexdigest()[:12]
    with open_captioner(found, threads) as captioner:

        def seen(name: str, questions: Sequence[Question], change: Change) -> Seen:
            say(f"what the encoder makes of {len(questions)} {name} pictures")
            return look(captioner, questions, change, kept / f"{name}-{key}.npy", say)

        return fit(
            seen("training", train, as_they_are),
            seen("varied", train, varied),
            seen("validation", val, as_they_are),
            seen("shuffled", some, shuffled),
        )


def fit(plain: Seen, changed: Seen, near: Seen, strange: Seen) -> dict[str, Any]:
    """From training pictures and the same varied, validation pictures and some of the same with
    their patches shuffled."""
    train = _joined([plain, changed])
    mean = _halved(train.values.mean(0))
    scale = _halved(np.maximum(train.values.std(0), LEAST_SCALE))
    scaled = (train.values - mean) / scale
    _, _, directions = np.linalg.svd(scaled, full_matrices=False)
    axes = _halved(directions[:MOST_AXES])

    def places(seen: Seen) -> Rows:
        """As core.gate.coordinates."""
        rows = (seen.values - mean) / scale
        along = rows @ axes.T
        off = np.sqrt(np.maximum((rows**2).sum(1) - (along**2).sum(1), 0))
        found: Rows = np.column_stack([along, off])
        return found

    def inside(seen: Seen, domain: str) -> Rows:
        found: Rows = places(seen)[seen.domains == domain]
        return found

    said: dict[str, Any] = {
        "measures": list(MEASURES),
        "limits": _limits(_joined([plain, near])),
        "mean": pack(mean.tolist()),
        "scale": pack(scale.tolist()),
        "axes": pack(axes.ravel().tolist()),
        "groups": {
            domain: _group(*(inside(seen, domain) for seen in (train, near, strange)))
            for domain in sorted(set(train.domains.tolist()))
        },
    }
    said["refused_in_validation"] = _refused(read_gate(said), near)
    return said


def _group(train: Rows, near: Rows, strange: Rows) -> dict[str, Any]:
    """One domain's Gaussian, from where its pictures lie, and how far from it others may."""
    centre, factor = _halved(train.mean(0)), _halved(_inverse_factor(train))

    def quantile(rows: Rows, share: float) -> float:
        return float(np.quantile(np.linalg.norm((rows - centre) @ factor.T, axis=1), share))

    limit = quantile(near, NEAR)
    has_slack = quantile(strange, STRANGE_NEAR) > limit * SLACK
    farthest = limit * SLACK if has_slack else limit
    return {
        "centre": pack(centre.tolist()),
        "factor": pack(factor[np.tril_indices(len(factor))].tolist()),
        "usual": _short(quantile(near, USUAL)),
        "farthest": _short(farthest),
    }


def as_they_are(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image


def varied(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """As another camera, room or hand might have taken it: cropped, lighter, of another tint."""
    width, height = image.size
    zoom, aspect = rng.uniform(0.82, 1.12), rng.uniform(0.88, 1.14) ** 0.5
    half_width, half_height = width * zoom * aspect / 2, height * zoom / aspect / 2
    x, y = width * rng.uniform(0.44, 0.56), height * rng.uniform(0.44, 0.56)
    box = (x - half_width, y - half_height, x + half_width, y + half_height)
    whole = np.asarray(image.crop(tuple(map(round, box))), np.float64) / 255
    light = whole ** np.exp(rng.uniform(-0.4, 0.4))
    contrast, brightness = rng.uniform(0.75, 1.3), rng.uniform(-0.1, 0.1)
    light = (light - light.mean()) * contrast + light.mean() + brightness
    if np.ptp(whole, axis=2).max() > 0.02:  # a radiograph stays grey
        light = light * (1 + rng.uniform(-0.08, 0.08, 3))
    light = light + rng.normal(0, rng.uniform(0, 0.02), (*light.shape[:2], 1))
    changed = Image.fromarray((light.clip(0, 1) * 255).astype(np.uint8))
    return changed.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.008) * changed.height))


def shuffled(image: Image.Image, rng: np.random.Generator, patches: int = 8) -> Image.Image:
    """The same pixels, patches x patches pieces of them in another order: it shows nothing."""
    side = 256 // patches
    whole = np.asarray(image.resize((256, 256)))
    pieces = whole.reshape(patches, side, patches, side, 3).swapaxes(1, 2)
    mixed = rng.permutation(pieces.reshape(-1, side, side, 3)).reshape(pieces.shape)
    return Image.fromarray(mixed.swapaxes(1, 2).reshape(whole.shape))


def opened(question: Question) -> Image.Image:
    return Image.open(io.BytesIO(question.encoded)).convert("RGB")


def as_picture(image: Image.Image, size: int) -> Picture:
    """As the process that decodes files would give it."""
    square = image.resize((size, size), Image.Resampling.BILINEAR).tobytes()
    measures = measure_picture(image)
    return Picture(square, size, "", "memory", image.width, image.height, None, measures=measures)


def look(
    captioner: Captioner, questions: Sequence[Question], change: Change, file: Path, say: Say
) -> Seen:
    """What the gate sees of each question's picture; goes on after those that `file` holds."""
    size = captioner.release.image_size
    rows: list[list[float]] = np.load(file).tolist() if file.is_file() else []
    for place in range(len(rows), len(questions)):
        changed = change(opened(questions[place]), np.random.default_rng(place))
        picture = as_picture(changed, size)
        measures = [picture.measures[name] for name in MEASURES]
        rows.append([*captioner.features(picture), *measures])
        if len(rows) % KEEP_EVERY == 0 or len(rows) == len(questions):
            _keep(file, rows)
            say(f"looked at {len(rows)} of {len(questions)}")
    values = np.array(rows)
    domains = np.array([question.example.domain for question in questions])
    return Seen(domains, values[:, : -len(MEASURES)], values[:, -len(MEASURES) :])


def _keep(file: Path, rows: Sequence[Sequence[float]]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array(rows), allow_pickle=False)
    write_whole(file, buffer.getvalue())


def _per_label(
    questions: Sequence[Question], most: int, rng: np.random.Generator
) -> Iterator[Question]:
    """Evenly: the commonest label must not be the only familiar one."""
    by_label: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_label[question.label].append(question)
    for inside in by_label.values():
        for place in rng.permutation(len(inside))[:most]:
            yield inside[place]


def _per_domain(questions: Sequence[Question], most: int) -> list[Question]:
    return [
        question
        for domain in DOMAINS
        for question in [q for q in questions if q.example.domain == domain][:most]
    ]


def _joined(parts: Sequence[Seen]) -> Seen:
    return Seen(
        np.concatenate([part.domains for part in parts]),
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.measures for part in parts]),
    )


def _limits(seen: Seen) -> dict[str, list[float]]:
    """The widest of the domains' ranges."""
    limits = {}
    for name in LIMITED:
        column = seen.measures[:, MEASURES.index(name)]
        ranges = [
            np.quantile(column[seen.domains == domain], [BEYOND_LIMITS, 1 - BEYOND_LIMITS])
            for domain in np.unique(seen.domains)
        ]
        low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
        limits[name] = [_short(float(low)), _short(float(high))]
    return limits


def _inverse_factor(rows: Rows) -> Rows:
    """L with L (row - centre) white: the inverse Cholesky factor of the shrunk covariance."""
    covariance = np.cov(rows.T)
    diagonal = np.diag(np.diag(covariance) + LEAST_SCALE**2)
    factor: Rows = np.linalg.inv(
        np.linalg.cholesky((1 - SHRINKAGE) * covariance + SHRINKAGE * diagonal)
    )
    return np.tril(factor)


def _refused(gate: Gate, seen: Seen) -> dict[str, float]:
    """Share of the pictures that the gate refuses, by domain."""
    assert gate.familiarity is not None
    refused = defaultdict(list)
    rows = zip(seen.domains.tolist(), seen.features.tolist(), seen.measures.tolist(), strict=True)
    for domain, features, values in rows:
        measures = dict(zip(MEASURES, values, strict=True))
        found = refusal(gate, measures) or unfamiliar(gate.familiarity, features, measures)
        refused[domain].append(isinstance(found, Refusal))
    return {domain: _short(sum(inside) / len(inside)) for domain, inside in refused.items()}


def _halved(values: Rows) -> Rows:
    """As the release will hold them."""
    return values.astype(np.float16).astype(np.float64)


def _short(value: float) -> float:
    return float(f"{value:.{FINEST}g}")
