"""Claims about what a document says of itself: publisher, ISBN, edition, and whether it stands."""

from datetime import date

import pytest

from cpg_store.imprint import Imprint, read_imprint, without_title
from cpg_store.page import Block, Page, Reading


def imprint(*texts: str, aside: str = "") -> Imprint:
    blocks = (Block("heading", "Management of Wounds", 1), *(Block("paragraph", t) for t in texts))
    return read_imprint(Reading((Page(1, None, blocks),), aside=aside), "wounds")


@pytest.mark.parametrize(
    ("text", "publisher"),
    [
        ("Published by:\nHealth Technology Section\nLevel 4", "Health Technology Section"),
        (
            "\u00a9 World Health Organization 2025. Some rights reserved.",
            "World Health Organization",
        ),
        ("Issued for the Ministry of Health Malaysia in June", "Ministry of Health Malaysia"),
        ("Wash your hands.", None),
    ],
)
def test_the_publisher_is_who_is_named_as_such(text: str, publisher: str | None) -> None:
    assert imprint(text).publisher == publisher


@pytest.mark.parametrize(
    ("text", "isbn"),
    [
        ("ISBN 978-92-4-154992-9", "9789241549929"),
        ("eISBN\n\n: 978-967-2887-75-1", "9789672887751"),
        ("ISBN 0-306-40615-2", "0306406152"),
        ("ISBN 978-92-4-154992-8", None),
    ],
)
def test_an_isbn_counts_when_its_check_digit_does(text: str, isbn: str | None) -> None:
    assert imprint(text).isbn == isbn


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("It was issued in 2024 and will be reviewed in four years (2028) or sooner.", 2028),
        ("Review date: 30 June 2027", date(2027, 6, 30)),
        ("Valid until February 2028", date(2028, 2, 29)),
        ("The literature of 2019 was reviewed.", None),
    ],
)
def test_the_review_date_is_the_last_day_that_is_named(text: str, due: date | int | None) -> None:
    expected = date(due, 12, 31) if isinstance(due, int) else due
    assert imprint(text).review_due == expected


def test_a_superseded_edition_says_by_what() -> None:
    found = imprint("This edition has been superseded by the Third Edition, 2025. Do not use it.")
    assert found.superseded_by == "the Third Edition, 2025"
    assert imprint("This document supersedes the first edition.").superseded_by is None


def test_what_is_not_printed_may_name_the_publisher_and_nothing_else() -> None:
    aside = "Published by: Health Section\nThis edition has been superseded by another."
    found = imprint("Wash your hands.", aside=aside)
    assert (found.publisher, found.superseded_by) == ("Health Section", None)


def test_the_edition_may_stand_at_the_foot_of_every_page() -> None:
    blocks = (Block("heading", "Wounds", 1), Block("paragraph", "Wash your hands."))
    reading = Reading((Page(1, None, blocks),), running="Version 2.3 - September 2016")
    found = read_imprint(reading, "wounds")
    assert (found.edition, found.year) == ("Version 2.3", 2016)


def test_a_section_path_does_not_begin_with_the_documents_title() -> None:
    path = ("GUIDE TO WOUNDS:", "Care for all", "1 Dressing")
    assert without_title(path, "Guide to Wounds: Care for All") == ("1 Dressing",)
