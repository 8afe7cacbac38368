"""Measuring a release on a site's own labelled pictures: half of them calibrate, half measure.

What is learnt goes into release.json, written aside and renamed. The pictures stay where they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from appliance.core.calibration import (
    LEAST_CALIBRATION,
    calibrate,
    decision_figures,
    share_interval,
)
from appliance.core.caption import is_caption
from appliance.core.decision import Calibration
from appliance.core.labels import DOMAINS, Domain, LabelSet
from appliance.core.ports import Captioner, Images
from appliance.errors import ConfigError, ImageError, ModelError
from appliance.release.kept_answers import KeptAnswer, KeptAnswers
from appliance.release.labelled_images import LabelledImage, LeftOut, split_in_half
from appliance.release.manifest import Release, read_release, write_manifest
from appliance.release.shelf import BUILT_IN

Say = Callable[[str], None]


@dataclass(frozen=True)
class Answered:
    """A labelled picture and what the release said of it."""

    image: LabelledImage
    answer: KeptAnswer

    @property
    def label_scores(self) -> tuple[float, ...]:
        return self.answer.label_scores


@dataclass(frozen=True)
class Measurement:
    calibration: Calibration
    evaluation: dict[str, Any]
    """Figures on the half that was not calibrated on, in the form of the manifest."""
    measured: dict[str, Any]
    """What was measured, when and on how many, in the form of the manifest."""


def answer_all(
    images: Sequence[LabelledImage],
    captioner: Captioner,
    opener: Images,
    kept: KeptAnswers,
    clock_s: Callable[[], float],
    say: Say,
) -> tuple[list[Answered], list[LeftOut]]:
    """Each picture's answer, kept or asked for, or why there is none.

    Raises: ReleaseError when the release cannot be used.
    """
    answered, left_out = [], []
    to_ask = sum(kept.get(image.sha256) is None for image in images)
    started_s, asked = clock_s(), 0
    for image in images:
        answer = kept.get(image.sha256)
        if answer is None:
            say(_progress(asked, to_ask, clock_s() - started_s))
            asked += 1
            try:
                picture = opener.open(str(image.path), captioner.release.image_size)
                answer = kept.add(image.sha256, captioner.read(picture))
            except (ImageError, ModelError) as exc:
                left_out.append(LeftOut(str(image.path), exc.message))
                continue
        answered.append(Answered(image, answer))
    return answered, left_out


def measure(
    labels: LabelSet, answered: Sequence[Answered], left_out: int, today: str
) -> Measurement:
    """Calibration from one half of the pictures, figures from the other.

    Raises: ConfigError when there are too few pictures of every domain.
    """
    by_hash = {one.image.sha256: one for one in answered}
    halves = split_in_half([one.image for one in answered], labels)
    to_calibrate, to_measure = ([by_hash[image.sha256] for image in half] for half in halves)
    counts = {domain: _in_domain(to_calibrate, labels, domain) for domain in DOMAINS}
    too_few = {d: len(inside) for d, inside in counts.items() if len(inside) < LEAST_CALIBRATION}
    if len(too_few) == len(DOMAINS):
        raise ConfigError(
            "too few pictures to measure anything: half of them calibrate, and a kind of picture "
            f"needs {LEAST_CALIBRATION} of those; there are "
            + ", ".join(f"{count} of {domain}" for domain, count in too_few.items()),
            f"label at least {2 * LEAST_CALIBRATION} pictures of a kind",
        )
    enough = [one for d, inside in counts.items() if d not in too_few for one in inside]
    calibration = calibrate(labels, [one.image.label for one in enough], enough)
    return Measurement(
        calibration,
        _evaluation(labels, to_measure, calibration),
        {
            "where": "site",
            "date": today,
            "images": len(answered),
            "calibrated_on": len(enough),
            "measured_on": len(to_measure),
            "left_out": left_out,
            "unmeasured": {
                domain: f"{count} pictures to calibrate on, {LEAST_CALIBRATION} are needed"
                for domain, count in too_few.items()
            },
        },
    )


def write_measurement(release: Release, measurement: Measurement, encoder: str) -> Release:
    """The release with its new calibration and figures, which are those of the vision `encoder`;
    the maker's own are kept beside them.

    Raises: ConfigError for the release that ships with the package, ReleaseError.
    """
    refuse_built_in(release)
    manifest = dict(release.manifest)
    if manifest.get("measured") is None and manifest["evaluation"] is not None:
        manifest["maker"] = {
            "calibration": manifest["calibration"],
            "evaluation": manifest["evaluation"],
            "vision_encoder": release.encoder,
        }
    manifest["calibration"] = asdict(measurement.calibration)
    manifest["evaluation"] = measurement.evaluation
    manifest["measured"] = measurement.measured
    manifest["vision_encoder"] = encoder
    write_manifest(release.directory, manifest)
    return read_release(release.directory)


def refuse_built_in(release: Release) -> None:
    """Raises: ConfigError."""
    if release.directory == BUILT_IN:
        raise ConfigError(
            "the demonstration release is part of the program and keeps its maker's figures",
            "import its two files under another name to measure them here",
        )


def _evaluation(
    labels: LabelSet, answered: Sequence[Answered], calibration: Calibration
) -> dict[str, Any]:
    domains = {d: _in_domain(answered, labels, d) for d in DOMAINS}
    truth = [one.image.label for one in answered]
    groups = [one.image.group for one in answered]
    return {
        "split": "the site's pictures that were not calibrated on",
        "images": len(answered),
        "json_valid": _share([is_caption(one.answer.text, labels) for one in answered]),
        "domain_right": _share(
            [labels.domain_of(_found(one, labels)) == _domain(one, labels) for one in answered]
        ),
        "domains": {
            domain: _figures(labels, inside) for domain, inside in domains.items() if inside
        },
        "decisions": decision_figures(labels, truth, groups, answered, calibration),
    }


def _figures(labels: LabelSet, answered: Sequence[Answered]) -> dict[str, Any]:
    by_label: dict[str, list[Answered]] = {}
    for one in answered:
        by_label.setdefault(one.image.label, []).append(one)
    accuracy, interval = _right(labels, answered)
    recall = {name: _right(labels, inside) for name, inside in by_label.items()}
    return {
        "images": len(answered),
        "accuracy": accuracy,
        "accuracy_interval": interval,
        "balanced_accuracy": sum(share for share, _ in recall.values()) / len(recall),
        "images_by_label": {name: len(inside) for name, inside in by_label.items()},
        "recall_by_label": {name: share for name, (share, _) in recall.items()},
        "recall_interval_by_label": {name: limits for name, (_, limits) in recall.items()},
    }


def _right(labels: LabelSet, answered: Sequence[Answered]) -> tuple[float, tuple[float, float]]:
    """The share whose label was found, and its interval."""
    right = [_found(one, labels) == one.image.label for one in answered]
    return _share(right), share_interval(right, [one.image.group for one in answered])


def _in_domain(answered: Sequence[Answered], labels: LabelSet, domain: Domain) -> list[Answered]:
    return [one for one in answered if _domain(one, labels) == domain]


def _domain(one: Answered, labels: LabelSet) -> Domain:
    return labels.domain_of(one.image.label)


def _found(one: Answered, labels: LabelSet) -> str:
    """The likeliest label."""
    scores = one.label_scores
    return labels.names[scores.index(max(scores))]


def _share(claims: Sequence[bool]) -> float:
    return sum(claims) / len(claims) if claims else 0.0


def _progress(asked: int, to_ask: int, spent_s: float) -> str:
    line = f"reading picture {asked + 1} of {to_ask}"
    if asked < 3:
        return line
    left_s = spent_s / asked * (to_ask - asked)
    return f"{line}, about {left_s / 60:.0f} min left" if left_s > 90 else line
