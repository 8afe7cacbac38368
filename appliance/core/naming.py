"""What a person's words name, what they leave out, and where that cannot be read surely.

English and Malay, by lists of words and not by grammar: a negating word right before a name leaves
it out, and what follows after "or" with it. Any other negating word in the same clause makes what
the clause names unclear, and so does a name that follows one that is left out: it may belong to it.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

WITHHELD = "no "
"""Begins the name of what is left out, in rules and in what a text names."""

_NOT = (
    r"not?|non|never|nor|neither|cannot|donot|without|w/o(?:ut)?|withhold|withheld|stop|omit"
    r"|avoid|den(?:y|ies|ied)"
    r"|(?:do|does|did|is|are|was|were|should|must|need|would|will|wo|ca)n'?t"
    r"|tiada|tanpa|tidak|tak|jangan|bukan|menafikan"
)
NEGATION = (
    rf"(?:{_NOT})"
    r"(?: (?:give|giving|use|using|start|starting|prescribe|offer|do|send|need|needs|beri|perlu))?"
    r"(?: (?:a|an|any|the|all|further|more|oral|to|for|(?:history|signs?|evidence) of)){0,3}"
)
"""Words that turn what is named right after them into leaving it out."""
NEGATING = re.compile(
    rf"(?<!\w)(?:{_NOT}|denying|none|nothing|nil|absent|absence|negative|refus(?:es?|ed)"
    r"|declin(?:es?|ed)|refrain|instead|rather than|hold|skip|cancel|discontinue|cease"
    r"|(?:delay|defer|postpone)(?:s|ed|ing)?|un(?:necessary|needed|suitable)|against|unless|except"
    r"|\w+n't|c/i|d/c|contra ?indicat(?:ed|ion)|exclude[sd]?|ruled? out|allerg(?:y|ic)"
    r"|tdk|jgn|x ?perlu|belum|usah|elak(?:kan)?|henti(?:kan)?|tangguh(?:kan)?|kecuali"
    r"|alahan|alergi)(?!\w)"
)
"""Words that may leave out what stands anywhere in their clause."""
UNDELAYED = re.compile(
    r"(?<!\w)(?:(?:without|not?|never|avoid|don'?t)(?: any| further)? delay|not? later than"
    r"|tanpa (?:ber)?lengah)(?!\w)"
)
"""What leaves nothing out."""
PLAN_ENDS = re.compile(r";|!|\.(?!\d)")
"""Ends of clauses of a plan, where a comma may go on with what is left out."""
FINDING_ENDS = re.compile(r",|;|!|\.(?!\d)")
"""And of a finding, which lists what is and what is not."""
_JOINED = re.compile(
    r"[ ,&+]*(?:(?P<sure>(?:or|nor|atau)(?= )|/)|(?:and|dan)(?= ))?"
    r"(?: ?(?:a|an|any|the|oral|more|further)(?= ))* ?"
)
"""Between two names of which the first is left out; "or" leaves out the second, too."""
_BUT = re.compile(r"(?<!\w)(?:but|tetapi|tapi)(?!\w)")


@dataclass(frozen=True)
class Named:
    """What a text names, of one vocabulary."""

    names: tuple[str, ...]
    """In order, each once; `no X` where X is left out."""
    unclear: Mapping[str, str]
    """Those, without the `no`, that may or may not be left out, each with its clause."""


class Vocabulary:
    """Names, and the words for each; of words in one another the longest counts."""

    def __init__(self, words_of: Mapping[str, Sequence[str]], ends: re.Pattern[str]) -> None:
        self.ends = ends
        self.name_of = {plain(word): name for name, words in words_of.items() for word in words}
        longest_first = sorted(self.name_of, key=len, reverse=True)
        self.pattern = re.compile(
            rf"(?<!\w)(?P<left_out>{NEGATION} )?"
            rf"(?P<word>{'|'.join(map(re.escape, longest_first)) or '(?!)'})(?!\w)"
        )

    def read(self, text: str) -> Named:
        said = plain(text)
        beside = UNDELAYED.sub(_blank, self.pattern.sub(_blank, said))
        clauses = [*pairwise((0, *(end.end() for end in self.ends.finditer(said)), len(said)))]
        names: dict[str, None] = {}
        unclear: dict[str, str] = {}
        before: re.Match[str] | None = None
        """The name before, where it is left out or may be."""
        is_sure = False
        for match in self.pattern.finditer(said):
            name = self.name_of[match["word"]]
            start, end = next(one for one in clauses if one[0] <= match.start("word") < one[1])
            is_left_out = bool(match["left_out"])
            may_follow = False
            if before and not is_left_out:
                between = said[before.end() : match.start()]
                joined = _JOINED.fullmatch(between)
                is_left_out = bool(is_sure and joined and joined["sure"])
                may_follow = not is_left_out and (bool(joined) or not self._is_apart(between))
            if may_follow or NEGATING.search(beside, start, end):
                unclear.setdefault(name, said[start:end].strip(" ,;.!"))
            names[(WITHHELD if is_left_out else "") + name] = None
            before, is_sure = (match if is_left_out or may_follow else None), is_left_out
        return Named(tuple(names), unclear)

    def _is_apart(self, between: str) -> bool:
        return bool(self.ends.search(between) or _BUT.search(between))


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0])


def plain(text: str) -> str:
    """On one line, in small letters, without hyphens: "co-amoxiclav" is "co amoxiclav"."""
    small = (
        unicodedata.normalize("NFKC", text)
        .casefold()
        .replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    )
    return " ".join(re.sub(r"[-\N{HYPHEN}-\N{EM DASH}]", " ", small).split())
