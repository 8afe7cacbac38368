"""All figures of one evaluation, as one plain dictionary: what a release card and figures.json
hold. Computed from the answers alone."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.core.calibration import share_interval
from appliance.core.caption import is_caption
from appliance.core.labels import DOMAINS, LabelSet
from training.evaluation.answered import AnsweredImage
from training.metrics import RETINOPATHY_OR_WORSE, domain_scores, merge_retinopathy

FIGURES = "figures.json"
LEAST_IN_STRATUM = 20
"""A stratum of fewer images is named and not measured: its interval spans half the scale."""


def evaluate(labels: LabelSet, images: Sequence[AnsweredImage]) -> dict[str, Any]:
    """Figures by domain, findings, strata, and the shares of valid captions and right domains."""
    truth, found = positions(labels, images)
    groups = groups_of(images)
    strata, left_out = _strata(images)
    return {
        "images": len(images),
        "json_valid": float(np.mean([is_caption(image.text, labels) for image in images])),
        "label_in_list": float(np.mean([_names_label(image.text, labels) for image in images])),
        "domain_right": float(
            np.mean([labels.domain_of(image.found) == image.domain for image in images])
        ),
        "domains": {d: asdict(s) for d, s in domain_scores(labels, truth, found, groups).items()},
        "fundus_grades_merged": merged_fundus(labels, truth, found, groups),
        "findings": _findings(images),
        "strata": strata,
        "strata_left_out": left_out,
    }


def positions(
    labels: LabelSet, images: Sequence[AnsweredImage]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each image's true and found label in the label set."""
    place = {name: position for position, name in enumerate(labels.names)}
    return (
        np.array([place[image.label] for image in images]),
        np.array([place[image.found] for image in images]),
    )


def groups_of(images: Sequence[AnsweredImage]) -> NDArray[np.str_]:
    return np.array([image.group for image in images])


def merged_fundus(
    labels: LabelSet,
    truth: NDArray[np.int64],
    found: NDArray[np.int64],
    groups: NDArray[np.str_],
) -> dict[str, Any] | None:
    """Fundus with retinopathy from moderate on as one label; None without fundus images or
    without those grades in the list."""
    if not set(RETINOPATHY_OR_WORSE) <= set(labels.names):
        return None
    truth, found = (merge_retinopathy(labels, positions) for positions in (truth, found))
    scores = domain_scores(labels, truth, found, groups)
    return asdict(scores["fundus"]) if "fundus" in scores else None


def _findings(images: Sequence[AnsweredImage]) -> dict[str, dict[str, Any]]:
    """By domain: how many stated findings the images bear out; the share is None where no caption
    states any in words that can be checked."""
    figures: dict[str, dict[str, Any]] = {}
    for domain in DOMAINS:
        inside = [image for image in images if image.domain == domain]
        if not inside:
            continue
        stated = [image.findings.stated for image in inside]
        confirmed = [image.findings.confirmed for image in inside]
        groups = [image.group for image in inside]
        figures[domain] = {
            "stated": sum(stated),
            "confirmed": sum(confirmed),
            "unknown": sum(image.findings.unknown for image in inside),
            "share": sum(confirmed) / sum(stated) if any(stated) else None,
            "share_interval": share_interval(confirmed, groups, stated) if any(stated) else None,
        }
    return figures


def _strata(
    images: Sequence[AnsweredImage],
) -> tuple[dict[str, dict[str, dict[str, Any]]], list[dict[str, Any]]]:
    """Figures by domain, stratum and value; and the values with too few images for any."""
    groups: dict[tuple[str, str, str], list[AnsweredImage]] = defaultdict(list)
    for image in images:
        for stratum, value in image.strata.items():
            groups[image.domain, stratum, value].append(image)
    figures: dict[str, dict[str, dict[str, Any]]] = {}
    left_out = []
    for (domain, stratum, value), group in sorted(groups.items()):
        if len(group) < LEAST_IN_STRATUM:
            left_out.append(
                {"domain": domain, "stratum": stratum, "value": value, "images": len(group)}
            )
            continue
        right = [image.is_right for image in group]
        figures.setdefault(domain, {}).setdefault(stratum, {})[value] = {
            "images": len(group),
            "accuracy": sum(right) / len(group),
            "accuracy_interval": share_interval(right, [image.group for image in group]),
            "balanced_accuracy": _balanced_accuracy(group),
        }
    return figures, left_out


def _balanced_accuracy(images: Sequence[AnsweredImage]) -> float:
    """Mean recall over the labels that occur."""
    by_label: dict[str, list[bool]] = defaultdict(list)
    for image in images:
        by_label[image.label].append(image.is_right)
    return float(np.mean([np.mean(right) for right in by_label.values()]))


def _names_label(text: str, labels: LabelSet) -> bool:
    """Whatever else is amiss, the text is a JSON object with a label of the list."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return False
    return isinstance(value, dict) and value.get("label") in labels.names
