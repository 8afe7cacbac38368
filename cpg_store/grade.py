"""Grades of recommendation and levels of evidence, as guidelines print them.

Malaysian CPGs print "Grade A" to "Grade C" and levels I, II-1, II-2, II-3 and III (US/Canadian
Preventive Services Task Force); GRADE guidelines print a strength and a certainty. Only clear
patterns count, and a text that states several different ones gets none: the text itself then says
which belongs to what. It knows nothing of passages.
"""

import re

_GRADE = re.compile(
    r"[(\[]\s*Grade\s+(?P<boxed>[ABC])\s*[)\]]"
    r"|\bGrade\s+(?P<final>[ABC])\s*\.?\s*$"
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
    r"\b(very low|low|moderate|high)[\s-]+(?:certainty|quality)\b", re.IGNORECASE
)
_RECOMMENDATION_TITLE = re.compile(
    r"^\W*(?:key\s+)?recommendations?(?:\s+\d+(?:\.\d+)*[a-z]?)?\s*[:.]?\s*$", re.IGNORECASE
)


def grade_of(text: str) -> str | None:
    """Read the one grade of recommendation that `text` states."""
    return _only(_found(_GRADE, text)) or _only(
        {strength.lower() for strength in _found(_STRENGTH, text)}
    )


def evidence_of(text: str) -> str | None:
    """Read the one level of evidence, or the GRADE certainty beside a strength, in `text`."""
    levels = {re.sub("[\u2010\u2011\u2013]", "-", level) for level in _found(_LEVEL, text)}
    if levels or not _STRENGTH.search(text):
        return _only(levels)
    certainties = {certainty.lower() for certainty in _CERTAINTY.findall(text)}
    certainty = _only(certainties)
    return f"{certainty} certainty" if certainty else None


def is_recommendation_title(heading: str) -> bool:
    """Tell the heading of a recommendation box ("Recommendation 3") from other headings."""
    return bool(_RECOMMENDATION_TITLE.match(heading))


def _found(pattern: re.Pattern[str], text: str) -> set[str]:
    return {next(filter(None, match.groups())) for match in pattern.finditer(text)}


def _only(values: set[str]) -> str | None:
    return next(iter(values)) if len(values) == 1 else None
