"""Where to look: the filters of a search, and the topic of a passage.

A topic is found by words in a passage's headings and text, so that a manual of everything can be
asked for its eye pages only. It knows neither SQLite's nor Chroma's files, only how a filter is
written for each.
"""

import re
from dataclasses import dataclass, fields
from typing import Any, Literal

from cpg_store.passage import Language, Passage, PassageKind

Topic = Literal["skin", "eye", "chest"]

# Whole words or their beginnings, English and Malay.
_TOPIC_WORDS: dict[Topic, str] = {
    "skin": r"skin|cutaneous|derm[ao]\w*|rash\w*|lesions?|eczema|ulcers?|vesic\w*|papul\w*"
    r"|pustul\w*|blister\w*|itch\w*|prurit\w*|mole|naev\w*|nev\w+|melanoma|keratos\w*|wounds?|nails?"
    r"|scalp|burns?|kulit|ruam|gatal|kudis|luka",
    "eye": r"eyes?|eyelids?|ocular|ophthalm\w*|retin(?:a|al|op\w*)|fundus|macula\w*|cornea\w*"
    r"|conjunctiv\w*|vis(?:ion|ual)|glaucoma\w*|cataracts?|optic|pupils?|mata|penglihatan",
    "chest": r"chest|lungs?|pulmonary|pneumon\w*|pleura\w*|respirat\w*|breath\w*|cough\w*|bronch\w*"
    r"|thora\w*|airways?|tubercul\w*|cardiac|heart|asthma|wheez\w*|dyspnoea|dyspnea|hypox\w*"
    r"|dada|paru\w*|pernafasan|batuk|jantung|semput|tibi",
}
_TOPIC = {
    topic: re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for topic, words in _TOPIC_WORDS.items()
}


def topics_of(passage: Passage) -> set[Topic]:
    """The topics that a passage speaks of; often none, sometimes several."""
    text = f"{passage.section}\n{passage.text}"
    return {topic for topic, words in _TOPIC.items() if words.search(text)}


@dataclass(frozen=True)
class Scope:
    """Which passages a search may find; None leaves a filter out."""

    document_id: str | None = None
    topic: Topic | None = None
    kind: PassageKind | None = None
    grade: str | None = None
    language: Language | None = None

    @property
    def is_everything(self) -> bool:
        return not self._given()

    def _given(self) -> dict[str, str]:
        return {
            field.name: value
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None
        }

    def sql(self) -> tuple[str, list[str]]:
        """A condition on the catalogue's passages, and its values."""
        given = self._given()
        conditions = [
            "' ' || topics || ' ' LIKE '% ' || ? || ' %'" if name == "topic" else f"{name} = ?"
            for name in given
        ]
        return " AND ".join(conditions), list(given.values())

    def where(self) -> list[dict[str, Any]]:
        """The same conditions for Chroma's metadata, to be joined by `$and`."""
        return [
            {f"topic_{value}": True} if name == "topic" else {name: value}
            for name, value in self._given().items()
        ]


def filters_of(passage: Passage) -> dict[str, Any]:
    """What Chroma keeps with a passage's vector, so that it can filter as the catalogue does."""
    kept = {name: getattr(passage, name) for name in ("document_id", "kind", "grade", "language")}
    return {
        **{name: value for name, value in kept.items() if value is not None},
        **{f"topic_{topic}": True for topic in topics_of(passage)},
    }
