"""Claims about calibration, on scores whose true distribution is known, and of the release that
ships."""

import math
from collections.abc import Mapping

import numpy as np
import pytest

from appliance.core.calibration import (
    LEAST_CALIBRATION,
    Bin,
    calibrate,
    calibration_error,
    confident_temperature,
    decision_figures,
    reliability_bins,
    share_interval,
    wilson,
)
from appliance.core.decision import (
    RISK,
    RISKS,
    Calibration,
    believe,
    conformal_threshold,
    probabilities,
)
from appliance.core.labels import DOMAINS
from appliance.core.ports import Reading
from appliance.release.label_list import default_labels
from appliance.release.manifest import read_release
from appliance.release.shelf import BUILT_IN

LABELS = default_labels()
COVERAGE_RISKS = (0.05, 0.1, 0.25)


def asked(
    count: int, seed: int, sharpness: Mapping[str, float] | None = None
) -> tuple[list[str], list[Reading]]:
    """Truths drawn from the very probabilities the scores state, which are then sharpened, each
    domain's as much as is said."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (count, len(LABELS)))
    domains = rng.choice(DOMAINS, count)
    for row, domain in enumerate(domains):
        inside = [LABELS.names.index(name) for name in LABELS.in_domain(domain)]
        logits[row, inside] += 12
    logits -= np.log(np.exp(logits).sum(1, keepdims=True))
    truth = [rng.choice(len(LABELS), p=np.exp(row)) for row in logits]
    if sharpness is not None:
        logits *= np.array([sharpness[domain] for domain in domains])[:, None]
    names = [LABELS.names[position] for position in truth]
    return names, [Reading("", tuple(row.tolist())) for row in logits]


def alone(truth: list[str]) -> list[str]:
    """Each picture is of a patient of its own."""
    return [str(number) for number in range(len(truth))]


def coverage(calibration: Calibration, risk: float, truth: list[str], said: list[Reading]) -> float:
    """Share of true labels that reach the threshold, over all domains."""
    kept = []
    for name, reading in zip(truth, said, strict=True):
        belief = believe(LABELS, reading.label_scores, calibration)
        kept.append(belief.probability[name] >= calibration.thresholds[belief.domain][risk])
    return sum(kept) / len(kept)


def test_each_domain_gets_the_temperature_that_undoes_its_false_confidence() -> None:
    sharpness = {"skin": 0.6, "fundus": 2.0, "chest": 1.0}
    truth, said = asked(3000, 0, sharpness)
    found = calibrate(LABELS, truth, said)
    assert found.temperatures == pytest.approx(sharpness, rel=0.15)
    for domain, figures in decision_figures(LABELS, truth, alone(truth), said, found).items():
        assert figures["calibration_error"] < 0.05, domain
    cold = Calibration(dict.fromkeys(DOMAINS, 1.0), found.thresholds)
    cool = decision_figures(LABELS, truth, alone(truth), said, cold)
    assert cool["fundus"]["calibration_error"] > 0.05


def test_at_the_temperature_found_confidence_is_accuracy() -> None:
    rows = [(0.0, -2.0, -3.0)] * 98
    temperature = confident_temperature(rows, right=59)
    assert max(probabilities(rows[0], temperature)) == pytest.approx(60 / 100, abs=1e-5)


def test_a_few_pictures_that_are_all_right_do_not_end_in_certainty() -> None:
    rows = [(0.0, -2.0, -3.0)] * LEAST_CALIBRATION
    temperature = confident_temperature(rows, right=LEAST_CALIBRATION)
    assert max(probabilities(rows[0], temperature)) == pytest.approx(10 / 11, abs=1e-5)


def mean_coverage_is_within(sloppiness: float) -> dict[float, bool]:
    """Over 60 draws of 200 pictures to calibrate on and 200 new ones: is the mean coverage at most
    four standard errors from what split conformal prediction promises, 1 - risk to 1 - risk +
    1/(n + 1) (Vovk, Gammerman and Shafer 2005)? Thresholds are those of another risk, by
    `sloppiness`."""
    draws, size = 60, 200
    rng = np.random.default_rng(5)
    within = {}
    for risk in COVERAGE_RISKS:
        means = []
        for _ in range(draws):
            chances = rng.beta(2, 1, 2 * size)
            threshold = conformal_threshold(chances[:size].tolist(), risk + sloppiness)
            assert threshold is not None
            means.append(float((chances[size:] >= threshold).mean()))
        error = 4 * math.sqrt(2 * risk * (1 - risk) / size / draws)
        mean = math.fsum(means) / draws
        within[risk] = 1 - risk - error <= mean <= 1 - risk + 1 / (size + 1) + error
    return within


def test_new_pictures_keep_their_true_label_as_often_as_promised() -> None:
    assert all(mean_coverage_is_within(0.0).values())


def test_a_wrong_threshold_is_noticed() -> None:
    assert not any(mean_coverage_is_within(0.04).values())


def test_the_whole_way_from_scores_keeps_the_promise() -> None:
    sharpness = {"skin": 1.5, "fundus": 2.0, "chest": 0.7}
    means: dict[float, list[float]] = {risk: [] for risk in COVERAGE_RISKS}
    for seed in range(6):
        calibration = calibrate(LABELS, *asked(600, seed, sharpness))
        new = asked(600, 100 + seed, sharpness)
        for risk in COVERAGE_RISKS:
            means[risk].append(coverage(calibration, risk, *new))
    for risk in COVERAGE_RISKS:
        assert np.mean(means[risk]) == pytest.approx(1 - risk, abs=0.03)


def test_a_risk_that_too_few_pictures_were_measured_for_has_no_threshold() -> None:
    truth, said = asked(3 * 30, seed=3)
    calibration = calibrate(LABELS, truth, said)
    assert calibration.is_measured
    for domain in DOMAINS:
        count = sum(LABELS.domain_of(name) == domain for name in truth)
        least = min(calibration.thresholds[domain])
        assert least == next(risk for risk in RISKS if risk * (count + 1) >= 1)


def test_a_domain_without_pictures_stays_unmeasured() -> None:
    truth, said = asked(300, seed=3)
    chest = [n for n, name in enumerate(truth) if LABELS.domain_of(name) == "chest"]
    found = calibrate(LABELS, [truth[n] for n in chest], [said[n] for n in chest])
    assert not found.thresholds["skin"] and len(found.thresholds["chest"]) > 20
    assert found.temperatures["skin"] == 1


def test_pictures_taken_for_another_domain_count_as_missed() -> None:
    """Three in ten fundus pictures look like skin: no threshold keeps a smaller risk."""
    truth = ["cataract"] * 99
    near = {True: "melanoma", False: "cataract"}
    said = [
        Reading("", tuple(0.0 if name == near[n % 10 < 3] else -9.0 for name in LABELS.names))
        for n in range(99)
    ]
    found = calibrate(LABELS, truth, said)
    assert not found.thresholds["fundus"]
    figures = decision_figures(LABELS, truth, alone(truth), said, found)["fundus"]
    assert figures["at_risk"] == {}


def test_the_shares_of_decisions_sum_to_one_and_coverage_is_of_all_pictures() -> None:
    truth, said = asked(300, seed=4)
    calibration = calibrate(LABELS, truth, said)
    figures = decision_figures(LABELS, truth, alone(truth), said, calibration)
    assert set(figures) == set(DOMAINS)
    for row in figures.values():
        found = row["at_risk"][str(RISK)]
        assert found["label"] + found["set"] + found["abstain"] == pytest.approx(1)
        assert found["coverage_interval"] == pytest.approx(
            wilson(round(found["coverage"] * row["images"]), row["images"])
        )
        assert sum(each["images"] for each in row["reliability"]) == row["images"]


def test_pictures_taken_again_of_the_same_patients_make_no_interval_narrower() -> None:
    truth, said = asked(300, seed=4)
    calibration = calibrate(LABELS, truth, said)
    once = decision_figures(LABELS, truth, alone(truth), said, calibration)
    again = decision_figures(LABELS, truth * 4, alone(truth) * 4, said * 4, calibration)
    for domain in DOMAINS:
        limits, repeated = (
            [
                each[key]
                for each in (figures[domain]["at_risk"][str(RISK)], *figures[domain]["reliability"])
                for key in ("coverage_interval", "answers_right_interval", "accuracy_interval")
                if key in each
            ]
            for figures in (once, again)
        )
        assert repeated == [pytest.approx(each) for each in limits]


def test_the_interval_of_a_share_is_wilsons_where_every_group_is_one_picture() -> None:
    right, groups = [True] * 29 + [False] * 39, [str(n) for n in range(68)]
    assert share_interval(right, groups) == pytest.approx(wilson(29, 68))
    assert share_interval([3, 0], ["a", "b"], [4, 0]) == share_interval([3], ["a"], [4])


def test_the_design_effect_is_the_one_worked_out_by_hand() -> None:
    """Four of six are right. Each patient's hits less 4/6 of its pictures, squared, sum to 22/9
    where both patients with two pictures are alike, to 10/9 where one is not; independent
    pictures' variance is 6 x 4/6 x 2/6 = 12/9."""
    groups = ["a", "a", "b", "b", "c", "d"]
    alike, mixed = [1, 1, 0, 0, 1, 1], [1, 1, 1, 0, 0, 1]
    assert share_interval(alike, groups) == pytest.approx(wilson(4 * 12 / 22, 6 * 12 / 22))
    assert share_interval(mixed, groups) == pytest.approx(wilson(4, 6))


def test_where_all_are_right_a_group_counts_as_one_picture_only() -> None:
    assert share_interval([1] * 20, ["a", "b"] * 10) == pytest.approx(wilson(2, 2))


def test_a_domain_that_was_never_answered_has_no_share_of_right_answers() -> None:
    flat = Reading("", tuple(0.0 if LABELS.domain_of(n) == "fundus" else -9 for n in LABELS.names))
    truth = ["cataract"] * 30
    calibration = calibrate(LABELS, truth, [flat] * 30)
    (row,) = decision_figures(LABELS, truth, alone(truth), [flat] * 30, calibration).values()
    found = row["at_risk"][str(RISK)]
    assert (found["abstain"], found["coverage"], found["answers_right"]) == (1, 1, None)


def test_the_calibration_error_is_the_mean_distance_weighted_by_pictures() -> None:
    bins = [
        Bin(0.5, 0.6, 30, 0.55, 0.45, (0.0, 1.0)),
        Bin(0.9, 1.0, 10, 0.95, 0.75, (0.0, 1.0)),
    ]
    assert calibration_error(bins) == pytest.approx((30 * 0.1 + 10 * 0.2) / 40)
    found = reliability_bins([0.55, 0.55, 1.0], [True, False, True], ["a", "b", "c"])
    assert [(each.low, each.images, each.accuracy) for each in found] == [
        (0.5, 2, 0.5),
        (0.9, 1, 1.0),
    ]


def test_the_release_that_ships_is_as_sure_as_it_is_right_and_keeps_the_usual_risk() -> None:
    """Issue 5: expected calibration error at most 0.05, and the wanted coverage lies in the 95 %
    interval of the measured one, by domain."""
    release = read_release(BUILT_IN)
    decisions = release.manifest["evaluation"]["decisions"]
    assert set(decisions) == set(DOMAINS)
    for domain in DOMAINS:
        assert decisions[domain]["calibration_error"] <= 0.05
        low, high = decisions[domain]["at_risk"][str(RISK)]["coverage_interval"]
        assert low <= 1 - RISK <= high
        assert tuple(release.card.calibration.thresholds[domain]) == RISKS
