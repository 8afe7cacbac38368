"""Whether a text is English or Malay, told by the small words that carry no meaning."""

import re

from cpg_store.passage import Language

_ENGLISH = re.compile(
    r"\b(?:the|and|of|to|in|for|with|is|are|or|be|by|from|that|as|should|may|have|not|on|at)\b"
)
_MALAY = re.compile(
    r"\b(?:dan|yang|untuk|dengan|pada|adalah|atau|dalam|ini|itu|tidak|oleh|kepada|boleh|perlu|jika"
    r"|akan|telah|bagi|ialah|hendaklah|seperti|dari|daripada)\b"
)
_LEAST = 3


def language_of(text: str) -> Language | None:
    """Give the language of `text`; None where too few words tell."""
    text = text.casefold()
    english, malay = len(_ENGLISH.findall(text)), len(_MALAY.findall(text))
    if max(english, malay) < _LEAST or english == malay:
        return None
    return "en" if english > malay else "ms"
