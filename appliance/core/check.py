"""Checking a treatment against a picture: a consultation, then the rules, then a recorded verdict.

No passage, no verdict. The verdict says "check again", it never orders anything.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from appliance.core.consult import Consultation, Ports, Stage, consult
from appliance.core.entry import Entry
from appliance.core.labels import LabelSet
from appliance.core.ports import Guidelines, Passage
from appliance.core.query import GuidelineQuery
from appliance.core.synonyms import names_of_the_same
from appliance.core.treatment import Judgement, Rule, RuleBook, judge, stances, withheld
from appliance.errors import ConfigError, GuidelineError, ModelError

UNLIKELY = 0.02
"""Of a label less likely than this no passage is sought."""
SOUGHT = 5
"""Passages looked through for a rule's sentence."""
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
        reason = "this release was not measured on pictures of this kind"
        return Judgement("UNSURE", None, reason, ()), {}
    chances = consultation.label_probabilities
    likely = {label for label, chance in chances.items() if chance >= UNLIKELY}
    rules = [rule for rule in book.about(treatments, signs) if likely & {*rule.labels}]
    at_hand = passages_of(rules, ports.guidelines) if ports.guidelines else {}
    found = stances(chances, treatments, tuple(at_hand))
    judgement = judge(found, stated_labels(question.finding, release.labels))
    if consultation.decision and consultation.decision.kind == "abstain":
        judgement = withheld(judgement)
    return judgement, at_hand


def passages_of(rules: Sequence[Rule], guidelines: Guidelines) -> dict[Rule, Passage]:
    """The rules whose sentence is in the guidelines at hand, each with its passage.

    Raises: GuidelineError.
    """
    holding: dict[str, Passage | None] = {}
    for rule in rules:
        if rule.quote not in holding:
            query = GuidelineQuery(f"{', '.join(rule.labels)}: {rule.quote}")
            found = guidelines.find(query, SOUGHT)
            holds = (passage for passage in found if _plain(rule.quote) in _plain(passage.text))
            holding[rule.quote] = next(holds, None)
    return {rule: passage for rule in rules if (passage := holding[rule.quote])}


def stated_labels(finding: str, labels: LabelSet) -> tuple[str, ...]:
    """The labels that a person's own finding names, by any of their names."""
    words = f" {_plain(finding)} "
    named = {name for name in labels.names if f" {name} " in words}
    named |= {name for name in labels.names if name in names_of_the_same(finding)}
    return tuple(name for name in labels.names if name in named)


def _plain(text: str) -> str:
    """For comparing: a table's cells are parted by bars, and lines are wrapped anywhere."""
    letters = (letter if letter.isalnum() or letter in "/%" else " " for letter in text.casefold())
    return " ".join("".join(letters).split())


def _shown(judgement: Judgement, at_hand: dict[Rule, Passage]) -> tuple[tuple[Rule, Passage], ...]:
    """Each deciding passage once, the likeliest label's first."""
    shown: dict[str, tuple[Rule, Passage]] = {}
    for stance in judgement.deciding:
        for rule in stance.rules:
            if stance.probability >= UNLIKELY:
                shown.setdefault(at_hand[rule].passage_id, (rule, at_hand[rule]))
    return tuple(shown.values())
