"""Whether a treatment fits a finding: transparent rules over what the picture is believed to show.

Owns the rules' form, how a treatment is recognised in a person's words, and how stances and
probabilities become a verdict. Every rule stands on a sentence of a guideline; where that sentence
is kept, and whether it is at hand, is the caller's business.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

Stance = Literal["for", "against"]
Severity = Literal["moderate", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""Of the harm when the treatment is wrong, the least first."""
Verdict = Literal["ERROR", "CORRECT", "UNSURE"]

NEGATION = (
    r"(?:no|not|without|withhold|withheld|stop|omit|avoid|tiada|tanpa)"
    r"(?:\s+(?:give|giving|use|using|start|starting|prescribe|offer|do|send))?"
    r"(?:\s+(?:a|an|any|the|all|further|more|oral|to))?"
)
"""English and Malay words that turn a treatment into leaving it out."""
WITHHELD = "no "
"""Begins the name of a treatment that is to be left out, in rules and in what a text names."""


@dataclass(frozen=True)
class Rule:
    """What a guideline says of some treatments of some findings."""

    labels: tuple[str, ...]
    """As a release names them."""
    treatments: tuple[str, ...]
    """Names of the vocabulary; `no X` is leaving X out."""
    stance: Stance
    severity: Severity
    """Of the harm when this rule is not kept."""
    quote: str
    """The guideline's own words; without a passage that holds them the rule does not count."""
    source: str
    """Document and place, for a person to look up."""
    when: tuple[str, ...] = ()
    """Signs, of which the stated finding must name one; empty: always."""
    unless: tuple[str, ...] = ()
    """Signs, of which the stated finding must name none."""

    def applies(self, signs: Iterable[str]) -> bool:
        named = set(signs)
        return not named & {*self.unless} and (not self.when or bool(named & {*self.when}))


@dataclass(frozen=True)
class RuleBook:
    """The vocabulary and the rules."""

    treatments: Mapping[str, tuple[str, ...]]
    """Name of each treatment and the words for it, lower case."""
    signs: Mapping[str, tuple[str, ...]]
    """Name of each bedside sign and the words for it, lower case."""
    rules: tuple[Rule, ...]

    def treatments_in(self, text: str) -> tuple[str, ...]:
        """What a person's words name, in order, each once; `no X` where X is left out."""
        return _named(text, self._treatment_words)

    def signs_in(self, text: str) -> tuple[str, ...]:
        """The signs that a finding names as present."""
        found = _named(text, self._sign_words)
        return tuple(name for name in found if not name.startswith(WITHHELD))

    @cached_property
    def _treatment_words(self) -> "_Words":
        return _Words(self.treatments)

    @cached_property
    def _sign_words(self) -> "_Words":
        return _Words(self.signs)

    def about(self, treatments: Sequence[str], signs: Sequence[str]) -> tuple[Rule, ...]:
        """The rules that speak of any of these treatments, given these signs."""
        return tuple(
            rule
            for rule in self.rules
            if {*treatments} & {*rule.treatments} and rule.applies(signs)
        )


class _Words:
    def __init__(self, vocabulary: Mapping[str, tuple[str, ...]]) -> None:
        self.name_of = {word: name for name, words in vocabulary.items() for word in words}
        longest_first = sorted(self.name_of, key=len, reverse=True)
        self.pattern = re.compile(
            rf"(?<!\w)(?P<left_out>{NEGATION}\s+)?"
            rf"(?P<word>{'|'.join(map(re.escape, longest_first))})(?!\w)"
        )


def _named(text: str, words: _Words) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for match in words.pattern.finditer(" ".join(text.casefold().split())):
        name = words.name_of[match["word"]]
        found[(WITHHELD if match["left_out"] else "") + name] = None
    return tuple(found)


@dataclass(frozen=True)
class LabelStance:
    """What the rules say of the treatments for one label."""

    label: str
    probability: float
    stance: Stance | None
    """None: the guidelines at hand say nothing, or speak both for and against."""
    severity: Severity | None
    rules: tuple[Rule, ...]


def stances(
    probabilities: Mapping[str, float], treatments: Sequence[str], rules: Sequence[Rule]
) -> tuple[LabelStance, ...]:
    """One a label, likeliest first. `rules`: those whose passage is at hand.

    Any treatment that is spoken against decides; else one that is spoken for.
    """
    ordered = sorted(probabilities, key=lambda label: -probabilities[label])
    return tuple(_stance(label, probabilities[label], treatments, rules) for label in ordered)


def _stance(
    label: str, probability: float, treatments: Sequence[str], rules: Sequence[Rule]
) -> LabelStance:
    against: list[Rule] = []
    in_favour: list[Rule] = []
    for treatment in treatments:
        spoken = [rule for rule in rules if label in rule.labels and treatment in rule.treatments]
        said = {rule.stance for rule in spoken}
        if len(said) == 1:
            (against if said == {"against"} else in_favour).extend(spoken)
    deciding = tuple(dict.fromkeys(against or in_favour))
    if not deciding:
        return LabelStance(label, probability, None, None, ())
    severity = max((rule.severity for rule in deciding), key=SEVERITIES.index)
    return LabelStance(label, probability, deciding[0].stance, severity, deciding)


@dataclass(frozen=True)
class OperatingPoint:
    """How sure a verdict must be; chosen on scenarios apart from those reported. All are shares of
    the probability that the rules speak of at all, but for `heard`."""

    heard: float
    """Least probability of all labels for which a passage speaks of the treatment."""
    error: float
    """Least share of the labels for which the treatment is spoken against: ERROR."""
    correct: float
    """Least share of the labels for which it is spoken for: CORRECT."""
    critical: float
    """From this share of labels for which it would be a critical error it is not CORRECT."""


OPERATING_POINT = OperatingPoint(heard=0.4, error=0.7, correct=0.5, critical=0.05)
"""By tests.benchmarks.treatment_check on the demonstration release."""


@dataclass(frozen=True)
class Judgement:
    verdict: Verdict
    severity: Severity | None
    """Of the error, for an ERROR."""
    reason: str
    """In plain words, with places for `fields`; as a whole in `because`."""
    deciding: tuple[LabelStance, ...]
    """The labels that decided, likeliest first; empty for an UNSURE without a passage."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Labels and shares, which are the same in every language."""

    @property
    def because(self) -> str:
        """The reason, for the person who asked."""
        return self.reason.format(**self.fields)


LOOKS_UNLIKE = 0.05
"""A stated finding that the picture makes less likely than this is in doubt itself."""


WORTH_NAMING = 0.1


def judge(
    found: Sequence[LabelStance],
    stated: Sequence[str] = (),
    point: OperatingPoint = OPERATING_POINT,
) -> Judgement:
    """From stances to a verdict. Where no passage speaks, there is none: UNSURE.

    `stated`: the labels that the person's own finding names.
    """
    if stated and _mass(one for one in found if one.label in stated) < LOOKS_UNLIKE:
        reason = "the picture does not look like the stated finding: {labels}"
        return Judgement("UNSURE", None, reason, (), {"labels": ", ".join(stated)})
    against = tuple(one for one in found if one.stance == "against")
    in_favour = tuple(one for one in found if one.stance == "for")
    if not against and not in_favour:
        return Judgement("UNSURE", None, "no passage at hand speaks of this treatment", ())
    heard = _mass(against) + _mass(in_favour)
    critical = _mass(one for one in against if one.severity == "critical")
    if heard >= point.heard:
        if _mass(against) >= point.error * heard:
            reason, labels = "the guideline speaks against it for {labels}", _names(against)
            return Judgement("ERROR", _severity(against), reason, against, {"labels": labels})
        is_stated = not stated or any(one.label in stated for one in in_favour)
        is_likely = _mass(in_favour) >= point.correct * heard
        if is_stated and is_likely and critical < point.critical * heard:
            reason, labels = "the guideline speaks for it for {labels}", _names(in_favour)
            return Judgement("CORRECT", None, reason, in_favour, {"labels": labels})
    either = tuple(sorted((*against, *in_favour), key=lambda one: -one.probability))
    reason = (
        "the picture does not settle it: {fitting} for findings that the treatment fits,"
        " {unfitting} for findings that it does not fit"
    )
    shares = {"fitting": f"{_mass(in_favour):.0%}", "unfitting": f"{_mass(against):.0%}"}
    return Judgement("UNSURE", None, reason, either, shares)


def withheld(found: Judgement) -> Judgement:
    """What is said of a picture on which the appliance abstains: never more than UNSURE."""
    if found.verdict == "UNSURE":
        return found
    reason = "the appliance abstains on this picture, and so has no verdict"
    return Judgement("UNSURE", None, reason, found.deciding)


def _mass(found: Iterable[LabelStance]) -> float:
    return sum(one.probability for one in found)


def _severity(against: Sequence[LabelStance]) -> Severity | None:
    """The worst that is likely enough to name."""
    severities = [one.severity for one in _likely(against) if one.severity]
    return max(severities, key=SEVERITIES.index)


def _names(found: Sequence[LabelStance]) -> str:
    return ", ".join(f"{one.label} ({one.probability:.0%})" for one in _likely(found))


def _likely(found: Sequence[LabelStance]) -> Sequence[LabelStance]:
    """`found` is likeliest first."""
    return [one for one in found if one.probability >= WORTH_NAMING] or found[:1]
