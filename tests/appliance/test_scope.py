"""What a picture's tags say, held against what the release was trained and measured on."""

from typing import Any

import pytest

from appliance.core.scope import AGES, NOT_WRITTEN, DomainScope, Facts, limits, read_scope

CHILDREN = "chest films of children of 1 to 5 years"
TABLE: dict[str, dict[str, Any]] = {
    "chest": {
        "pictures": CHILDREN,
        "ages_years": [1, 5],
        "modalities": ["CR", "DX"],
        "body_parts": ["CHEST"],
        "views": ["AP"],
    },
    "skin": {
        "pictures": "dermatoscopic pictures",
        "ages_years": [],
        "modalities": ["DMS"],
        "body_parts": [],
        "views": [],
    },
}
SCOPE = read_scope(TABLE)


def test_an_adult_film_is_named_for_a_release_of_childrens_films() -> None:
    assert limits(SCOPE, "chest", Facts(modality="CR", age="60 to 69 years", view="AP")) == (
        f"the picture's tags say an adult (60 to 69 years); this release was trained and measured "
        f"on {CHILDREN}",
    )


def test_a_clinical_photograph_is_named_for_a_release_of_dermoscopy() -> None:
    (said,) = limits(SCOPE, "skin", Facts(modality="XC"))
    assert "a photograph by an external camera" in said and "dermatoscopic pictures" in said
    assert limits(SCOPE, "skin", Facts(modality="DMS")) == ()


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (Facts(age="6 to 11 years"), "a child (6 to 11 years)"),
        (Facts(age="under 1 year"), "a child (under 1 year)"),
        (Facts(modality="CT"), "computed tomography"),
        (Facts(body_part="KNEE"), "the knee"),
        (Facts(view="LATERAL"), "a view from the side"),
        (Facts(body_part="KNEE", modality="MR"), "magnetic resonance and the knee"),
    ],
)
def test_every_tag_outside_is_named_in_one_sentence(facts: Facts, words: str) -> None:
    (said,) = limits(SCOPE, "chest", facts)
    assert said.startswith(f"the picture's tags say {words}; this release")


@pytest.mark.parametrize(
    "facts",
    [
        None,
        Facts(),
        Facts(modality="DX", age="1 to 5 years", view="AP", body_part="LUNG"),
        Facts(text_burned_in=True),
    ],
)
def test_nothing_is_claimed_within_the_scope_or_without_tags(facts: Facts | None) -> None:
    assert limits(SCOPE, "chest", facts) == ()


def test_a_release_that_does_not_say_is_told_so() -> None:
    assert limits(None, "chest", None) == (NOT_WRITTEN,)
    assert limits(SCOPE, "fundus", Facts(modality="OP")) == (NOT_WRITTEN,)


@pytest.mark.parametrize(
    "value",
    [
        {"modality": "DOE^JANE"},
        {"body_part": "1.2.840.113619.2.1"},
        {"view": "<b>"},
        {"age": "61 years"},
        {"text_burned_in": "YES"},
    ],
)
def test_a_value_outside_the_closed_lists_cannot_pass(value: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="closed lists"):
        Facts(**value)  # type: ignore[arg-type]


def test_every_age_to_110_is_in_one_band() -> None:
    for years in range(111):
        assert sum(first <= years <= last for first, last in AGES.values()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"modalities": ["XRAY"]},
        {"body_parts": ["LEFT BIG TOE"]},
        {"views": ["FRONT"]},
        {"ages_years": [1]},
    ],
)
def test_a_scope_that_could_never_match_is_refused(change: dict[str, list[object]]) -> None:
    with pytest.raises(ValueError):
        read_scope({"chest": {**TABLE["chest"], **change}})


def test_a_scope_names_known_domains_with_all_keys() -> None:
    with pytest.raises(ValueError, match="bone"):
        read_scope({"bone": TABLE["chest"]})
    with pytest.raises(KeyError, match="views"):
        read_scope({"chest": {k: v for k, v in TABLE["chest"].items() if k != "views"}})
    assert isinstance(SCOPE["chest"], DomainScope)
