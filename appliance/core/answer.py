"""A consultation as JSON: the contract of `caption --json`, and what is kept of a case."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from appliance.core.atlas import TEACHING, neighbour_json

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
