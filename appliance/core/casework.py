"""What a clinician does with the cases that were kept, each act recorded without what it is about.

The screen and the commands call these, so that neither can skip the record. An entry names the
case, never its path, reference, note or words.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from appliance.core.answer import caption_to_show
from appliance.core.caption import Caption, CaptionFormatError, caption_json, parse_caption
from appliance.core.cases import Case, Cases, Verdict
from appliance.core.decision import believe
from appliance.core.labels import LabelSet
from appliance.core.ports import AuditLog, Captioner, Picture
from appliance.core.record import recorded
from appliance.errors import CaseError, ConfigError

CLOSE = 1e-4
"""As far as a probability may be from what it was."""


@dataclass(frozen=True)
class Again:
    """What the same release said of the same pixels another time."""

    is_same_text: bool
    largest_difference: float
    """Between a label's probability then and now."""

    @property
    def is_same(self) -> bool:
        return self.is_same_text and self.largest_difference <= CLOSE


def open_case(cases: Cases, audit: AuditLog, case_id: str) -> Case:
    """A case to look at. Raises: CaseError when there is none; AuditError."""
    with recorded(audit, "case.read", _named(case_id)):
        return found_case(cases, case_id)


def annotate_case(
    cases: Cases,
    audit: AuditLog,
    case_id: str,
    *,
    reference: str | None = None,
    note: str | None = None,
) -> None:
    """None leaves what is there. Raises: CaseError, AuditError."""
    with recorded(audit, "case.annotate", _named(case_id)) as outcome:
        case = found_case(cases, case_id)
        cases.annotate(
            case_id,
            reference=case.reference if reference is None else reference,
            note=case.note if note is None else note,
        )
        outcome["case"] = case_id


def judge_case(
    cases: Cases,
    audit: AuditLog,
    labels: LabelSet | None,
    case_id: str,
    verdict: Verdict,
    corrected: Mapping[str, str] | None = None,
) -> None:
    """`corrected`: the fields of the caption that the clinician would have otherwise; `labels` are
    those of the release that said it, needed for a correction.

    Raises: CaseError when there is no such case, or no caption that was shown; ConfigError when
    the correction is no caption; AuditError.
    """
    with recorded(audit, "case.judge", {**_named(case_id), "verdict": verdict}) as outcome:
        answer = found_case(cases, case_id).answer
        said = caption_to_show(answer)
        if said is None:
            raise CaseError(
                f"case {case_id} has no caption to judge: it abstained or failed",
                "judge one that was answered",
            )
        caption = None
        if verdict == "corrected":
            if labels is None:
                raise CaseError(
                    f"the release that said it is not here: {answer['release']['name']},"
                    f" {answer['release']['sha256'][:12]}",
                    "bring it back; accept or reject the caption as it stands",
                )
            caption = corrected_caption(said, corrected or {}, labels)
        cases.judge(case_id, verdict, caption)
        outcome |= {"case": case_id, "verdict": verdict}
        if caption:
            outcome["label"] = caption["label"]


def impress_case(cases: Cases, audit: AuditLog, case_id: str, label: str) -> None:
    """Keep a second reader's own label, and record whether the release's decision holds it.

    Raises: CaseError, AuditError.
    """
    with recorded(audit, "case.impression", _named(case_id)) as outcome:
        decision = found_case(cases, case_id).answer["decision"]
        cases.impress(case_id, label)
        agrees = decision is not None and label in decision["labels"]
        outcome |= {"case": case_id, "label": label, "agrees": agrees}


def read_again(cases: Cases, audit: AuditLog, captioner: Captioner, case_id: str) -> Again:
    """Read the kept pixels once more, nothing kept of the first reading used.

    Raises: CaseError when no caption is kept, or another release said it; ModelError,
    ReleaseError, AuditError.
    """
    release = captioner.release
    with recorded(audit, "case.again", {**_named(case_id), "release": release.sha256}) as outcome:
        case = found_case(cases, case_id)
        answer, rgb = case.answer, cases.pixels(case_id)
        if answer["caption"] is None or rgb is None:
            raise CaseError(
                f"case {case_id} has no caption to compare with", "choose one that was answered"
            )
        if answer["release"]["sha256"] != release.sha256:
            raise CaseError(
                f"case {case_id} was read by another release: {answer['release']['name']},"
                f" {answer['release']['sha256'][:12]}",
                "bring that release back to this machine",
            )
        image = answer["image"]
        picture = Picture(
            rgb, case.size, image["sha256"], image["kind"], image["width"], image["height"], None
        )
        reading = captioner.read(picture, anew=True)
        try:
            caption = asdict(parse_caption(reading.text, release.labels))
        except CaptionFormatError:
            caption = {}
        now = believe(release.labels, reading.label_scores, release.calibration).probability
        then = answer["label_probabilities"]
        found = Again(
            caption == answer["caption"], max(abs(now[label] - then[label]) for label in now)
        )
        outcome |= {
            "case": case_id,
            "same": found.is_same,
            "largest_difference": round(found.largest_difference, 9),
        }
    return found


def corrected_caption(
    said: Mapping[str, str], corrected: Mapping[str, str], labels: LabelSet
) -> dict[str, str]:
    """The caption with what was corrected in it. Raises: ConfigError when that is none, or
    nothing of it is changed."""
    if unknown := set(corrected) - set(said):
        raise ConfigError(
            f"not a field of a caption: {sorted(unknown)[0]!r}", "known: " + ", ".join(said)
        )
    whole = {**said, **corrected}
    if whole == said:
        raise ConfigError(
            "the correction changes nothing", "give the field that is otherwise, or accept it"
        )
    try:
        parse_caption(caption_json(Caption(**whole)), labels)
    except CaptionFormatError as exc:
        raise ConfigError(
            f"the correction is no caption: {exc}",
            "give a label of the release (`appliance release show`) and whole sentences",
        ) from exc
    return whole


def found_case(cases: Cases, case_id: str) -> Case:
    """Raises: CaseError."""
    if (case := cases.get(case_id)) is None:
        raise CaseError(f"no case {case_id!r}", "see `appliance cases list`")
    return case


def _named(case_id: str) -> dict[str, str]:
    """What was asked for, unless it is no case's name: somebody may have typed a patient's."""
    return {"case": case_id} if re.fullmatch("[0-9a-f]{16}", case_id) else {}
