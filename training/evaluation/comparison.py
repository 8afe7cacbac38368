"""Two models over the same images: the paper's table, before and after, and whether the difference
could be chance."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.core.labels import DOMAINS
from training.evaluation.answered import AnsweredImage, Evaluation, EvaluationError
from training.evaluation.figures import evaluate, groups_of, positions
from training.metrics import mcnemar, merge_retinopathy

COMPARISON = "comparison.json"
MEASURES: dict[str, str] = {
    "accuracy": "accuracy_interval",
    "balanced_accuracy": "balanced_accuracy_interval",
    "precision": "precision_interval",
    "recall": "balanced_accuracy_interval",  # the macro recall is the balanced accuracy
    "f1": "f1_interval",
}
"""A measure of metrics.Scores, and the field with its interval."""
SHARES = ("json_valid", "label_in_list", "domain_right")


def compare(before: Evaluation, after: Evaluation) -> dict[str, Any]:
    """By domain: each measure before and after with its interval, the chance level, McNemar.

    Raises: EvaluationError unless both are of the same images and labels.
    """
    images = _same_images(before, after)
    labels = before.header.label_set
    figures = {
        "before": evaluate(labels, images["before"]),
        "after": evaluate(labels, images["after"]),
    }
    right = {side: np.array([i.is_right for i in images[side]]) for side in images}
    domain_of = np.array([image.domain for image in images["before"]])
    groups = groups_of(images["before"])

    domains = {}
    for domain in DOMAINS:
        inside = domain_of == domain
        if inside.any():
            scores = {side: figures[side]["domains"][domain] for side in figures}
            domains[domain] = _change(
                scores, {side: right[side][inside] for side in right}, groups[inside]
            )
    merged = None
    if figures["before"]["fundus_grades_merged"]:
        scores = {side: figures[side]["fundus_grades_merged"] for side in figures}
        places = {side: positions(labels, images[side]) for side in images}
        same = {
            side: np.equal(*(merge_retinopathy(labels, place) for place in places[side]))
            for side in places
        }
        inside = domain_of == "fundus"
        merged = _change(scores, {side: same[side][inside] for side in same}, groups[inside])
    return {
        "before": {"model": before.header.model, "model_sha256": before.header.model_sha256},
        "after": {"model": after.header.model, "model_sha256": after.header.model_sha256},
        "split": after.header.split,
        "images": len(images["after"]),
        **{name: {side: figures[side][name] for side in figures} for name in SHARES},
        "domains": domains,
        "fundus_grades_merged": merged,
        "findings": {
            domain: {side: figures[side]["findings"][domain] for side in figures}
            for domain in domains
        },
    }


def _change(
    scores: Mapping[str, Any], right: Mapping[str, Any], groups: NDArray[np.str_]
) -> dict[str, Any]:
    """`scores` and `right` by side; `right` is whether each image's label was found."""
    return {
        "images": scores["after"]["images"],
        "chance_balanced_accuracy": 1 / len(scores["after"]["recall_by_label"]),
        "measures": {
            measure: {
                side: {"value": scores[side][measure], "interval": scores[side][interval]}
                for side in scores
            }
            for measure, interval in MEASURES.items()
        },
        "mcnemar": {
            "p": mcnemar(right["before"], right["after"], groups),
            "gained": int((~right["before"] & right["after"]).sum()),
            "lost": int((right["before"] & ~right["after"]).sum()),
        },
    }


def _same_images(before: Evaluation, after: Evaluation) -> dict[str, list[AnsweredImage]]:
    """Both sides in one order."""
    if set(zip(before.header.labels, before.header.domains, strict=True)) != set(
        zip(after.header.labels, after.header.domains, strict=True)
    ):
        raise EvaluationError(
            f"{before.header.model} and {after.header.model} answer from different label lists; "
            "compare models of one list"
        )
    first = {image.key: image for image in before.images}
    second = {image.key: image for image in after.images}
    if differing := {
        key
        for key in first.keys() | second.keys()
        if key not in first or key not in second or first[key].label != second[key].label
    }:
        dataset, row = min(differing)
        raise EvaluationError(
            f"not the same images: {len(first)} before, {len(second)} after, "
            f"{len(differing)} of them in one only or labelled otherwise ({dataset}, row {row} is "
            "the first); evaluate both with the same --data, --split and --per-domain"
        )
    return {"before": list(first.values()), "after": [second[key] for key in first]}
