"""Claims about reading the data sets: what becomes an example, and what is refused."""

import io
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.training.tiny import HELD_BACK, IN_TRAIN, every_label, picture, write_datasets
from training.datasets import (
    DatasetError,
    encoded_images,
    in_split,
    read_examples,
    retinopathy_grade,
)
from training.labels import label_table


@pytest.mark.parametrize(
    ("keywords", "grade"),
    [
        ("mild nonproliferative retinopathy, drusen", "mild"),
        ("Mild non-proliferative retinopathy", "mild"),
        ("moderate non proliferative retinopathy", "moderate"),
        ("macular epiretinal membrane, severe nonproliferative retinopathy", "severe"),
        ("severe proliferative diabetic retinopathy", "proliferative"),
        ("proliferative diabetic retinopathy", "proliferative"),
        ("mild nonproliferative retinopathy, severe nonproliferative retinopathy", "severe"),
        ("moderate non proliferative retinopathy, proliferative retinopathy", "proliferative"),
        ("diabetic retinopathy", None),
        ("diabetic retinopathy, post laser photocoagulation", None),
    ],
)
def test_the_worst_grade_stated_is_the_grade(keywords: str, grade: str | None) -> None:
    assert retinopathy_grade(keywords) == grade


def test_every_row_becomes_an_example_with_the_label_its_code_means(data: Path) -> None:
    examples, left_out = read_examples(data)
    assert left_out == 0
    count = Counter(example.label for example in examples)
    assert count == {row.name: IN_TRAIN + 2 * (row.name in HELD_BACK) for row in label_table()}
    domain_of = {row.name: row.domain for row in label_table()}
    assert all(example.domain == domain_of[example.label] for example in examples)


def test_an_examples_row_leads_to_its_own_image(data: Path) -> None:
    names = [row.name for row in label_table()]
    examples, _ = read_examples(data)
    images = {dataset: encoded_images(data, dataset) for dataset in ("ham10000", "kermany_cxr")}
    for example in examples:
        if example.dataset in images:
            copy = int(example.group.split("-")[1])
            expected = picture(names.index(example.label), copy)
            assert images[example.dataset][example.row] == expected


def test_a_split_lists_the_positions_of_its_examples(data: Path) -> None:
    examples, _ = read_examples(data)
    positions = list(in_split(examples, "val"))
    assert sorted(examples[i].label for i in positions) == sorted(HELD_BACK)


def test_rows_without_one_label_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = every_label()
    other = dict(rows["odir5k"][0], group="other")
    rows["odir5k"] += [
        dict(other, label="O", caption="lens dust"),
        dict(other, label="D", caption="diabetic retinopathy"),
    ]
    examples, left_out = read_examples(write_datasets(tmp_path, rows))
    assert left_out == 2
    assert "other" not in {example.group for example in examples}


def test_rows_left_out_do_not_shift_the_rows_of_those_kept(tmp_path: Path) -> None:
    rows = every_label()
    rows["odir5k"].insert(0, dict(rows["odir5k"][0], group="other", label="O"))
    examples, _ = read_examples(write_datasets(tmp_path, rows))
    assert min(example.row for example in examples if example.dataset == "odir5k") == 1


def test_a_file_that_broke_off_or_lacks_a_column_is_named(tmp_path: Path) -> None:
    folder = write_datasets(tmp_path, every_label())
    whole = (folder / "odir5k.parquet").read_bytes()
    (folder / "odir5k.parquet").write_bytes(whole[:-50])
    for read in (read_examples, lambda folder: encoded_images(folder, "odir5k")):
        with pytest.raises(
            DatasetError, match=r"odir5k\.parquet: cannot be read .*; copy it again"
        ):
            read(folder)
    for column in ("split", "caption", "image"):
        table = pq.read_table(io.BytesIO(whole)).drop_columns([column])
        pq.write_table(table, folder / "odir5k.parquet")
        with pytest.raises(DatasetError, match=rf"odir5k\.parquet: has no column {column}$"):
            read_examples(folder)


def test_a_row_without_keywords_has_no_grade_and_one_without_a_picture_is_named(
    tmp_path: Path,
) -> None:
    rows = every_label()
    place = len(rows["odir5k"])
    rows["odir5k"].append(
        dict(rows["odir5k"][0], group="other", label="D", caption=None, image=None)
    )
    folder = write_datasets(tmp_path, rows)
    assert read_examples(folder)[1] == 1
    with pytest.raises(DatasetError, match=rf"odir5k\.parquet, row {place}: has no image"):
        encoded_images(folder, "odir5k")


def test_an_unknown_code_is_an_error_naming_file_and_row(tmp_path: Path) -> None:
    rows = every_label()
    rows["ham10000"][3]["label"] = "scc"
    write_datasets(tmp_path, rows)
    with pytest.raises(DatasetError, match=r"ham10000\.parquet, row 3: .*'scc'"):
        read_examples(tmp_path)


def test_an_unknown_kind_of_pneumonia_is_an_error(tmp_path: Path) -> None:
    rows = every_label()
    rows["kermany_cxr"][0]["subtype"] = "fungus"
    write_datasets(tmp_path, rows)
    with pytest.raises(DatasetError, match=r"kermany_cxr\.parquet, row 0: .*'fungus'"):
        read_examples(tmp_path)


def test_a_missing_data_set_is_an_error_naming_its_file(tmp_path: Path) -> None:
    write_datasets(tmp_path, every_label())
    (tmp_path / "odir5k.parquet").unlink()
    with pytest.raises(DatasetError, match=r"not found: .*odir5k\.parquet"):
        read_examples(tmp_path)


def test_a_group_in_two_splits_is_an_error(tmp_path: Path) -> None:
    rows = every_label()
    rows["ham10000"].append(dict(rows["ham10000"][0], split="test"))
    write_datasets(tmp_path, rows)
    group = rows["ham10000"][0]["group"]
    with pytest.raises(DatasetError, match=f"ham10000: group {group} is in two splits"):
        read_examples(tmp_path)


def test_two_data_sets_may_use_the_same_group_name(tmp_path: Path) -> None:
    rows = every_label()
    rows["ham10000"][0]["group"] = rows["odir5k"][0]["group"] = "7"
    rows["odir5k"][0]["split"] = "test"
    read_examples(write_datasets(tmp_path, rows))
