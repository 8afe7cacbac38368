"""What is asked of the guidelines for a caption or a person's words."""

import pytest

from appliance.core.caption import Caption
from appliance.core.decision import RISK, Decision
from appliance.core.query import caption_queries, typed_query
from appliance.core.synonyms import SYNONYMS, names_of_the_same

CAPTION = Caption(
    "herpes zoster", "photograph", "chest wall", "grouped vesicles in a band", "antiviral early"
)


def test_a_caption_is_asked_for_by_label_region_findings_and_significance() -> None:
    (query,) = caption_queries(Decision("label", ("herpes zoster",), "", RISK), CAPTION)
    assert query.text == (
        "herpes zoster: herpes zoster, chest wall, grouped vesicles in a band. antiviral early"
    )
    assert query.also == ("shingles", "zoster", "kayap")


def test_the_other_labels_of_a_set_are_asked_for_without_the_captions_findings() -> None:
    decision = Decision("set", ("herpes zoster", "scabies"), "", RISK)
    first, second = caption_queries(decision, CAPTION)
    assert "vesicles" in first.text
    assert second.text == "scabies: management and referral"


def test_nothing_is_asked_when_it_abstains() -> None:
    assert caption_queries(Decision("abstain", (), "unsure", RISK), CAPTION) == ()


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("rawatan kudis pada kanak-kanak", "scabies"),
        ("TB treatment", "tuberculosis"),
        ("ringworm of the scalp", "tinea"),
        ("Cacar Air", "chickenpox"),
    ],
)
def test_other_names_are_found_in_english_and_malay(typed: str, name: str) -> None:
    assert name in typed_query(typed).also


def test_a_question_in_malay_is_asked_in_english_when_it_finds_nothing() -> None:
    asked = typed_query("Rawatan kurap di  kulit kepala kanak-kanak")
    assert asked.text == "Rawatan kurap di  kulit kepala kanak-kanak"
    assert asked.otherwise is not None
    assert asked.otherwise.text == "treatment tinea of scalp children"
    assert "ringworm" in asked.otherwise.also


@pytest.mark.parametrize("typed", ["treatment of scabies", "psoriasis", "dibuka", "x-di", ""])
def test_a_question_that_holds_no_malay_is_asked_once(typed: str) -> None:
    assert typed_query(typed).otherwise is None


def test_a_name_is_found_as_a_whole_word_only() -> None:
    assert names_of_the_same("typed text about beds") == ()
    assert "pulmonary embolism" not in names_of_the_same("a peculiar pebble")


def test_a_longer_name_is_not_taken_for_a_shorter_one_in_it() -> None:
    assert "ringworm" not in names_of_the_same("tinea versicolor of the chest")


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("retinal artery occlusion", "retinal vein occlusion"),
        ("cardiomegaly", "cardiac failure"),
        ("miopia", "pathological myopia"),
        ("lelah", "asthma"),
        ("sakit mata", "conjunctivitis"),
        ("non proliferative diabetic retinopathy", "pdr"),
    ],
)
def test_what_is_managed_differently_is_no_other_name(text: str, other: str) -> None:
    assert other not in names_of_the_same(text)


def test_no_name_stands_twice_in_a_row_and_all_are_lower_case() -> None:
    for row in SYNONYMS:
        assert len(set(row.english)) == len(row.english)
        assert all(name == name.casefold() for name in (*row.english, *row.malay))
