"""Claims about the table that every label, code and caption comes from."""

import pytest

from appliance.core.caption import MAX_FIELD_CHARACTERS, caption_json, parse_caption
from training.labels import LabelRow, label_of_code, label_set, label_table

HAM10000 = ("nv", "mel", "bkl", "bcc", "akiec", "vasc", "df")
ODIR = ("N", "A", "C", "G", "H", "M", "D:mild", "D:moderate", "D:severe", "D:proliferative")
KERMANY = ("normal", "bacteria", "virus")


@pytest.mark.parametrize(
    ("codes", "domain"), [(HAM10000, "skin"), (ODIR, "fundus"), (KERMANY, "chest")]
)
def test_every_code_of_a_data_set_is_a_label_of_its_domain(
    codes: tuple[str, ...], domain: str
) -> None:
    names = [label_of_code(code) for code in codes]
    assert sorted(names) == sorted(row.name for row in label_table() if row.domain == domain)


def test_no_code_means_two_labels() -> None:
    codes = [code for row in label_table() for code in row.codes]
    assert len(codes) == len(set(codes)) == len(HAM10000 + ODIR + KERMANY)


def test_a_code_outside_the_table_is_named() -> None:
    with pytest.raises(KeyError, match="'scc'"):
        label_of_code("scc")


def test_the_label_set_keeps_the_order_of_the_table() -> None:
    assert label_set().names == tuple(row.name for row in label_table())


@pytest.mark.parametrize("row", label_table(), ids=lambda row: row.name)
def test_every_caption_of_the_table_can_be_read_back(row: LabelRow) -> None:
    caption = row.caption
    assert parse_caption(caption_json(caption), label_set()) == caption


@pytest.mark.parametrize("row", label_table(), ids=lambda row: row.name)
def test_every_field_of_the_table_is_one_the_clinics_grammar_can_write(row: LabelRow) -> None:
    for text in vars(row.caption).values():
        assert text.isascii() and text.isprintable() and not set(text) & set('"\\')
        assert 0 < len(text) <= MAX_FIELD_CHARACTERS
