"""The few facts that may leave a DICOM file, generalised to the closed lists of core/scope.

Used in the decode child only. Whatever is in no list becomes None; no name, date, number or text
passes.
"""

import re
from datetime import date
from typing import Any

from appliance.core.scope import AGES, BODY_PARTS, MODALITIES

DERMOSCOPY_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.7"
"""Dermoscopic Photography Image Storage (DICOM PS3.4, B.5)."""
VIEWS = {
    "AP": "AP",
    "PA": "PA",
    **dict.fromkeys(("LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT"), "LATERAL"),
    **dict.fromkeys(("LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "OBLIQUE"), "OBLIQUE"),
}
YEARS_IN = {"Y": 1, "M": 12, "W": 52, "D": 365}
"""Units of an age string (DICOM PS3.5, 6.2, AS), and how many make a year."""
OLDEST_YEARS = 100
"""An older one is a date filled in for want of a true one."""


def facts(data: Any) -> dict[str, str | bool | None]:
    """The keys of core/scope `Facts`; `data` is pydicom's data set."""
    modality = _code(data, "Modality")
    if str(data.get("SOPClassUID", "")) == DERMOSCOPY_CLASS:
        modality = "DMS"
    body_part = _code(data, "BodyPartExamined")
    return {
        "modality": modality if modality in MODALITIES else None,
        "body_part": body_part if body_part in BODY_PARTS else None,
        "view": VIEWS.get(_code(data, "ViewPosition")),
        "age": _age_band(data),
        "text_burned_in": {"YES": True, "NO": False}.get(_code(data, "BurnedInAnnotation")),
    }


def _code(data: Any, keyword: str) -> str:
    return re.sub(r"[\s_]", "", str(data.get(keyword) or "")).upper()


def _age_band(data: Any) -> str | None:
    years = _stated_age(_code(data, "PatientAge"))
    if years is None:
        born, seen = _date(data, "PatientBirthDate"), _date(data, "StudyDate")
        if born is None or seen is None:
            return None
        years = seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day))
    if not 0 <= years <= OLDEST_YEARS:
        return None
    return next(band for band, (first, last) in AGES.items() if first <= years <= last)


def _stated_age(text: str) -> int | None:
    """Whole years; None for what is no age, and for 000Y, which stands for an unknown one."""
    found = re.fullmatch(r"(\d{1,3})([YMWD])", text)
    if found is None or text == "000Y":
        return None
    return int(found[1]) // YEARS_IN[found[2]]


def _date(data: Any, keyword: str) -> date | None:
    try:
        return date.fromisoformat(_code(data, keyword))
    except ValueError:
        return None
