"""What a clinic keeps of a consultation to come back to it, apart from the log.

A case may be purged; the log's entries that prove what was done stay. Plain data; where cases
are kept is an edge's business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from appliance.core.entry import Entry
from appliance.core.ports import Picture

Verdict = Literal["accepted", "corrected", "rejected"]


@dataclass(frozen=True)
class Case:
    """One consultation as it was shown."""

    case_id: str
    """16 hex digits at random: the name that entries of the log give it."""
    at: str
    """UTC, ISO 8601: when it was asked."""
    user: str
    """The account that asked; empty where nobody was signed in."""
    answer: Mapping[str, Any]
    """`core.answer.answer_json`; its `audit` names the entry that proves it."""
    size: int
    """Side of the picture in pixels; 0 when there is none, as for a refused file."""
    reference: str = ""
    """The clinic's own, for its own books; never in the log."""
    note: str = ""
    verdict: Verdict | None = None
    corrected: Mapping[str, str] | None = None
    """The caption as the clinician would have it, for a corrected one."""
    impression: str = ""
    """The label a second reader gave before the caption was shown."""


@dataclass(frozen=True)
class Wanted:
    """Which cases; what is None or empty does not narrow."""

    since: str | None = None
    """UTC, ISO 8601, included."""
    until: str | None = None
    """UTC, ISO 8601, not included."""
    user: str | None = None
    domain: str | None = None
    decision: str | None = None
    """label, set, abstain, or refused."""
    text: str = ""
    """In the path, the reference, the note or a label."""


class CaseKeeper(Protocol):
    """What a consultation needs of them. All may raise CaseError."""

    def keep(self, asked: Entry, answer: Mapping[str, Any], picture: Picture | None) -> Case:
        """Committed when it returns; before the outcome's entry, so `audit` is still null.

        Time and user are those of `asked`, the entry that recorded the intent.
        """

    def prove(self, case_id: str, seq: int, entry_hash: str) -> None:
        """Name the entry that records the outcome; until then nobody is shown the case."""


class Cases(CaseKeeper, Protocol):
    """All may raise CaseError."""

    def get(self, case_id: str) -> Case | None: ...

    def find(self, wanted: Wanted, limit: int = 200) -> Sequence[Case]:
        """Newest first."""

    def pixels(self, case_id: str) -> bytes | None:
        """The de-identified RGB picture, size x size x 3, row by row."""

    def annotate(self, case_id: str, *, reference: str, note: str) -> None: ...

    def judge(
        self, case_id: str, verdict: Verdict, corrected: Mapping[str, str] | None = None
    ) -> None: ...

    def impress(self, case_id: str, label: str) -> None: ...

    def purge(self, before: str) -> int:
        """Forget the cases asked before this time (UTC, ISO 8601), so that nothing of them is left
        in the store's files; how many."""
