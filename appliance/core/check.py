"""Checking a treatment against a picture: a consultation, then the rules, then a recorded verdict.

No passage, no verdict. The verdict says "check again", it never orders anything.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from appliance.core.consult import Consultation, Ports, Stage, consult
from appliance.core.decision import NOT_MEASURED
from appliance.core.entry import Entry
from appliance.core.labels import LabelSet
from appliance.core.naming import FINDING_ENDS, WITHHELD, Named, Vocabulary
from appliance.core.ports import Guidelines, Passage
from appliance.core.synonyms import names_of
from appliance.core.treatment import Judgement, Rule, RuleBook, judge, stances, withheld
from appliance.errors import ConfigError, GuidelineError, ModelError

UNLIKELY = 0.02
"""Of a label less likely than this no passage is sought."""
MOST_CHARACTERS = 500
"""Of a treatment and of a finding: a plan in a few sentences, not a letter."""


@dataclass(frozen=True)
class Question:
    """What a person asks of one picture. Raises: ConfigError for words that cannot be asked."""

    path: str
    treatment: str
    finding: str = ""

    def __post_init__(self) -> None:
        if not self.treatment.strip():
            raise ConfigError("no treatment is given", "say what is planned, as oral amoxicillin")
        for name in ("treatment", "finding"):
            if (length := len(getattr(self, name))) > MOST_CHARACTERS:
                raise ConfigError(
                    f"the {name} has {length} characters", f"say it in at most {MOST_CHARACTERS}"
                )


@dataclass(frozen=True)
class Check:
    """The answer. `judgement` is None when the picture could not be read."""

    consultation: Consultation
    treatments: tuple[str, ...]
    """The treatments recognised in the person's words."""
    judgement: Judgement | None
    passages: tuple[tuple[Rule, Passage], ...]
    """The rules that decided, each with the passage that holds its sentence."""
    entry: Entry

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Of a plan that is called CORRECT, the treatments that this does not speak of."""
        if self.judgement is None or self.judgement.verdict != "CORRECT":
            return ()
        return tuple(name for name in self.treatments if name not in self.judgement.treatments)


def check(
    question: Question,
    ports: Ports,
    book: RuleBook,
    progress: Callable[[Stage], None] = lambda stage: None,
) -> Check:
    """Raises: AuditError, when it could not be recorded and so must not be shown; recorded,
    GuidelineError when the guidelines cannot be searched, and ModelError of `progress`."""
    treatments = book.treatments_in(question.treatment)
    signs = book.signs_in(question.finding)
    ports.audit.append("check.asked", {"treatments": [*treatments], "signs": [*signs]})
    judgement: Judgement | None = None
    at_hand: dict[Rule, Passage] = {}
    consultation = consult(question.path, ports, 0, progress)
    if consultation.error is None:
        try:
            progress("looking up")
            judgement, at_hand = _judged(consultation, question, treatments, signs, ports, book)
        except (GuidelineError, ModelError) as exc:
            ports.audit.append("check.failed", {"error": exc.code})
            raise
    progress("recording")
    shown = _shown(judgement, at_hand) if judgement else ()
    outcome = {
        "caption": consultation.entry.seq if consultation.entry else None,
        "verdict": judgement.verdict if judgement else None,
        "severity": judgement.severity if judgement else None,
        "speaks_of": [*judgement.treatments] if judgement else [],
        "passages": [passage.passage_id for _, passage in shown],
        "error": consultation.error.code if consultation.error else None,
    }
    entry = ports.audit.append("check.done", outcome)
    return Check(consultation, treatments, judgement, shown, entry)


def _judged(
    consultation: Consultation,
    question: Question,
    treatments: Sequence[str],
    signs: Sequence[str],
    ports: Ports,
    book: RuleBook,
) -> tuple[Judgement, dict[Rule, Passage]]:
    release = consultation.release
    if not treatments:
        reason = "no treatment was recognised in the words given"
        return Judgement("UNSURE", None, reason, ()), {}
    if not consultation.domain or not release.calibration.thresholds[consultation.domain]:
        return Judgement("UNSURE", None, NOT_MEASURED, ()), {}
    if words := unclear_words(question.treatment, question.finding, book, release.labels):
        reason = (
            "it is not clear whether this says yes or no: {words}; write it anew, each by itself"
        )
        return Judgement("UNSURE", None, reason, (), ({"words": words},)), {}
    chances = consultation.label_probabilities
    likely = {label for label, chance in chances.items() if chance >= UNLIKELY}
    rules = [rule for rule in book.about(treatments, signs) if likely & {*rule.labels}]
    at_hand = passages_of(rules, ports.guidelines) if ports.guidelines else {}
    found = stances(chances, treatments, tuple(at_hand))
    stated = stated_labels(question.finding, release.labels)
    denied = denied_labels(question.finding, release.labels)
    judgement = judge(found, stated, denied=denied)
    if consultation.decision and consultation.decision.kind == "abstain":
        judgement = withheld(judgement)
    return judgement, at_hand


def unclear_words(treatment: str, finding: str, book: RuleBook, labels: LabelSet) -> str:
    """The clause of which it is not sure whether it leaves out a treatment, or denies a sign or a
    finding; empty when all can be read surely."""
    unclear = _labels_in(finding, labels).unclear.values()
    return book.unclear_in(treatment, finding) or next(iter(unclear), "")


def passages_of(rules: Sequence[Rule], guidelines: Guidelines) -> dict[Rule, Passage]:
    """The rules whose sentence is at hand in a document that they cite, each with its passage.

    Raises: GuidelineError.
    """
    quotes = dict.fromkeys(rule.quote for rule in rules)
    holding = {quote: guidelines.holding(quote) for quote in quotes}
    at_hand: dict[Rule, Passage] = {}
    for rule in rules:
        cited = (passage for passage in holding[rule.quote] if rule.cites(passage.document))
        if passage := next(cited, None):
            at_hand[rule] = passage
    return at_hand


def stated_labels(finding: str, labels: LabelSet) -> tuple[str, ...]:
    """The labels that a person's own finding names as there, by any of their names."""
    named = _labels_in(finding, labels).names
    return tuple(name for name in labels.names if name in named)


def denied_labels(finding: str, labels: LabelSet) -> tuple[str, ...]:
    """Those that it says are not there, and does not name as there as well."""
    named = _labels_in(finding, labels).names
    denied = (name for name in labels.names if f"{WITHHELD}{name}" in named)
    return tuple(name for name in denied if name not in named)


def _labels_in(finding: str, labels: LabelSet) -> Named:
    return _label_words(tuple(labels.names)).read(finding)


@lru_cache(1)
def _label_words(names: tuple[str, ...]) -> Vocabulary:
    return Vocabulary({name: names_of(name) for name in names}, FINDING_ENDS)


def _shown(judgement: Judgement, at_hand: dict[Rule, Passage]) -> tuple[tuple[Rule, Passage], ...]:
    """Each deciding passage once, the likeliest label's first."""
    shown: dict[str, tuple[Rule, Passage]] = {}
    for stance in judgement.deciding:
        for rule in stance.rules:
            if stance.probability >= UNLIKELY:
                shown.setdefault(at_hand[rule].passage_id, (rule, at_hand[rule]))
    return tuple(shown.values())
