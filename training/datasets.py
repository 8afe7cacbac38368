"""The three public data sets as one list of examples, and the shards of clinics beside them.

Owns how each data set's columns become a label, a split and a group. The files are parquet with
one row an image: encoded bytes in `image`, and `label`, `group`, `split` beside it. A shard is a
folder that `appliance cases corrections` wrote. No teacher is ever asked about its pictures.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from appliance.core.labels import Domain
from training.labels import label_of_code, label_set

if TYPE_CHECKING:
    import pyarrow as pa

Split = Literal["train", "val", "test"]

FILES: dict[str, str] = {
    "ham10000": "Tschandl 2018, doi:10.7910/DVN/DBW86T, CC BY-NC 4.0",
    "odir5k": "OIA-ODIR (Peking University, ODIR-2019), no open licence found: research use only",
    "kermany_cxr": "Kermany 2018, doi:10.17632/rscbjbr9sj, CC BY 4.0",
}
"""Data set (its file is NAME.parquet) and its terms."""
ALSO: dict[str, tuple[str, ...]] = {"odir5k": ("caption",), "kermany_cxr": ("subtype",)}
"""Columns beside those that all have, from which a label follows."""


@dataclass(frozen=True)
class Example:
    """One labelled image; the pixels stay in the data set's file."""

    dataset: str
    row: int
    label: str
    domain: Domain
    group: str
    """Lesion or patient: never in two splits."""
    split: Split


class DatasetError(Exception):
    """A data set that cannot be trained on as it is; the message names file and row."""


def read_examples(folder: Path) -> tuple[list[Example], int]:
    """All examples, and how many rows were left out because no single label applies.

    Left out: ODIR's `O` (other findings, no one label) and its `D` rows whose keywords give no
    retinopathy grade.
    Raises: DatasetError for a file or column that is missing or cannot be read, an unknown code,
    or a group in two splits.
    """
    labels = label_set()
    examples: list[Example] = []
    left_out = 0
    for dataset in FILES:
        path = folder / f"{dataset}.parquet"
        columns = ("label", "group", "split", *ALSO.get(dataset, ()))
        for index, row in enumerate(_read(path, columns).to_pylist()):
            code = _code(dataset, row)
            if code is None:
                left_out += 1
                continue
            try:
                label = label_of_code(code)
            except KeyError as exc:
                raise DatasetError(f"{path}, row {index}: {exc.args[0]}") from exc
            if row["split"] not in get_args(Split):
                raise DatasetError(f"{path}, row {index}: no such split: {row['split']!r}")
            examples.append(
                Example(
                    dataset, index, label, labels.domain_of(label), str(row["group"]), row["split"]
                )
            )
    _check_groups(examples)
    return examples, left_out


def read_corrections(folder: Path) -> list[Example]:
    """The captioned images of the clinics' shards in `folder`, which are data sets of their own.

    Raises: DatasetError naming file and line, also for a picture that is not there.
    """
    labels = label_set()
    examples = []
    for file in sorted(folder.glob("clinic-*/captions.jsonl")):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
                example = Example(
                    *(file.parent.name, int(row["row"]), row["label"]),
                    *(labels.domain_of(row["label"]), str(row["group"]), row["split"]),
                )
            except (ValueError, KeyError, TypeError) as exc:
                raise DatasetError(
                    f"{file}, line {number}: not a captioned image of labels.toml"
                ) from exc
            if row["dataset"] != file.parent.name:
                raise DatasetError(
                    f"{file}: the shard is called {row['dataset']}; give its folder that name back"
                )
            shard_picture(file.parent, example.row, f"{file}, line {number}")
            examples.append(example)
    return examples


def shard_picture(shard: Path, row: int, where: str) -> Path:
    """Where a shard keeps a row's picture. Raises: DatasetError naming `where` when it is gone."""
    picture = shard / "images" / f"{row:06}.png"
    if not picture.is_file():
        raise DatasetError(f"{where}: its picture is missing: {picture}; copy the shard again")
    return picture


def file_sizes(folder: Path) -> list[int]:
    """Of the data sets' files, in bytes: part of the name of what is kept of them."""
    return [(folder / f"{dataset}.parquet").stat().st_size for dataset in FILES]


def encoded_images(folder: Path, dataset: str) -> dict[int, bytes]:
    """The encoded image of every row, by its number. Raises: DatasetError."""
    if (folder / dataset).is_dir():
        pictures = (folder / dataset / "images").glob("[0-9]*.png")
        return {int(path.stem): path.read_bytes() for path in pictures}
    path = folder / f"{dataset}.parquet"
    column = _read(path, ["image"])["image"]
    if column.null_count:
        raise DatasetError(f"{path}, row {column.is_null().to_pylist().index(True)}: has no image")
    return dict(enumerate(column.to_pylist()))


def in_split(examples: list[Example], split: Split) -> Iterator[int]:
    return (index for index, example in enumerate(examples) if example.split == split)


def retinopathy_grade(keywords: str) -> str | None:
    """The worst grade that ODIR's diagnostic keywords state, or None."""
    text = keywords.lower()
    if re.search(r"(?<!non)(?<!non-)(?<!non )\bproliferative", text):
        return "proliferative"
    for grade in ("severe", "moderate", "mild"):
        if re.search(rf"\b{grade}\b", text):
            return grade
    return None


def _read(path: Path, columns: Sequence[str]) -> "pa.Table":
    """Raises: DatasetError."""
    import pyarrow as pa  # training only
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DatasetError(f"data set not found: {path}")
    try:
        with pq.ParquetFile(path) as file:
            if missing := sorted({*columns, "image"} - set(file.schema_arrow.names)):
                raise DatasetError(f"{path}: has no column {', '.join(missing)}")
            return file.read(columns=list(columns))
    except (pa.ArrowException, OSError) as exc:
        raise DatasetError(f"{path}: cannot be read as parquet ({exc}); copy it again") from exc


def _code(dataset: str, row: dict[str, Any]) -> str | None:
    if dataset == "kermany_cxr":
        return str(row["subtype"])
    if dataset == "odir5k" and row["label"] == "O":
        return None
    if dataset == "odir5k" and row["label"] == "D":
        grade = retinopathy_grade(row["caption"] or "")
        return f"D:{grade}" if grade else None
    return str(row["label"])


def _check_groups(examples: list[Example]) -> None:
    split_of: dict[tuple[str, str], Split] = {}
    for example in examples:
        key = (example.dataset, example.group)
        if split_of.setdefault(key, example.split) != example.split:
            raise DatasetError(
                f"{example.dataset}: group {example.group} is in two splits "
                f"({split_of[key]} and {example.split})"
            )
