"""Whether a treatment fits a finding: transparent rules over what the picture is believed to show.

Owns the rules' form, which numbers stand for a sign, and how stances and probabilities become a
verdict. Every rule stands on a sentence of a guideline; where that sentence is kept, and whether it
is at hand, is the caller's business.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from appliance.core.naming import FINDING_ENDS, PLAN_ENDS, Vocabulary, plain

Stance = Literal["for", "against"]
Severity = Literal["moderate", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""Of the harm when the treatment is wrong, the least first."""
Verdict = Literal["ERROR", "CORRECT", "UNSURE"]

LOW_SATURATION = 90
"""In per cent; below it is a danger sign (WHO, Pocket book of hospital care for children, 2nd
edition, 2013, section 4.2)."""
PRESSURE_CRISIS = (180, 120)
"""In mmHg, systolic and diastolic; from either on it is a crisis (ACC/AHA guideline, 2017)."""
_SATURATION = re.compile(
    r"(?<!\w)(?:saturation|sats|spo2|sao2)[^\d,;.!]{0,20}?"
    r"(?P<below>below |under |less than |<)? ?(?P<share>\d{2,3})(?!\d)"
)
_PRESSURE = re.compile(r"(?<![\w/])(\d{3}) ?(?:/|over) ?(\d{2,3})(?![\w/])")


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
    """Document and place, for a person to look up, parted by commas or colons. The passage must be
    of a document that it names."""
    when: tuple[str, ...] = ()
    """Signs, of which the stated finding must name one; empty: always."""
    unless: tuple[str, ...] = ()
    """Signs, of which the stated finding must name none."""

    def applies(self, signs: Iterable[str]) -> bool:
        named = set(signs)
        return not named & {*self.unless} and (not self.when or bool(named & {*self.when}))

    def cites(self, title: str) -> bool:
        """Whether `source` names the document with this title: anywhere in full, or at first, by
        what the title begins with."""
        source, title = _one_line(self.source), _one_line(title)
        document = re.split("[,:]", source)[0]
        return bool(
            re.search(rf"(?:^|[,:] ?){re.escape(title)}(?: ?[,:]|$)", source)
            or re.match(rf"{re.escape(document)}(?!\w)", title)
        )


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
        return self._treatment_words.read(text).names

    def signs_in(self, text: str) -> tuple[str, ...]:
        """The signs that a finding names as present, in words or by a number."""
        named = (*self._sign_words.read(text).names, *_measured(text))
        return tuple(name for name in dict.fromkeys(named) if name in self.signs)

    def unclear_in(self, treatment: str, finding: str) -> str:
        """The clause, empty if there is none, of which it is not sure whether it leaves out what
        it names: a treatment, or a sign on which a rule of these treatments hangs."""
        planned = self._treatment_words.read(treatment)
        rules = [rule for rule in self.rules if {*planned.names} & {*rule.treatments}]
        hung_on = {sign for rule in rules for sign in (*rule.when, *rule.unless)}
        stated = self._sign_words.read(finding).unclear
        asked = (clause for sign, clause in stated.items() if sign in hung_on)
        return next(iter((*planned.unclear.values(), *asked)), "")

    @cached_property
    def _treatment_words(self) -> Vocabulary:
        return Vocabulary(self.treatments, PLAN_ENDS)

    @cached_property
    def _sign_words(self) -> Vocabulary:
        return Vocabulary(self.signs, FINDING_ENDS)

    def about(self, treatments: Sequence[str], signs: Sequence[str]) -> tuple[Rule, ...]:
        """The rules that speak of any of these treatments, given these signs."""
        return tuple(
            rule
            for rule in self.rules
            if {*treatments} & {*rule.treatments} and rule.applies(signs)
        )


def _measured(text: str) -> Iterator[str]:
    """The signs that numbers in a finding stand for."""
    said = plain(text)
    for below, share in _SATURATION.findall(said):
        if int(share) < LOW_SATURATION + bool(below):
            yield "danger sign"
    for pressure in _PRESSURE.findall(said):
        if any(int(one) >= limit for one, limit in zip(pressure, PRESSURE_CRISIS, strict=True)):
            yield "pressure crisis"


def _one_line(text: str) -> str:
    return " ".join(text.casefold().split())


@dataclass(frozen=True)
class LabelStance:
    """What the rules say of the treatments for one label."""

    label: str
    probability: float
    stance: Stance | None
    """None: the guidelines at hand say nothing, or speak both for and against."""
    severity: Severity | None
    rules: tuple[Rule, ...]
    treatments: tuple[str, ...]
    """Those that the rules speak of so."""


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
    against: dict[str, list[Rule]] = {}
    in_favour: dict[str, list[Rule]] = {}
    for treatment in treatments:
        spoken = [rule for rule in rules if label in rule.labels and treatment in rule.treatments]
        said = {rule.stance for rule in spoken}
        if len(said) == 1:
            (against if said == {"against"} else in_favour)[treatment] = spoken
    named = against or in_favour
    if not named:
        return LabelStance(label, probability, None, None, (), ())
    deciding = tuple(dict.fromkeys(rule for spoken in named.values() for rule in spoken))
    severity = max((rule.severity for rule in deciding), key=SEVERITIES.index)
    return LabelStance(label, probability, deciding[0].stance, severity, deciding, tuple(named))


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
    fields: tuple[Mapping[str, str], ...] = ({},)
    """Treatments, labels and shares, which are the same in every language; more than one for a
    reason that is said of several."""
    treatments: tuple[str, ...] = ()
    """Those of the plan that an ERROR or a CORRECT speaks of; it says nothing of the others."""

    @property
    def because(self) -> str:
        """The reason, for the person who asked."""
        return "; ".join(self.reason.format(**each) for each in self.fields)


LOOKS_UNLIKE = 0.05
"""A stated finding that the picture makes less likely than this is in doubt itself."""


WORTH_NAMING = 0.1


def judge(
    found: Sequence[LabelStance],
    stated: Sequence[str] = (),
    point: OperatingPoint = OPERATING_POINT,
    denied: Sequence[str] = (),
) -> Judgement:
    """From stances to a verdict. Where no passage speaks, there is none: UNSURE.

    `stated`: the labels that the person's own finding names; `denied`: those it says are not there.
    """
    shown = [one for one in found if one.label in denied and one.probability >= WORTH_NAMING]
    if shown:
        reason = "the picture may show what the finding says is not there: {labels}"
        return Judgement("UNSURE", None, reason, (), ({"labels": _names(shown)},))
    if stated and _mass(one for one in found if one.label in stated) < LOOKS_UNLIKE:
        reason = "the picture does not look like the stated finding: {labels}"
        return Judgement("UNSURE", None, reason, (), ({"labels": ", ".join(stated)},))
    against = tuple(one for one in found if one.stance == "against")
    in_favour = tuple(one for one in found if one.stance == "for")
    if not against and not in_favour:
        return Judgement("UNSURE", None, "no passage at hand speaks of this treatment", ())
    heard = _mass(against) + _mass(in_favour)
    critical = _mass(one for one in against if one.severity == "critical")
    if heard >= point.heard:
        if _mass(against) >= point.error * heard:
            reason = "the guideline speaks against {treatments} for {labels}"
            unfit = _treatments(_likely(against))
            return _spoken("ERROR", _severity(against), reason, against, unfit)
        # Of several treatments none may lean on what is heard of the others.
        least = max(point.correct * heard, point.heard - _mass(against))
        fit = _fitting(in_favour, stated, least)
        if fit and critical < point.critical * heard:
            reason = "the guideline speaks for {treatments} for {labels}"
            deciding = tuple(one for one in in_favour if {*one.treatments} & {*fit})
            return _spoken("CORRECT", None, reason, deciding, fit)
    either = tuple(sorted((*against, *in_favour), key=lambda one: -one.probability))
    reason = (
        "the picture does not settle it: {fitting} for findings that the treatment fits,"
        " {unfitting} for findings that it does not fit"
    )
    shares = {"fitting": f"{_mass(in_favour):.0%}", "unfitting": f"{_mass(against):.0%}"}
    return Judgement("UNSURE", None, reason, either, (shares,))


def withheld(found: Judgement) -> Judgement:
    """What is said of a picture on which the appliance abstains: never more than UNSURE."""
    if found.verdict == "UNSURE":
        return found
    reason = "the appliance abstains on this picture, and so has no verdict"
    return Judgement("UNSURE", None, reason, found.deciding)


def _fitting(
    in_favour: Sequence[LabelStance], stated: Sequence[str], least: float
) -> tuple[str, ...]:
    """The treatments of which each by itself fits what is likely enough, and what is stated."""

    def fits(treatment: str) -> bool:
        fitted = [one for one in in_favour if treatment in one.treatments]
        is_stated = not stated or any(one.label in stated for one in fitted)
        return is_stated and _mass(fitted) >= least

    return tuple(filter(fits, _treatments(in_favour)))


def _spoken(
    verdict: Verdict,
    severity: Severity | None,
    reason: str,
    deciding: tuple[LabelStance, ...],
    treatments: tuple[str, ...],
) -> Judgement:
    """Of each treatment it names only the labels for which the guideline speaks so."""
    labels_of: dict[str, list[LabelStance]] = {}
    for one in _likely(deciding):
        spoken = ", ".join(name for name in treatments if name in one.treatments)
        labels_of.setdefault(spoken, []).append(one)
    fields = tuple({"treatments": names, "labels": _names(of)} for names, of in labels_of.items())
    return Judgement(verdict, severity, reason, deciding, fields, treatments)


def _treatments(found: Iterable[LabelStance]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for one in found for name in one.treatments))


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
