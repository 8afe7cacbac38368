"""One consultation, from a picture to a recorded answer: the one path of CLI, TUI and batch.

Intent is recorded before the act and the outcome after it; nothing is returned that is not
recorded. A refusal or a failure is an outcome too.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from appliance.core.caption import Caption, CaptionFormatError, parse_caption
from appliance.core.decision import Decision, decide, likeliest_domain, probabilities
from appliance.core.entry import Entry
from appliance.core.labels import Domain
from appliance.core.ports import (
    AuditLog,
    Captioner,
    Guidelines,
    Images,
    Passage,
    Picture,
    ReleaseCard,
)
from appliance.core.query import guideline_queries
from appliance.errors import ApplianceError, AuditError, ImageError, ModelError

Stage = Literal["opening", "reading", "looking up", "recording"]

BLANK_SPREAD = 8
"""A picture whose 5th and 95th brightness percentiles differ by less (of 255) shows nothing."""


@dataclass(frozen=True)
class Ports:
    """What a consultation needs of the outside."""

    images: Images
    captioner: Captioner
    guidelines: Guidelines | None
    """None: no passages are looked up."""
    audit: AuditLog
    clock_s: Callable[[], float]
    """Monotonic seconds."""


@dataclass
class Consultation:
    """The answer to one picture. Every field is there; None where it was not reached."""

    path: str
    release: ReleaseCard
    picture: Picture | None = None
    caption: Caption | None = None
    domain: Domain | None = None
    label_probabilities: dict[str, float] = field(default_factory=dict)
    decision: Decision | None = None
    passages: tuple[Passage, ...] = ()
    entry: Entry | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    error: ApplianceError | None = None


def consult(
    path: str, ports: Ports, k: int, progress: Callable[[Stage], None] = lambda stage: None
) -> Consultation:
    """Caption one picture and find at most `k` passages.

    A picture that fails comes back with `error` set, recorded. Raises: AuditError, when the act
    could not be recorded and so must not be shown.
    """
    release = ports.captioner.release
    result = Consultation(path, release)
    ports.audit.append(
        "caption.asked", {"release": release.sha256, "prompt": release.prompt_version}
    )
    try:
        _answer(result, ports, k, progress)
    except AuditError:
        raise
    except ApplianceError as exc:
        result.error = exc
    except Exception:
        unforeseen = {**_outcome(result, ports.audit), "error": "unforeseen"}
        ports.audit.append("caption.answered", unforeseen)
        raise
    progress("recording")
    result.entry = ports.audit.append("caption.answered", _outcome(result, ports.audit))
    return result


def _answer(result: Consultation, ports: Ports, k: int, progress: Callable[[Stage], None]) -> None:
    started = ports.clock_s()

    def lap(stage: str) -> None:
        nonlocal started
        now = ports.clock_s()
        result.timings_ms[stage] = round((now - started) * 1000, 1)
        started = now

    release = result.release
    progress("opening")
    result.picture = ports.images.open(result.path, release.image_size)
    _refuse_blank(result.picture, result.path)
    lap("open")

    progress("reading")
    reading = ports.captioner.read(result.picture)
    try:
        result.caption = parse_caption(reading.text, release.labels)
    except CaptionFormatError as exc:
        raise ModelError(
            f"the model's answer is not a caption ({exc}): {result.path}",
            "try again; if it stays, run `appliance release verify`",
            code="caption-format",
        ) from exc
    values = probabilities(reading.label_scores, release.calibration.temperature)
    result.label_probabilities = dict(zip(release.labels.names, values, strict=True))
    result.domain, _ = likeliest_domain(release.labels, result.label_probabilities)
    result.decision = decide(release.labels, result.label_probabilities, release.calibration)
    lap("caption")

    if ports.guidelines is not None:
        progress("looking up")
        queries = guideline_queries(result.decision)
        result.passages = find_passages(ports.guidelines, queries, k)
        lap("lookup")


def find_passages(guidelines: Guidelines, queries: tuple[str, ...], k: int) -> tuple[Passage, ...]:
    """The best passages of several queries in turn, each once, at most `k`."""
    ranked = [list(guidelines.find(query, k)) for query in queries]
    chosen: dict[str, Passage] = {}
    for place in range(k):
        for passages in ranked:
            if place < len(passages):
                chosen.setdefault(passages[place].passage_id, passages[place])
    return tuple(chosen.values())[:k]


def _refuse_blank(picture: Picture, path: str) -> None:
    brightness = sorted(picture.rgb[1::3])
    spread = brightness[len(brightness) * 95 // 100] - brightness[len(brightness) * 5 // 100]
    if spread < BLANK_SPREAD:
        raise ImageError(
            f"cannot read this image, it shows nothing (almost one colour): {path}",
            "take the picture again, in focus and in good light",
            code="image-blank",
        )


def _outcome(result: Consultation, audit: AuditLog) -> dict[str, Any]:
    """What the log keeps: no path, no name, and the picture only by its keyed hash."""
    picture, error = result.picture, result.error
    return {
        "release": result.release.sha256,
        "prompt": result.release.prompt_version,
        "image": audit.image_mark(picture.sha256) if picture else None,
        "caption": asdict(result.caption) if result.caption else None,
        "label_probabilities": {k: round(p, 6) for k, p in result.label_probabilities.items()},
        "decision": asdict(result.decision) if result.decision else None,
        "passages": [passage.passage_id for passage in result.passages],
        "timings_ms": result.timings_ms,
        "error": error.code if error else None,
    }
