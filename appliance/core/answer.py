"""A consultation as JSON: the contract of `caption --json`, and what is kept of a case."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from appliance.core.atlas import TEACHING, neighbour_json
from appliance.core.decision import NOT_MEASURED

if TYPE_CHECKING:
    from appliance.core.consult import Consultation  # which keeps what is made here


def answer_json(result: "Consultation") -> dict[str, Any]:
    """All keys always there, null when unknown."""
    picture, decision, entry, error = result.picture, result.decision, result.entry, result.error
    image: dict[str, Any] = {"path": result.path}
    for key in ("sha256", "kind", "width", "height", "note", "text_regions"):
        image[key] = getattr(picture, key) if picture else None
    return {
        "image": image,
        "caption": asdict(result.caption) if result.caption else None,
        "domain": result.domain,
        "label_probabilities": result.label_probabilities or None,
        "decision": asdict(decision) if decision else None,
        "limits": list(result.limits),
        "guidelines": result.guideline_set,
        "passages": [asdict(passage) for passage in result.passages],
        "atlas": None
        if result.neighbours is None
        else {
            "teaching": TEACHING,
            "warning": result.inconsistency,
            "cases": [neighbour_json(neighbour) for neighbour in result.neighbours],
        },
        "release": {
            "name": result.release.name,
            "sha256": result.release.sha256,
            "demonstration": result.release.demonstration,
        },
        "audit": {"seq": entry.seq, "hash": entry.hash} if entry else None,
        "case": result.case_id,
        "timings_ms": result.timings_ms,
        "error": {"code": error.code, "message": error.message, "hint": error.hint}
        if error
        else None,
    }


def is_refusal(code: str) -> bool:
    """Whether an error's code says that the picture was refused, not that the reading failed."""
    return code.startswith("image")


def is_for_trial(answer: Mapping[str, Any]) -> bool:
    """Whether the model's words were never measured on pictures of this kind."""
    decision = answer["decision"]
    return decision is not None and decision["reason"] == NOT_MEASURED


def caption_to_show(answer: Mapping[str, Any]) -> Mapping[str, str] | None:
    """The caption, of an answer's JSON, where there is one to see and to judge: not of a reading
    that failed, and not where a release that was measured abstained."""
    if answer["error"] is not None or answer["caption"] is None:
        return None
    is_withheld = answer["decision"]["kind"] == "abstain" and not is_for_trial(answer)
    caption: Mapping[str, str] = answer["caption"]
    return None if is_withheld else caption
