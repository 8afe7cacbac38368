"""One answer as the screen draws it: just given, or come back to from the history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from appliance.core.answer import caption_to_show, is_for_trial, is_refusal
from appliance.core.text import safe_line
from appliance.tui.words import Words

if TYPE_CHECKING:
    from appliance.core.cases import Case
    from appliance.core.consult import Consultation

LEAST_SHOWN, MOST_SHOWN = 0.01, 6
"""Labels with a smaller probability, or after so many, are summed up, not listed. A decision has
fewer (core.decision.WIDEST_SET)."""


@dataclass(frozen=True)
class Pixels:
    """A de-identified picture, squashed to a square, and the shape it had."""

    rgb: bytes
    """size x size x 3, row by row."""
    size: int
    width: int
    height: int


@dataclass(frozen=True)
class Shown:
    """An answer, and what was made of it since."""

    answer: Mapping[str, Any]
    """As `core.answer.answer_json` gives it."""
    pixels: Pixels | None
    case_id: str | None
    """None where it is not kept: then there is nothing to annotate or judge."""
    at: str = ""
    user: str = ""
    reference: str = ""
    note: str = ""
    verdict: str | None = None
    corrected: Mapping[str, str] | None = None
    impression: str = ""

    @property
    def name(self) -> str:
        """Of the picture's file, without its folders."""
        return safe_line(PurePath(self.answer["image"]["path"]).name)

    @property
    def kind(self) -> str:
        """label, set, abstain, refused or failed."""
        error = self.answer["error"]
        if error is not None:
            return "refused" if is_refusal(error["code"]) else "failed"
        return str(self.answer["decision"]["kind"])

    @property
    def has_caption(self) -> bool:
        """Whether there is one to see and to judge."""
        return caption_to_show(self.answer) is not None

    @property
    def is_let_through(self) -> bool:
        """Whether the release's gate took the picture."""
        return self.answer["decision"] is not None

    @property
    def is_for_trial(self) -> bool:
        return is_for_trial(self.answer)

    @property
    def is_demonstration(self) -> bool:
        return bool(self.answer["release"]["demonstration"])

    @property
    def passages(self) -> Sequence[Mapping[str, Any]]:
        return () if self.kind == "abstain" else tuple(self.answer["passages"])

    @property
    def cases(self) -> Sequence[Mapping[str, Any]]:
        """Reference cases that stand beside it, as teaching material; answers of earlier versions
        know none."""
        return tuple((self.answer.get("atlas") or {}).get("cases", ()))

    @property
    def alarm(self) -> str | None:
        """That the cases disagree; one of the limits."""
        return (self.answer.get("atlas") or {}).get("warning")

    @property
    def record(self) -> tuple[int, str] | None:
        """The entry's number and the beginning of its hash."""
        entry = self.answer["audit"]
        return (entry["seq"], entry["hash"][:12]) if entry else None

    def probabilities(self) -> tuple[list[tuple[str, float]], tuple[int, float]]:
        """The likeliest labels first; of the others, how many they are and their sum."""
        found = self.answer["label_probabilities"] or {}
        ordered = sorted(found.items(), key=lambda item: -item[1])
        kept = [item for item in ordered[:MOST_SHOWN] if item[1] >= LEAST_SHOWN]
        others = ordered[len(kept) :]
        return kept, (len(others), sum(p for _, p in others))

    def changed(self, **changes: Any) -> "Shown":
        return replace(self, **changes)


def shown_result(result: "Consultation", answer: Mapping[str, Any]) -> Shown:
    """`answer` is its answer_json."""
    picture = result.picture
    pixels = Pixels(picture.rgb, picture.size, picture.width, picture.height) if picture else None
    at = result.entry.at if result.entry else ""
    user = result.entry.user if result.entry else ""
    return Shown(answer, pixels, result.case_id, at, user)


def shown_case(case: "Case", rgb: bytes | None) -> Shown:
    image = case.answer["image"]
    pixels = Pixels(rgb, case.size, image["width"], image["height"]) if rgb else None
    return Shown(
        case.answer,
        pixels,
        case.case_id,
        case.at,
        case.user,
        case.reference,
        case.note,
        case.verdict,
        case.corrected,
        case.impression,
    )


def decision_words(answer: Mapping[str, Any], say: Words) -> str:
    """What was decided, in one line."""
    if answer["error"] is not None:
        is_refused = is_refusal(answer["error"]["code"])
        return say("decision.refused" if is_refused else "decision.failed")
    decision = answer["decision"]
    if decision["kind"] == "abstain":
        return say("decision.abstain")
    labels = ", ".join(decision["labels"])
    return say("decision.set", labels=labels) if decision["kind"] == "set" else labels


def place_words(passage: Mapping[str, Any], say: Words) -> str:
    """Where a passage stands: document, edition, page, section, grade, evidence."""
    parts = [passage["document"], passage["edition"], page_words(passage, say), passage["section"]]
    parts += [grade_words(passage, say)]
    return safe_line("; ".join(part for part in parts if part))


def cited_words(passage: Mapping[str, Any], say: Words) -> str:
    """To be pasted or printed: where it stands, and what speaks against relying on it."""
    caution = passage["caution"]
    place = place_words(passage, say)
    return f"{place}. {say('passage.caution')} {safe_line(caution)}" if caution else place


def page_words(passage: Mapping[str, Any], say: Words) -> str:
    """The physical page, and the printed number where it is another; empty without pages."""
    page, last, label = passage["page"], passage["last_page"], passage["page_label"]
    if page is None:
        return ""
    if last and last != page:
        words = say("passage.pages", first=page, last=last)
    else:
        words = say("passage.page", page=page)
    return f"{words} ({say('passage.printed', label=label)})" if _is_other(label, page) else words


def grade_words(passage: Mapping[str, Any], say: Words) -> str:
    """Grade of recommendation and level of evidence, by whose grading they are."""
    grade, evidence = passage["grade"], passage["evidence"]
    if passage["grading"] == "grade":
        parts = [say("passage.strength", grade=grade) if grade else "", evidence or ""]
    else:
        parts = [
            say("passage.grade", grade=grade) if grade else "",
            say("passage.level", evidence=evidence) if evidence else "",
        ]
    return "; ".join(part for part in parts if part)


def _is_other(label: str | None, page: int) -> bool:
    return bool(label) and label != str(page)
