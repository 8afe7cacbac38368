"""Recommendations, their grades and levels of evidence, as guidelines print them.

Malaysian CPGs print "Grade A" to "Grade C" and levels I, II-1, II-2, II-3 and III (US/Canadian
Preventive Services Task Force); GRADE guidelines print a strength and a certainty. Only clear
patterns count, and a text that states several different ones gets none: the text itself then says
which belongs to what. It knows nothing of how passages are cut.
"""

import re
import unicodedata
from dataclasses import dataclass

from cpg_store.passage import GradingSystem, PassageKind

_GRADE = re.compile(
    r"[(\[]\s*(?:Grade|Gred)\s+(?P<boxed>[ABC])\s*[)\]]"
    r"|\b(?:Grade|Gred)\s+(?P<final>[ABC])\s*\.?\s*$"
    r"|\b[Gg]rade of recommendation\s*[:=]\s*(?P<named>[ABC])\b",
    re.MULTILINE,
)
_STRENGTH = re.compile(
    r"[(\[]\s*(?P<boxed>strong|conditional|weak)\s+recommendation\b"
    r"|\bstrength of recommendation\s*[:\u2013-]\s*(?P<named>strong|conditional|weak)\b"
    r"|^\s*(?P<leading>strong|conditional|weak)\s+recommendation\s+(?:for|against)\b",
    re.MULTILINE | re.IGNORECASE,
)
_LEVEL = re.compile(
    r"(?:[(\[,;]|\d|^)\s*[Ll]evel\s+(?P<near>II[-\u2010\u2011\u2013][123]|I{1,3})(?![\w-])"
    r"|\b[Ll]evel\s+(?P<final>II[-\u2010\u2011\u2013][123]|I{1,3})\s*[)\].]*\s*$",
    re.MULTILINE,
)
_CERTAINTY = re.compile(
    r"\b(very low|low|moderate|high)[\s-]+"
    r"(?:certainty\b|quality[\s-]+(?:of\s+(?:the\s+)?)?evidence\b)",
    re.IGNORECASE,
)
_RECOMMENDATION_TITLE = re.compile(
    r"^\W*(?:(?:key\s+)?recommendations?|syor(?:an)?|cadangan|saranan)"
    r"(?:\s+\d+(?:\.\d+)*[a-z]?)?\s*[:.]?\s*$"
    r"|^\W*key\s+(?:messages?|(?:\w+\s+)?recommendations?\s+for)\b"
    r"|^\W*mesej\s+utama\b",
    re.IGNORECASE,
)
_BOXED_TITLE = re.compile(
    r"\brecommendations?\b|\bgood practice statements?\b|\binterim guidance\b"
    r"|\bkey (?:message|point)",
    re.IGNORECASE,
)
_NOT_IT = re.compile(r"\b(?:rationale|background|evidence|research|remarks|summary of)\b", re.I)
_STATEMENT = re.compile(
    r"^\W*(?:WHO|CDC|we|the (?:panel|GDG|committee|guideline (?:development )?(?:group|panel)))\s+"
    r"(?:strongly\s+|conditionally\s+)?(?:recommends?|suggests?)\b"
    r"|[(\[]good practice statement[)\]]",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Grading:
    """What a text states of itself."""

    grade: str | None
    """A, B, C, or strong, conditional, weak."""
    evidence: str | None
    """I, II-1, II-2, II-3, III, or "moderate certainty"."""

    @property
    def system(self) -> GradingSystem | None:
        if self.grade is None and self.evidence is None:
            return None
        is_malaysian = (self.grade or "A") in "ABC" and "certainty" not in (self.evidence or "")
        return "malaysian" if is_malaysian else "grade"


def grading_of(text: str) -> Grading:
    """Read the one grade and the one level that `text` states."""
    text = unicodedata.normalize("NFKC", text)  # a raised reference before a level is a digit
    return Grading(_grade(text), _evidence(text))


def stated_in(text: str, kind: PassageKind) -> Grading:
    """The same of a passage; a list of references states nothing of itself."""
    return Grading(None, None) if kind == "reference" else grading_of(text)


def is_recommendation_title(heading: str) -> bool:
    """Tell the heading of a recommendation box ("Recommendation 3") from other headings."""
    return bool(_RECOMMENDATION_TITLE.match(heading))


def is_boxed_recommendation_title(heading: str) -> bool:
    """Tell it by its words alone, where a box is drawn round it."""
    return bool(_BOXED_TITLE.search(heading)) and not _NOT_IT.search(heading)


def is_statement(text: str) -> bool:
    """Tell a sentence that is itself a recommendation: who recommends stands first."""
    return bool(_STATEMENT.search(text))


def _grade(text: str) -> str | None:
    return _only(_found(_GRADE, text)) or _only(
        {strength.lower() for strength in _found(_STRENGTH, text)}
    )


def _evidence(text: str) -> str | None:
    levels = {re.sub("[\u2010\u2011\u2013]", "-", level) for level in _found(_LEVEL, text)}
    if levels or not _STRENGTH.search(text):
        return _only(levels)
    certainties = {certainty.lower() for certainty in _CERTAINTY.findall(text)}
    certainty = _only(certainties)
    return f"{certainty} certainty" if certainty else None


def _found(pattern: re.Pattern[str], text: str) -> set[str]:
    return {next(filter(None, match.groups())) for match in pattern.finditer(text)}


def _only(values: set[str]) -> str | None:
    return next(iter(values)) if len(values) == 1 else None
