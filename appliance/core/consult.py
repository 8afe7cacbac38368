"""One consultation, from a picture to a recorded answer: the one path of CLI, TUI and batch.

Intent is recorded before the act and the outcome after it; nothing is returned that is not
recorded. A refusal or a failure is an outcome too.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from appliance.core.answer import answer_json
from appliance.core.atlas import Atlas, Neighbour, inconsistency, similar
from appliance.core.caption import Caption, CaptionFormatError, parse_caption
from appliance.core.cases import CaseKeeper
from appliance.core.decision import Decision, believe, decide
from appliance.core.entry import Entry
from appliance.core.gate import NOT_FITTED, Refusal, refusal, unfamiliar
from appliance.core.labels import Domain
from appliance.core.ports import (
    CANCELLED,
    AuditLog,
    Captioner,
    Guidelines,
    Images,
    Passage,
    Picture,
    Reading,
    ReleaseCard,
)
from appliance.core.query import GuidelineQuery, caption_queries
from appliance.core.scope import NOT_WRITTEN, TAGS_OUTSIDE, limits
from appliance.core.structure import STRUCTURE_VERSION
from appliance.core.synthetic_mark import drawn
from appliance.errors import (
    ApplianceError,
    AtlasError,
    AuditError,
    CaseError,
    ImageError,
    ModelError,
    ReleaseError,
)

Stage = Literal["opening", "reading", "looking up", "recording"]


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
    risk: float
    """The site's risk target, one that the release has thresholds for."""
    cases: CaseKeeper | None = None
    """None: nothing is kept to come back to."""
    cancel: Callable[[], None] = lambda: None
    """From another thread: the reading in progress ends at once, with a ModelError."""
    atlas: Atlas | None = None
    """None: no reference cases are shown beside, and nothing is said of them."""
    atlas_cases: int = 0
    """How many of them are shown."""
    guideline_set: str | None = None
    """The name of what `guidelines` looks up."""


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
    limits: tuple[str, ...] = ()
    """Where the picture lies outside what the release was trained and measured on, and where
    reference cases disagree."""
    limits_recorded: tuple[str, ...] = ()
    """The same as the log has it: without what tags say, and of an error its code alone, for its
    message may name a path."""
    neighbours: tuple[Neighbour, ...] | None = None
    """Reference cases that look alike, as teaching material; None where none were looked for."""
    inconsistency: str | None = None
    """That they disagree with each other or with the caption; it stands in `limits`, too."""
    passages: tuple[Passage, ...] = ()
    guideline_set: str | None = None
    """The guidelines that were looked up; None where none were."""
    entry: Entry | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    error: ApplianceError | None = None
    case_id: str | None = None
    """Under which it is kept; None where it is not."""


def consult(
    path: str, ports: Ports, k: int, progress: Callable[[Stage], None] = lambda stage: None
) -> Consultation:
    """Caption one picture and find at most `k` passages.

    A picture that fails comes back with `error` set, recorded. A case that cannot be kept is said
    in `limits`: the record is what counts. Raises: AuditError, when the act could not be recorded
    and so must not be shown.
    """
    release = ports.captioner.release
    result = Consultation(path, release)
    asked = ports.audit.append("caption.asked", _made_with(release))
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
    _keep(result, asked, ports.cases)
    result.entry = ports.audit.append("caption.answered", _outcome(result, ports.audit))
    _prove(result, result.entry, ports.cases)
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
    mark = ports.audit.image_mark(result.picture.sha256)
    ports.audit.append("image.opened", {"image": mark, "kind": result.picture.kind})
    _refuse(refusal(release.gate, result.picture.measures), result.path)
    _refuse(drawn(result.picture.rgb, result.picture.size), result.path)
    lap("open")

    progress("reading")
    unusual = _unusual(result.picture, result.path, ports.captioner)
    reading, result.caption = _read(result.picture, result.path, ports.captioner)
    belief = believe(release.labels, reading.label_scores, release.calibration)
    result.label_probabilities, result.domain = dict(belief.probability), belief.domain
    result.decision = decide(release.labels, belief, release.calibration, ports.risk)
    known = limits(release.scope, result.domain, result.picture.facts)
    result.limits = (*known, *unusual)
    recorded = (said if said == NOT_WRITTEN else TAGS_OUTSIDE for said in known)
    result.limits_recorded = (*recorded, *unusual)
    lap("caption")

    if ports.atlas is not None:
        _look_beside(result, ports.atlas, ports.atlas_cases, result.picture, result.caption)
        lap("atlas")

    if ports.guidelines is not None:
        progress("looking up")
        queries = caption_queries(result.decision, result.caption, result.domain)
        result.guideline_set = ports.guideline_set
        result.passages = find_passages(ports.guidelines, queries, k)
        lap("lookup")


def _look_beside(
    result: Consultation, atlas: Atlas, k: int, picture: Picture, caption: Caption
) -> None:
    """An atlas that fails, or the model at work for it, takes nothing from the answer; that it
    failed is said. Raises: ModelError when it was cancelled."""
    try:
        result.neighbours = similar(atlas, picture, k, let_through=True)
    except (AtlasError, ModelError, ReleaseError) as exc:
        if exc.code == CANCELLED:
            raise
        _limit(result, "no reference cases", exc)
        return
    result.inconsistency = inconsistency(caption.label, result.neighbours)
    if result.inconsistency is not None:
        _limit(result, result.inconsistency)


def _limit(result: Consultation, said: str, because: ApplianceError | None = None) -> None:
    message, code = (f": {because.message}", f": {because.code}") if because else ("", "")
    result.limits = (*result.limits, said + message)
    result.limits_recorded = (*result.limits_recorded, said + code)


def _read(picture: Picture, path: str, captioner: Captioner) -> tuple[Reading, Caption]:
    """An answer that is no caption is asked for once more, with nothing kept of the picture.

    Raises: ModelError, ReleaseError.
    """
    labels = captioner.release.labels
    reading = captioner.read(picture)
    try:
        return reading, parse_caption(reading.text, labels)
    except CaptionFormatError:
        reading = captioner.read(picture, anew=True)
    try:
        return reading, parse_caption(reading.text, labels)
    except CaptionFormatError as exc:
        raise ModelError(
            f"the model's answer is not a caption ({exc}): {path}",
            "try another picture of the same; if it stays, run `appliance release verify`",
            code="caption-format",
        ) from exc


def find_passages(
    guidelines: Guidelines, queries: tuple[GuidelineQuery, ...], k: int
) -> tuple[Passage, ...]:
    """The best passages of several queries in turn, each once, at most `k`."""
    ranked = [list(guidelines.find(query, k)) for query in queries]
    chosen: dict[str, Passage] = {}
    for place in range(k):
        for passages in ranked:
            if place < len(passages):
                chosen.setdefault(passages[place].passage_id, passages[place])
    return tuple(chosen.values())[:k]


def _unusual(picture: Picture, path: str, captioner: Captioner) -> tuple[str, ...]:
    """What to say of a picture unlike most. Raises: ImageError for one unlike any."""
    familiarity = captioner.release.gate.familiarity
    if familiarity is None:
        return (NOT_FITTED,)
    found = unfamiliar(familiarity, captioner.features(picture), picture.measures)
    if isinstance(found, str):
        return (found,)
    _refuse(found, path)
    return ()


def _refuse(found: Refusal | None, path: str) -> None:
    if found is not None:
        message = f"cannot read this image, {found.reason}: {path}"
        raise ImageError(message, found.hint, code=found.code)


def _keep(result: Consultation, asked: Entry, cases: CaseKeeper | None) -> None:
    if cases is not None:
        try:
            result.case_id = cases.keep(asked, answer_json(result), result.picture).case_id
        except CaseError as exc:
            _unkept(result, exc)


def _prove(result: Consultation, entry: Entry, cases: CaseKeeper | None) -> None:
    if cases is not None and result.case_id is not None:
        try:
            cases.prove(result.case_id, entry.seq, entry.hash)
        except CaseError as exc:
            _unkept(result, exc)


def _unkept(result: Consultation, exc: CaseError) -> None:
    result.case_id = None
    _limit(result, "recorded, but not kept as a case", exc)


def _made_with(release: ReleaseCard) -> dict[str, Any]:
    return {
        "release": release.sha256,
        "prompt": release.prompt_version,
        "structure": STRUCTURE_VERSION,
    }


def _outcome(result: Consultation, audit: AuditLog) -> dict[str, Any]:
    """What the log keeps: no path, no name, and the picture only by its keyed hash."""
    picture, error = result.picture, result.error
    return {
        **_made_with(result.release),
        "image": audit.image_mark(picture.sha256) if picture else None,
        "caption": asdict(result.caption) if result.caption else None,
        "label_probabilities": {k: round(p, 6) for k, p in result.label_probabilities.items()},
        "decision": asdict(result.decision) if result.decision else None,
        "note": picture.note if picture else None,
        "limits": list(result.limits_recorded),
        "guidelines": result.guideline_set,
        "passages": [passage.passage_id for passage in result.passages],
        "atlas": _beside(result),
        "timings_ms": result.timings_ms,
        "error": error.code if error else None,
        "case": result.case_id,
    }


def _beside(result: Consultation) -> dict[str, Any] | None:
    if result.neighbours is None:
        return None
    return {
        "cases": [neighbour.case.case_id for neighbour in result.neighbours],
        "inconsistent": result.inconsistency is not None,
    }
