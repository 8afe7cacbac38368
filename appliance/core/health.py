"""What a look at the machine finds, in plain words; and what an exit code makes of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "bad"]


@dataclass(frozen=True)
class Finding:
    name: str
    """Of what was looked at, in a word or two."""
    state: State
    text: str
    hint: str = ""
    """One action possible here, offline; empty where there is nothing to do."""
    exit_code: int = 1
    """Of a command that found it bad: 3 where something is missing, 4 where the log is broken."""


def worst_exit_code(findings: Iterable[Finding]) -> int:
    """0 when nothing is bad. The log comes first, what is only missing last."""
    codes = {finding.exit_code for finding in findings if finding.state == "bad"}
    return next((code for code in (4, 1, 3) if code in codes), 0)
