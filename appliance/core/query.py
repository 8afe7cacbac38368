"""From a caption to what is looked up in the guidelines."""

from dataclasses import dataclass
from typing import Literal, get_args

from appliance.core.caption import Caption
from appliance.core.decision import Decision
from appliance.core.labels import Domain
from appliance.core.malay import in_english
from appliance.core.synonyms import names_of_the_same

Kind = Literal["recommendation", "text", "table", "figure", "reference"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Language = Literal["en", "ms"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


@dataclass(frozen=True)
class GuidelineQuery:
    """One question to the guidelines."""

    text: str
    also: tuple[str, ...] = ()
    """Other names of what the text names: a guideline may use those instead."""
    domain: Domain | None = None
    """Passages that speak of other domains only do not answer; None: any may."""
    otherwise: "GuidelineQuery | None" = None
    """Asked where this one finds nothing: the same, put into English."""


@dataclass(frozen=True)
class Within:
    """Which passages may answer; None leaves a filter out."""

    document_id: str | None = None
    domain: Domain | None = None
    kind: Kind | None = None
    grade: str | None = None
    language: Language | None = None


def caption_queries(
    decision: Decision, caption: Caption, domain: Domain | None = None
) -> tuple[GuidelineQuery, ...]:
    """One query for each label the decision holds; none when it abstains.

    The caption's other fields describe its own label, and are asked with that one only.
    """
    return tuple(
        _query(label, caption if label == caption.label else None, domain)
        for label in decision.labels
    )


def typed_query(text: str) -> GuidelineQuery:
    """A person's own words, with other names of what they name."""
    english = in_english(text)
    otherwise = GuidelineQuery(english, names_of_the_same(english)) if english else None
    return GuidelineQuery(text, names_of_the_same(text), otherwise=otherwise)


def _query(label: str, caption: Caption | None, domain: Domain | None) -> GuidelineQuery:
    also = names_of_the_same(label)
    if caption is None:
        return GuidelineQuery(f"{label}: management and referral", also, domain)
    # The label stands twice, for it says more than any other word.
    shown = f"{label}, {caption.anatomical_region}, {caption.key_findings}"
    return GuidelineQuery(f"{label}: {shown}. {caption.clinical_significance}", also, domain)
