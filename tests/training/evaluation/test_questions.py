"""Claims about what is asked, and what is known of the person in each image."""

import itertools
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.tiny import HELD_BACK, every_label, picture, write_datasets
from training.datasets import DatasetError
from training.evaluation.questions import age_band, read_questions, strata_of
from training.labels import label_set
from training.pixels import decode_square

LABELS = label_set()


def test_questions_are_the_splits_pictures_at_the_size_asked_for(data: Path) -> None:
    questions = read_questions(data, "test")
    assert sorted(question.label for question in questions) == sorted(HELD_BACK)
    row = next(row for row in every_label()["kermany_cxr"] if row["split"] == "test")
    chest = next(question for question in questions if question.label == "normal chest")
    assert np.array_equal(chest.square(28), decode_square(row["image"], 28))


def test_a_sample_is_so_many_of_each_domain_and_always_the_same(data: Path) -> None:
    questions = read_questions(data, "train", most_per_domain=3)
    assert Counter(LABELS.domain_of(question.label) for question in questions) == {
        "skin": 3,
        "fundus": 3,
        "chest": 3,
    }
    assert read_questions(data, "train", most_per_domain=3) == questions


def test_the_split_of_a_captions_file_is_asked_about_instead(
    data: Path, caption_lines: list[dict[str, Any]], tmp_path: Path
) -> None:
    taught = [line for line in caption_lines if line["split"] == "train"]
    splits = itertools.cycle(("train", "val", "test"))
    lines = [{**line, "split": split} for line, split in zip(taught, splits, strict=False)]
    file = tmp_path / "captions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = {
        (question.example.dataset, question.example.row)
        for question in read_questions(data, "test", captions=file)
    }
    wanted = {(line["dataset"], line["row"]) for line in lines if line["split"] == "test"}
    assert found == wanted
    assert not found & {
        (question.example.dataset, question.example.row)
        for question in read_questions(data, "test")
    }


def test_a_clinics_pictures_can_be_asked_about_and_have_no_strata(
    data: Path, caption_lines: list[dict[str, Any]], tmp_path: Path
) -> None:
    place = shutil.copytree(data, tmp_path / "data")
    clinic = {**caption_lines[0], "dataset": "clinic-a", "row": 7, "split": "test"}
    clinic |= {"group": "case", "label": clinic["caption"]["label"]}
    (place / "clinic-a" / "images").mkdir(parents=True)
    (place / "clinic-a" / "images" / "000007.png").write_bytes(picture(0, 0))
    line = json.dumps(clinic) + "\n"
    (place / "clinic-a" / "captions.jsonl").write_text(line, encoding="utf-8")
    file = tmp_path / "captions.jsonl"
    rest = "".join(json.dumps(line) + "\n" for line in caption_lines if line["split"] != "test")
    file.write_text(rest + line, encoding="utf-8")
    [question] = read_questions(place, "test", captions=file)
    assert (question.encoded, question.strata) == (picture(0, 0), {})


def test_a_sample_larger_than_the_split_is_the_split(data: Path) -> None:
    assert len(read_questions(data, "test", most_per_domain=99)) == len(HELD_BACK)


def test_a_damaged_image_is_named_by_data_set_and_row(data: Path) -> None:
    question = read_questions(data, "test")[0]
    name = f"{question.example.dataset}, row {question.example.row}"
    for encoded in (b"", b"\xff\xd8\xff", question.encoded[:60]):
        with pytest.raises(DatasetError, match=f"{name}: the image cannot be read"):
            replace(question, encoded=encoded).square(28)


def test_strata_come_from_the_columns_that_are_there(tmp_path: Path) -> None:
    rows = every_label()
    known = {
        "ham10000": {"age": "45.0", "sex": "female", "localization": "lower extremity"},
        "odir5k": {"age": "80", "sex": "Male", "eye": "left"},
    }
    for dataset, columns in known.items():
        for row in rows[dataset]:
            row.update(columns)
    found = {
        question.example.dataset: question.strata
        for question in read_questions(write_datasets(tmp_path, rows), "test")
    }
    assert found == {
        "ham10000": {"age": "40-59", "sex": "female", "site": "lower extremity"},
        "odir5k": {"age": "80+", "sex": "male", "eye": "left"},
        "kermany_cxr": {},
    }


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("0.0", "0-19"),
        ("19.9", "0-19"),
        ("20", "20-39"),
        ("60.0", "60-79"),
        ("79", "60-79"),
        ("80", "80+"),
        ("-1", None),
        ("nan", None),
        ("", None),
        ("unknown", None),
    ],
)
def test_ages_are_told_in_bands(age: str, band: str | None) -> None:
    assert age_band(age) == band


def test_what_is_not_known_of_a_person_is_left_out() -> None:
    assert strata_of({"age": None, "sex": "unknown", "localization": " "}) == {}
