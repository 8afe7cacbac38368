"""What a release was trained and measured on, and what of a picture's tags lies outside it.

Owns the closed lists that a tag's value must be in to be known here at all: a name, a number or a
free text cannot pass. Claims nothing where the tags say nothing.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from appliance.core.labels import DOMAINS, Domain

MODALITIES = {
    "CR": "a computed radiograph",
    "DX": "a digital radiograph",
    "RG": "a radiograph on film",
    "RF": "fluoroscopy",
    "XA": "angiography",
    "MG": "a mammogram",
    "IO": "a radiograph of teeth",
    "PX": "a panoramic radiograph of the jaws",
    "CT": "computed tomography",
    "MR": "magnetic resonance",
    "US": "ultrasound",
    "IVUS": "ultrasound within a vessel",
    "NM": "nuclear medicine",
    "PT": "positron emission tomography",
    "OP": "a photograph of the eye",
    "OPT": "optical tomography of the eye",
    "OCT": "optical coherence tomography",
    "XC": "a photograph by an external camera",
    "DMS": "dermoscopy",
    "ES": "endoscopy",
    "GM": "general microscopy",
    "SM": "slide microscopy",
    "ECG": "an electrocardiogram",
    "RTDOSE": "a map of radiation dose",
    "RTIMAGE": "a radiotherapy image",
    "SEG": "a segmentation",
}
"""DICOM PS3.3, C.7.3.1.1.1, those that come as pictures. OT (other) and SC say nothing."""

BODY_PARTS = {
    "CHEST": "the chest",
    "LUNG": "the chest",
    "SKIN": "the skin",
    "EYE": "the eye",
    "RETINA": "the eye",
    "ABDOMEN": "the abdomen",
    "PELVIS": "the pelvis",
    "HEAD": "the head",
    "SKULL": "the head",
    "BRAIN": "the head",
    "NECK": "the neck",
    "SPINE": "the spine",
    "CSPINE": "the spine",
    "TSPINE": "the spine",
    "LSPINE": "the spine",
    "SHOULDER": "the shoulder",
    "ARM": "the arm",
    "ELBOW": "the elbow",
    "WRIST": "the wrist",
    "HAND": "the hand",
    "HIP": "the hip",
    "LEG": "the leg",
    "KNEE": "the knee",
    "ANKLE": "the ankle",
    "FOOT": "the foot",
    "EXTREMITY": "a limb",
    "BREAST": "the breast",
    "HEART": "the heart",
    "WHOLEBODY": "the whole body",
}
"""DICOM PS3.16, annex L, the common ones."""

VIEWS = {
    "AP": "an antero-posterior view",
    "PA": "a postero-anterior view",
    "LATERAL": "a view from the side",
    "OBLIQUE": "an oblique view",
}

AGES = {
    "under 1 year": (0, 0),
    "1 to 5 years": (1, 5),
    "6 to 11 years": (6, 11),
    "12 to 17 years": (12, 17),
    "18 to 29 years": (18, 29),
    **{f"{first} to {first + 9} years": (first, first + 9) for first in range(30, 90, 10)},
    "90 years or more": (90, 150),
}
"""Bands wide enough to point at nobody: first and last year of age."""

NOT_WRITTEN = "what this release was trained on is not written in it"
TAGS_OUTSIDE = "the picture's tags say what this release was not trained and measured on"
"""What the log keeps of the sentence that names it: what tags say is shown, never recorded."""


@dataclass(frozen=True)
class Facts:
    """What a picture's tags tell, generalised; None where they do not.

    Raises: ValueError for a value that is not of the closed lists above.
    """

    modality: str | None = None
    body_part: str | None = None
    view: str | None = None
    age: str | None = None
    text_burned_in: bool | None = None

    def __post_init__(self) -> None:
        lists: tuple[Container[object], ...]
        lists = (MODALITIES, BODY_PARTS, VIEWS, AGES, (True, False))
        for value, known in zip(vars(self).values(), lists, strict=True):
            if value is not None and value not in known:
                raise ValueError("a tag's value is not of the closed lists")


@dataclass(frozen=True)
class DomainScope:
    """What a release knows of one domain. An empty list claims nothing."""

    pictures: str
    """In words that follow "trained and measured on": "chest films of children of 1 to 5 years"."""
    ages_years: tuple[int, ...]
    """First and last year of age."""
    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]
    views: tuple[str, ...]

    def __post_init__(self) -> None:
        for codes, known in (
            (self.modalities, MODALITIES),
            (self.body_parts, BODY_PARTS),
            (self.views, VIEWS),
        ):
            if unknown := sorted(set(codes) - set(known)):
                raise ValueError(f"not known in a scope: {', '.join(unknown)}")
        if len(self.ages_years) not in (0, 2):
            raise ValueError(f"ages are a first and a last year, not {list(self.ages_years)}")


Scope = Mapping[Domain, DomainScope]


def read_scope(table: Mapping[str, Mapping[str, Any]]) -> Scope:
    """As written in release.json. Raises: ValueError, KeyError, TypeError."""
    if unknown := sorted(set(table) - set(DOMAINS)):
        raise ValueError(f"the scope names an unknown domain: {', '.join(unknown)}")
    return {
        domain: DomainScope(
            str(table[domain]["pictures"]),
            *(tuple(table[domain][key]) for key in ("ages_years", "modalities")),
            *(tuple(table[domain][key]) for key in ("body_parts", "views")),
        )
        for domain in DOMAINS
        if domain in table
    }


def limits(scope: Scope | None, domain: Domain | None, facts: Facts | None) -> tuple[str, ...]:
    """Plain sentences on where the picture lies outside what the release knows.

    `domain` is what the release took the picture for, None when it was not asked; `facts` are None
    for a picture without tags.
    """
    if scope is None or (domain is not None and domain not in scope):
        return (NOT_WRITTEN,)
    if domain is None or facts is None:
        return ()
    known = scope[domain]
    outside = []
    if facts.age and known.ages_years and not _overlap(AGES[facts.age], known.ages_years):
        grown = "an adult" if AGES[facts.age][0] >= 18 else "a child"
        outside.append(f"{grown} ({facts.age})")
    for code, codes, words in (
        (facts.modality, known.modalities, MODALITIES),
        (facts.body_part, known.body_parts, BODY_PARTS),
        (facts.view, known.views, VIEWS),
    ):
        if code and codes and words[code] not in {words[each] for each in codes}:
            outside.append(words[code])
    if not outside:
        return ()
    return (
        f"the picture's tags say {' and '.join(outside)}; this release was trained and measured on "
        f"{known.pictures}",
    )


def _overlap(band: tuple[int, int], years: tuple[int, ...]) -> bool:
    return band[0] <= years[1] and years[0] <= band[1]
