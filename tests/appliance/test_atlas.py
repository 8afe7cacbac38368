"""What is said of reference cases: arithmetic, descriptions, the alarm."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from atlas_folders import OPEN, plain_picture
from stand_ins import MemoryLog, ports

from appliance.core.atlas import (
    AtlasCard,
    AtlasCase,
    Neighbour,
    Vector,
    common_statements,
    contrast,
    describe,
    find,
    inconsistency,
    majority,
    moved,
    similar,
)
from appliance.core.consult import consult
from appliance.core.gate import BLANK, Refusal
from appliance.core.ports import Picture
from appliance.errors import AtlasError, ImageError

WORDS = {"melanoma": (1.0, 0.0, 0.0), "nevus": (0.0, 1.0, 0.0), "dark": (0.0, 0.0, 1.0)}


def case(name: str, label: str, findings: str = "dark") -> AtlasCase:
    return AtlasCase(name, label, "skin", findings, f"{label}. {findings}.", OPEN, "0", None)


class ThreeWords:
    """An atlas of a case a word; a picture is its colours."""

    card = AtlasCard("three", "ab" * 32, 3, {}, (OPEN,), 4, 0.5)

    def __init__(self, refused: Refusal | None = None) -> None:
        self.refused, self.asked = refused, list[Vector]()

    def features(self, picture: Picture) -> Vector:
        length = math.hypot(*picture.rgb[:3])
        return [value / length for value in picture.rgb[:3]]

    def refusal(self, picture: Picture, features: Vector) -> Refusal | None:
        return self.refused

    def of_features(self, features: Vector) -> Vector:
        return features

    def of_text(self, text: str) -> Vector:
        return WORDS[text.split(".", maxsplit=1)[0]]

    def nearest(self, vector: Vector, k: int) -> tuple[Neighbour, ...]:
        self.asked.append(vector)
        found = [
            Neighbour(case(word, word), sum(a * b for a, b in zip(vector, place, strict=True)))
            for word, place in WORDS.items()
        ]
        return tuple(sorted(found, key=lambda each: -each.cosine)[:k])


def neighbours(*labels: str) -> list[Neighbour]:
    return [Neighbour(case(str(place), label), 0.9) for place, label in enumerate(labels)]


def labels_of(found: Sequence[Neighbour]) -> list[str]:
    return [neighbour.case.label for neighbour in found]


def test_words_are_added_and_taken_away_and_the_length_is_one_again() -> None:
    changed = moved(WORDS["melanoma"], [WORDS["nevus"]], [WORDS["melanoma"], WORDS["dark"]])
    assert changed == pytest.approx([0, math.sqrt(0.5), -math.sqrt(0.5)])


def test_a_query_of_which_nothing_is_left_is_refused() -> None:
    with pytest.raises(AtlasError, match="nothing is left"):
        contrast(ThreeWords(), "melanoma", [], ["melanoma"], 1)


def test_a_contrast_shows_both_results() -> None:
    found = contrast(ThreeWords(), "melanoma", ["nevus"], ["melanoma"], 1)
    assert labels_of(found.original) == ["melanoma"]
    assert labels_of(found.changed) == ["nevus"]


def test_words_find_the_case_that_fits_them() -> None:
    assert labels_of(find(ThreeWords(), "dark", 2)) == ["dark", "melanoma"]


def test_a_picture_finds_what_looks_like_it() -> None:
    assert labels_of(similar(ThreeWords(), plain_picture((9, 200, 9)), 1)) == ["nevus"]


def test_a_picture_like_nothing_in_the_atlas_finds_nothing() -> None:
    atlas = ThreeWords()
    atlas.card = replace(atlas.card, least_cosine=0.99)
    picture = plain_picture((100, 100, 100))
    assert similar(atlas, picture, 3) == ()
    assert describe(atlas, picture, 3) is None


def test_a_picture_that_shows_nothing_is_refused() -> None:
    with pytest.raises(ImageError, match="it shows nothing") as caught:
        similar(ThreeWords(BLANK), plain_picture((9, 9, 9)), 1)
    assert caught.value.code == "image-blank"


def test_a_description_searches_again_with_what_the_nearest_cases_say() -> None:
    atlas = ThreeWords()
    found = describe(atlas, plain_picture((200, 10, 10)), 3)
    assert found is not None
    assert (found.label, found.agreeing) == ("melanoma", 1)
    assert found.statements[0].text == "dark"
    assert found.text == "melanoma. dark"
    first, second = atlas.asked
    assert second == pytest.approx(moved(first, [WORDS["melanoma"]], []))


def test_only_what_two_cases_state_is_repeated_with_the_cases_that_do() -> None:
    found = [
        Neighbour(case("a", "x", "round, dark, dark"), 0.9),
        Neighbour(case("b", "x", "dark, veil"), 0.8),
        Neighbour(case("c", "y", "veil, dark"), 0.7),
    ]
    statements = common_statements(found)
    assert [(each.text, each.case_ids) for each in statements] == [
        ("dark", ("a", "b", "c")),
        ("veil", ("b", "c")),
    ]


def test_the_nearest_case_decides_a_tie() -> None:
    assert majority(neighbours("y", "x", "x", "y")) == ("y", 2)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("xxxxx", None),
        ("xxxyy", None),
        ("xxyyy", "the nearest reference cases disagree with the caption: 3 y, 2 x"),
        ("xxyyz", "the nearest reference cases disagree with each other: 2 x, 2 y, 1 z"),
        ("yyyyy", "the nearest reference cases disagree with the caption: 5 y"),
        ("xxy", None),
        ("xyy", "the nearest reference cases disagree with the caption: 2 y, 1 x"),
        ("", None),
    ],
)
def test_cases_that_do_not_bear_the_caption_out_are_told(labels: str, said: str | None) -> None:
    assert inconsistency("x", neighbours(*labels)) == said


class OneWord(ThreeWords):
    """An atlas in which every picture lies by the case given, or that fails."""

    def __init__(self, label: str, error: AtlasError | None = None) -> None:
        super().__init__()
        self.label, self.error = label, error

    def features(self, picture: Picture) -> Vector:
        return WORDS["melanoma"]

    def nearest(self, vector: Vector, k: int) -> tuple[Neighbour, ...]:
        if self.error is not None:
            raise self.error
        return tuple(neighbours(*[self.label] * k))


def test_a_caption_that_reference_cases_contradict_is_told_and_recorded() -> None:
    audit = MemoryLog()
    wired = replace(ports(audit=audit), atlas=OneWord("melanocytic nevus"), atlas_cases=5)
    result = consult("x.png", wired, k=0)
    assert result.caption is not None and result.caption.label == "melanoma"
    warning = "the nearest reference cases disagree with the caption: 5 melanocytic nevus"
    assert result.inconsistency == warning and warning in result.limits
    recorded = audit.entries[-1].body["atlas"]
    assert recorded == {"cases": ["0", "1", "2", "3", "4"], "inconsistent": True}


def test_cases_that_bear_a_caption_out_are_not_remarked_on() -> None:
    wired = replace(ports(), atlas=OneWord("melanoma"), atlas_cases=3)
    result = consult("x.png", wired, k=0)
    assert result.inconsistency is None
    assert result.neighbours is not None and len(result.neighbours) == 3
    assert not any("reference cases" in limit for limit in result.limits)


def test_an_atlas_that_fails_takes_nothing_from_the_answer() -> None:
    failing = OneWord("melanoma", AtlasError("the atlas is damaged: /x", "add it again"))
    result = consult("x.png", replace(ports(), atlas=failing, atlas_cases=3), k=0)
    assert result.error is None and result.caption is not None
    assert result.neighbours is None
    assert "no reference cases: the atlas is damaged: /x" in result.limits
