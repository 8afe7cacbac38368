"""What the validation split teaches a release: its temperature and its abstention thresholds."""

from collections.abc import Sequence

import numpy as np

from appliance.core.decision import Calibration, conformal_threshold, decide, probabilities
from appliance.core.labels import DOMAINS, LabelSet
from training.evaluation.asking import Answer

RISK = 0.1
TEMPERATURES = (0.2, 10.0)


def calibrate(labels: LabelSet, truth: Sequence[str], answers: Sequence[Answer]) -> Calibration:
    """Temperature by least log-loss (Guo et al. 2017, arXiv:1706.04599); a threshold a domain by
    split conformal prediction. `truth` is the true label of each answer's image."""
    from scipy.optimize import minimize_scalar

    scores = np.array([answer.label_scores for answer in answers])
    places = np.array([labels.names.index(name) for name in truth])

    def log_loss(temperature: float) -> float:
        scaled = scores / temperature
        scaled -= scaled.max(1, keepdims=True)
        logs = scaled - np.log(np.exp(scaled).sum(1, keepdims=True))
        return -float(logs[np.arange(len(places)), places].mean())

    temperature = float(minimize_scalar(log_loss, bounds=TEMPERATURES, method="bounded").x)
    thresholds = {}
    for domain in DOMAINS:
        true_probability = [
            probabilities(answer.label_scores, temperature)[labels.names.index(name)]
            for name, answer in zip(truth, answers, strict=True)
            if labels.domain_of(name) == domain
        ]
        thresholds[domain] = conformal_threshold(true_probability, RISK)
    return Calibration(temperature, RISK, thresholds)


def decision_figures(
    labels: LabelSet,
    truth: Sequence[str],
    answers: Sequence[Answer],
    calibration: Calibration,
) -> dict[str, dict[str, float]]:
    """By domain: how often each kind of decision is made, and how often an answer holds the
    true label (counting only pictures that were answered)."""
    figures: dict[str, dict[str, float]] = {}
    for domain in DOMAINS:
        kinds, held = [], []
        for name, answer in zip(truth, answers, strict=True):
            if labels.domain_of(name) != domain:
                continue
            values = probabilities(answer.label_scores, calibration.temperature)
            decision = decide(labels, dict(zip(labels.names, values, strict=True)), calibration)
            kinds.append(decision.kind)
            if decision.kind != "abstain":
                held.append(name in decision.labels)
        if kinds:
            figures[domain] = {
                **{kind: kinds.count(kind) / len(kinds) for kind in ("label", "set", "abstain")},
                **({"true_label_held": float(np.mean(held))} if held else {}),
            }
    return figures
