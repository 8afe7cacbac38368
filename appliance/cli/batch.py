"""Many pictures in one command: one after the other, none stops the rest."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from appliance.cli.diagnostics import print_progress, say_at_once
from appliance.cli.faults import keep_fault
from appliance.errors import ApplianceError

if TYPE_CHECKING:
    from appliance.core.consult import Consultation, Ports

BAR = 20
"""Characters."""
SOONEST_FORECAST = 3
"""Pictures before the time left is told: the first one also loads the model."""


@dataclass
class Tally:
    """What came of the pictures so far."""

    answered: int = 0
    abstained: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """By the error's code."""
    already_there: int = 0
    """Answered in the results file before this run."""
    worst: int = 0
    """Exit code."""
    is_stopped: bool = False
    """By Ctrl+C, after a whole picture."""
    spent_s: float = 0.0

    @property
    def asked(self) -> int:
        return self.answered + self.abstained + self.refused.total()

    def add(self, result: "Consultation") -> None:
        if result.error is not None:
            self.refused[result.error.code] += 1
            self.worst = max(self.worst, result.error.exit_code)
        elif result.decision is not None and result.decision.kind == "abstain":
            self.abstained += 1
        else:
            self.answered += 1

    def summary(self, passed_over: int) -> str:
        """One line; `passed_over` are files that are no pictures."""
        refused = ", ".join(f"{count} {code}" for code, count in self.refused.most_common())
        parts = [
            f"pictures asked about: {self.asked}",
            f"answered {self.answered}",
            f"abstained {self.abstained}",
            f"refused {self.refused.total()}" + (f" ({refused})" if refused else ""),
        ]
        if self.asked:
            parts.append(f"{self.spent_s / self.asked:.1f} s a picture")
        if self.already_there:
            parts.append(f"answered before, in the file: {self.already_there}")
        if passed_over:
            parts.append(f"passed over, being no pictures: {passed_over}")
        return "; ".join(parts)


def caption_each(
    paths: Sequence[str],
    ports: "Ports",
    passages: int,
    is_answered: Callable[[str], bool],
    show: Callable[["Consultation"], None],
) -> Tally:
    """Each picture that is not answered already. Ctrl+C ends it after the picture at work.

    Raises: AuditError, and what `show` raises.
    """
    tally = Tally()
    started_s = time.monotonic()
    with interruptions() as interrupted:
        for number, path in enumerate(paths, 1):
            if interrupted():
                tally.is_stopped = True
                break
            if is_answered(path):
                tally.already_there += 1
                continue

            def progress(stage: str, number: int = number) -> None:
                print_progress(_progress(stage, number, len(paths), tally))

            result = _consult(path, ports, passages, progress)
            print_progress("")
            show(result)
            tally.add(result)
            tally.spent_s = time.monotonic() - started_s
    return tally


def _consult(
    path: str, ports: "Ports", passages: int, progress: Callable[[str], None]
) -> "Consultation":
    from appliance.core.consult import Consultation, consult

    try:
        return consult(path, ports, passages, progress)
    except ApplianceError:
        raise
    except Exception:  # recorded by now; the next picture may fare better
        return Consultation(path, ports.captioner.release, error=keep_fault())


@contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl+C was pressed; a second one interrupts as it always does."""
    is_pressed = False
    usual = signal.getsignal(signal.SIGINT)

    def press(number: int, frame: object) -> None:
        nonlocal is_pressed
        is_pressed = True
        signal.signal(signal.SIGINT, usual)
        say_at_once("\nstopping after this picture; Ctrl+C again stops at once\n")

    signal.signal(signal.SIGINT, press)
    try:
        yield lambda: is_pressed
    finally:
        signal.signal(signal.SIGINT, usual)


def _progress(stage: str, number: int, total: int, tally: Tally) -> str:
    if total == 1:
        return f"{stage} ..."
    filled = BAR * (number - 1) // total
    line = f"[{'#' * filled}{'-' * (BAR - filled)}] {number}/{total} {stage}"
    if failed := tally.refused.total():
        line += f", {failed} failed"
    if tally.asked >= SOONEST_FORECAST:
        left_s = tally.spent_s / tally.asked * (total - number + 1)
        line += f", about {left_s / 60:.0f} min left" if left_s > 90 else f", {left_s:.0f} s left"
    return line
