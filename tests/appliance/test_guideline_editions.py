"""Claims about editions: an answer says when its guideline is out of date, and where it stands."""

from datetime import date
from pathlib import Path
from typing import Any

import pymupdf
import pytest

from appliance.core.query import GuidelineQuery
from appliance.edges.guidelines import GuidelineIndex
from appliance.errors import GuidelineError
from cpg_store.sample import sample_guideline

pixmap: Any = pymupdf.Pixmap  # untyped in PyMuPDF

QUESTION = GuidelineQuery("follow-up of moderate diabetic retinopathy")


def test_a_superseded_and_overdue_edition_says_so_with_every_answer(tmp_path: Path) -> None:
    with GuidelineIndex(tmp_path / "index", "", create=True) as index:
        added = index.add(
            sample_guideline(),
            title=None,
            edition=None,
            superseded_by="the edition of 2027",
            review_due=date(2020, 1, 31),
        )
        found = index.find(QUESTION, 3)
    expected = "superseded by the edition of 2027; its review was due on 2020-01-31"
    assert found and {passage.caution for passage in found} == {expected}
    assert set(expected.split("; ")) <= set(added.notes)


def test_an_edition_in_force_has_no_caution_and_its_page_can_be_seen(tmp_path: Path) -> None:
    with GuidelineIndex(tmp_path / "index", "", create=True) as index:
        added = index.add(sample_guideline(), title=None, edition=None)
        first = index.find(QUESTION, 1)[0]
        assert first.caution is None
        assert first.page is not None
        picture = pixmap(index.page_picture(added.document_id, first.page))
        assert picture.height > 1000
        index.remove(added.document_id)
        with pytest.raises(GuidelineError, match="no pages are kept"):
            index.page_picture(added.document_id, first.page)
    assert not list((tmp_path / "index").rglob("*.pdf"))
