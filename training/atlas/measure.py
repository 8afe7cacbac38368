"""How good the space is: cases with the same label, and S3's pairs told apart.

Every figure is of the test split; whatever is chosen is chosen on the validation split. Intervals
are 95 %, by drawing each label's patients (or lesions) again from themselves; a patient with
pictures of two labels is drawn for each of them apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.core.labels import DOMAINS
from appliance.release.atlas_heads import Heads, case_vectors, unit
from training.atlas.material import AtlasMaterial, Floats
from training.datasets import read_examples
from training.pixels import load_pixels

K = 5
RESAMPLES = 2000
PAIRS = 2000
"""Similar ones, and as many dissimilar ones."""
KINDS = ("text-text", "image-caption")
SCOPES = ("as they occur", "labels equally often", "labels equally often, one domain")
PIXEL_SIDE = 16
"""Of the down-scaled picture that pixels are compared by."""
FARTHEST_SHARE = 0.01
"""Of validation pictures that have no case as near as `least_cosine`."""

Places = NDArray[np.int64]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Space:
    """Every row's picture and caption as unit vectors."""

    pictures: Floats
    captions: Floats

    @property
    def cases(self) -> Floats:
        return case_vectors(self.pictures, self.captions)


@dataclass(frozen=True)
class Pairs:
    """Places of as many queries, of each one's similar caption and of its dissimilar one."""

    queries: Places
    similar: Places
    dissimilar: Places


def space_of(heads: Heads | None, material: AtlasMaterial) -> Space:
    """By the heads; without them the towers share a space already."""
    if heads is None:
        return Space(unit(material.pictures), unit(material.captions))
    return Space(heads.image.project(material.pictures), heads.text.project(material.captions))


def reference_places(material: AtlasMaterial, per_label: int | None, seed: int = 0) -> Places:
    """The training pictures that become cases: all, or at most so many of a label, by `seed`."""
    train = material.places("train")
    if per_label is None:
        return train
    order = np.random.default_rng(seed).permutation(train)
    kept = [
        order[material.labels[order] == label][:per_label] for label in np.unique(material.labels)
    ]
    return np.sort(np.concatenate(kept))


def least_cosine(space: Space, material: AtlasMaterial, references: Places) -> float:
    """What all but FARTHEST_SHARE of the validation pictures have a case nearer than, among those
    of a domain that has cases."""
    queries = material.places("val")
    known = np.isin(material.domains[queries], np.unique(material.domains[references]))
    scores = space.pictures[queries[known]] @ space.cases[references].T
    return float(np.quantile(scores.max(1), FARTHEST_SHARE))


def measure(space: Space, material: AtlasMaterial, references: Places, pixels: Floats) -> Figures:
    """All figures; `pixels` are the down-scaled pictures, (rows, values)."""
    queries = material.places("test")
    known = np.isin(material.labels[queries], np.unique(material.labels[references]))
    queries = queries[known]
    labels = np.unique(material.labels[queries])
    tower = unit(material.pictures)
    centred = unit(pixels - pixels[references].mean(0))
    hits = {
        "pixels": _hits(centred[queries], centred[references], material, queries, references),
        "tower": _hits(tower[queries], tower[references], material, queries, references),
        "heads, cases by their pictures": _hits(
            space.pictures[queries], space.pictures[references], material, queries, references
        ),
        "heads": _hits(
            space.pictures[queries], space.cases[references], material, queries, references
        ),
        "heads, second search": _second(space, material, queries, references),
    }
    truth, groups = material.labels[queries], material.groups[queries]
    counts = np.bincount(material.labels[references], minlength=labels.max() + 1)
    chance = float(np.mean(counts[labels] / len(references)))
    against = hits["heads"] - hits["tower"]
    return {
        "queries": len(queries),
        "references": len(references),
        "labels": len(labels),
        "precision_at_5": {
            "chance": {"value": chance},
            **{name: balanced(each, truth, groups) for name, each in hits.items()},
        },
        "heads_above_tower": balanced(against, truth, groups),
        "precision_at_5_by_domain": {
            domain: {
                name: balanced(each[inside], truth[inside], groups[inside])
                for name, each in hits.items()
            }
            for domain in DOMAINS
            if (inside := material.domains[queries] == domain).any()
        },
        "pairs": pairs(space, material),
    }


def balanced(
    values: NDArray[np.float64], truth: NDArray[np.int64], groups: NDArray[np.str_]
) -> Figures:
    """Mean over labels of the mean over a label's queries, with its interval."""
    unit_of, times = drawn_again(truth, groups)
    means, drawn = [], []
    for label in np.unique(truth):
        inside = truth == label
        counts = times[:, unit_of[inside]]
        means.append(values[inside].mean())
        drawn.append(counts @ values[inside] / counts.sum(1))
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])
    return {"value": float(np.mean(means)), "interval": [float(low), float(high)]}


def drawn_again(
    labels: NDArray[np.int64], groups: NDArray[np.str_]
) -> tuple[Places, NDArray[np.int64]]:
    """The unit of each picture, a group's pictures of one label, (pictures,); and how often each
    unit comes when those of a label are drawn again from themselves, (RESAMPLES, units)."""
    rng = np.random.default_rng(0)
    units, unit_of = np.unique([labels.astype(str), groups], axis=1, return_inverse=True)
    times = np.empty((RESAMPLES, units.shape[1]), np.int64)
    for label in np.unique(units[0]):
        inside = np.flatnonzero(units[0] == label)
        shares = np.full(len(inside), 1 / len(inside))
        times[:, inside] = rng.multinomial(len(inside), shares, RESAMPLES)
    return unit_of, times


def pairs(space: Space, material: AtlasMaterial) -> Figures:
    """Similar and dissimilar pairs and telling them apart, as MIRAGE reports them
    (arXiv:2605.04772, section 3): a picture with its own caption against a caption of another
    label, and a caption with another picture's of its label against one of another label. The
    threshold is the validation pairs' best. Pictures are drawn as they occur, as there; with
    labels equally often; and so with the other label from the same domain, which is harder still.
    """
    found: Figures = {}
    for scope in SCOPES:
        told = {kind: _told_apart(space, material, kind, scope) for kind in KINDS}
        found[scope] = {kind: each for kind, each in told.items() if each}
    return found


def pixel_rows(material: AtlasMaterial, data: Path, run: Path) -> Floats:
    """(rows, PIXEL_SIDE x PIXEL_SIDE x 3), by means over squares of the kept pixels."""
    examples, _ = read_examples(data)
    place = {example: number for number, example in enumerate(examples)}
    pixels = load_pixels(data, examples, run)
    block = pixels.shape[1] // PIXEL_SIDE
    rows = np.empty((len(material.rows), PIXEL_SIDE * PIXEL_SIDE * 3), np.float32)
    for number, row in enumerate(material.rows):
        square = pixels[place[row.example]].astype(np.float32)
        small = square.reshape(PIXEL_SIDE, block, PIXEL_SIDE, block, 3).mean((1, 3))
        rows[number] = small.ravel() / 255
    return rows


def _hits(
    queries: Floats,
    cases: Floats,
    material: AtlasMaterial,
    query_places: Places,
    references: Places,
) -> NDArray[np.float64]:
    """Of each query, the share of its K nearest cases that have its label."""
    nearest = _nearest(queries, cases)
    same = material.labels[references][nearest] == material.labels[query_places][:, None]
    found: NDArray[np.float64] = same.mean(1)
    return found


def _nearest(queries: Floats, cases: Floats) -> Places:
    """(queries, K)"""
    found = []
    for start in range(0, len(queries), 512):
        scores = queries[start : start + 512] @ cases.T
        found.append(np.argpartition(-scores, K, axis=1)[:, :K])
    return np.concatenate(found)


def _second(
    space: Space, material: AtlasMaterial, queries: Places, references: Places
) -> NDArray[np.float64]:
    """The same after a search with picture and caption of the label that most of the first K have:
    the caption of the nearest case of that label stands for the description."""
    cases, seen = space.cases[references], space.pictures[queries]
    nearest = _nearest(seen, cases)
    moved = np.empty_like(seen)
    for row, places in enumerate(nearest):
        order = places[np.argsort(-(cases[places] @ seen[row]))]
        names = material.labels[references[order]]
        _, firsts, counts = np.unique(names, return_index=True, return_counts=True)
        chosen = order[firsts[np.lexsort((firsts, -counts))[0]]]
        moved[row] = seen[row] + space.captions[references[chosen]]
    return _hits(unit(moved), cases, material, queries, references)


def _told_apart(space: Space, material: AtlasMaterial, kind: str, scope: str) -> Figures | None:
    chosen_on = _drawn_pairs(material, "val", kind, scope)
    pairs = _drawn_pairs(material, "test", kind, scope)
    if not len(chosen_on.queries) or not len(pairs.queries):
        return None
    threshold = _threshold(*_cosines(space, chosen_on, kind))
    similar, dissimilar = _cosines(space, pairs, kind)
    right = [similar >= threshold, dissimilar < threshold]
    low, high = _pairs_interval(right, pairs, material)
    return {
        "pairs": 2 * len(pairs.queries),
        "similar": {"mean": float(similar.mean()), "deviation": float(similar.std())},
        "dissimilar": {"mean": float(dissimilar.mean()), "deviation": float(dissimilar.std())},
        "threshold": threshold,
        "accuracy": float(np.mean(right)),
        "interval": [low, high],
    }


def _cosines(space: Space, pairs: Pairs, kind: str) -> tuple[Floats, Floats]:
    """Of the similar and of the dissimilar pairs."""
    seen = (space.pictures if kind == "image-caption" else space.captions)[pairs.queries]
    similar, dissimilar = (
        (seen * space.captions[side]).sum(1) for side in (pairs.similar, pairs.dissimilar)
    )
    return similar, dissimilar


def _pairs_interval(
    right: Sequence[NDArray[np.bool_]], pairs: Pairs, material: AtlasMaterial
) -> tuple[float, float]:
    """Of the accuracy, `right` saying which similar and which dissimilar pairs were told. Pairs
    share pictures: each comes as often as its two pictures do, multiplied (Owen 2007,
    doi:10.1214/07-AOAS122)."""
    test = material.places("test")
    unit_of = np.full(len(material.rows), -1)
    unit_of[test], times = drawn_again(material.labels[test], material.groups[test])
    first = unit_of[pairs.queries]
    drawn = np.zeros(RESAMPLES)
    for told, places in zip(right, (pairs.similar, pairs.dissimilar), strict=True):
        second = unit_of[places]
        counts = times[:, first] * np.where(first == second, 1, times[:, second])
        drawn += counts @ told / np.maximum(counts.sum(1), 1) / 2
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _drawn_pairs(material: AtlasMaterial, split: str, kind: str, scope: str) -> Pairs:
    """PAIRS similar and as many dissimilar ones; none where no two labels are in scope."""
    rng = np.random.default_rng(0)
    inside, labels = material.places(split), material.labels
    by_label = {label: inside[labels[inside] == label] for label in np.unique(labels[inside])}
    domain_of = {label: material.domains[places[0]] for label, places in by_label.items()}
    others = {
        label: [
            other
            for other in by_label
            if other != label and (scope != SCOPES[2] or domain_of[other] == domain_of[label])
        ]
        for label in by_label
    }
    counts = {label: len(places) for label, places in by_label.items()}
    least = 1 if kind == "image-caption" else 2
    asked = [label for label in by_label if others[label] and counts[label] >= least]
    drawn: list[tuple[int, int, int]] = []
    while asked and len(drawn) < PAIRS:
        label = _drawn(rng, asked, counts, scope)
        own = rng.choice(by_label[label])
        other = rng.choice(by_label[_drawn(rng, others[label], counts, scope)])
        alike = by_label[label]
        same = own if kind == "image-caption" else rng.choice(alike[alike != own])
        drawn.append((own, same, other))
    return Pairs(*np.array(drawn, np.int64).reshape(-1, 3).T)


def _drawn(rng: np.random.Generator, labels: list[int], counts: dict[int, int], scope: str) -> int:
    """One of `labels`, as often as it occurs or each equally often."""
    shares = np.array([counts[label] if scope == SCOPES[0] else 1 for label in labels], float)
    return labels[rng.choice(len(labels), p=shares / shares.sum())]


def _threshold(similar: Floats, dissimilar: Floats) -> float:
    """The cosine that tells most of these pairs apart."""
    candidates = np.unique(np.concatenate([similar, dissimilar]))
    kept = np.searchsorted(np.sort(similar), candidates)
    below = np.searchsorted(np.sort(dissimilar), candidates)
    return float(candidates[np.argmax(len(similar) - kept + below)])


def table(figures: Figures) -> list[str]:
    """The figures as lines for a person."""
    lines = [f"{figures['queries']} test pictures, {figures['references']} cases"]
    for name, found in figures["precision_at_5"].items():
        lines.append(f"precision at 5, {name}: {_shown(found)}")
    lines.append(f"heads above tower: {_shown(figures['heads_above_tower'])}")
    for scope, kinds in figures["pairs"].items():
        for kind, found in kinds.items():
            lines.append(
                f"{kind} pairs ({scope}): {found['similar']['mean']:.2f} and "
                f"{found['dissimilar']['mean']:.2f}, told apart {found['accuracy']:.3f} "
                f"({found['interval'][0]:.3f}-{found['interval'][1]:.3f})"
            )
    return lines


def _shown(found: Figures) -> str:
    interval = found.get("interval")
    return f"{found['value']:.3f}" + (f" ({interval[0]:.3f}-{interval[1]:.3f})" if interval else "")
