"""Captions that state only what was measured, and the way back: what a caption states, checked.

Owns which findings are stated, in which words, and when a stated one is confirmed. The label and
what it means clinically come from the label table; how a number is measured is not known here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from appliance.core.caption import Caption
from appliance.core.labels import Domain
from training.labels import LabelRow, label_row
from training.measured.finding import LEVELS, Finding, Level
from training.measured.frame import Pixels
from training.measured.measurement import INSTRUMENTS, measured_findings, measured_values
from training.measured.thresholds import read_thresholds

MAX_STATED = 4
SEPARATOR = ", "


def measured_caption(label: str, pixels: Pixels) -> Caption:
    """The caption of a picture with this label.

    Raises: KeyError for a label outside the table, ValueError for what is no RGB picture.
    """
    row = label_row(label)
    return caption_of(row, measured_findings(row.domain, pixels))


def caption_of(row: LabelRow, findings: Sequence[Finding]) -> Caption:
    return Caption(
        label=row.name,
        image_type=row.caption.image_type,
        anatomical_region=row.caption.anatomical_region,
        key_findings=SEPARATOR.join(found.sentence for found in stated(findings)),
        clinical_significance=row.caption.clinical_significance,
    )


def stated(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings that a caption mentions: the first few that are clear.

    Of a picture in which nothing is clear, the most ordinary one is stated.
    """
    clear = tuple(found for found in findings if found.clear)
    return clear[:MAX_STATED] or (min(findings, key=lambda found: found.from_ordinary),)


def stated_findings(text: str) -> dict[str, Level]:
    """The findings that `text` (a caption's key_findings) states, by name.

    What is not one of our own phrases is left out; of a finding stated twice the last counts.
    """
    phrases = [_phrases().get(part) for part in split_phrases(text)]
    return {known[1]: known[2] for known in phrases if known}


@dataclass(frozen=True)
class Checked:
    """How many phrases of a caption's key findings were held against its picture, and how many
    could not be."""

    stated: int
    """Findings in our own phrases."""
    confirmed: int
    """Of those, borne out by the picture."""
    unknown: int
    """Phrases that are not ours: true or not, no measure here can tell."""


def confirmed(caption: Caption, pixels: Pixels, domain: Domain) -> Checked:
    """The caption's findings held against the picture, whose `domain` is not the caption's claim.

    A level is borne out when the measured value is of that level or within the tolerance band
    beside its cut (finding.TOLERANCE). A phrase of another domain is stated and never confirmed.
    """
    values = measured_values(domain, pixels)
    thresholds = read_thresholds()[domain]
    phrases = split_phrases(caption.key_findings)
    ours = [known for phrase in phrases if (known := _phrases().get(phrase))]
    borne_out = sum(
        where == domain and thresholds[name].agrees(level, values[name])
        for where, name, level in ours
    )
    return Checked(len(ours), borne_out, len(phrases) - len(ours))


def evidence(findings: Sequence[Finding]) -> str:
    """One line a finding: the sentence, its number and how it was measured."""
    return "\n".join(
        f"{found.sentence}: {found.name} {found.value:.3g} ({found.unit}), {found.level}; "
        f"{found.method}"
        for found in findings
    )


def split_phrases(text: str) -> list[str]:
    return [part.strip() for part in text.split(SEPARATOR.strip()) if part.strip()]


@cache
def _phrases() -> dict[str, tuple[Domain, str, Level]]:
    """Every phrase a measured caption may contain, and what it states."""
    return {
        measure.phrase(level): (domain, measure.name, level)
        for domain, instrument in INSTRUMENTS.items()
        for measure in instrument.measures
        for level in LEVELS
    }
