"""The canonical label table (labels.toml): codes of the data sets to labels, labels to words."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from appliance.core.caption import Caption
from appliance.core.labels import Domain, Label, LabelSet

TABLE = Path(__file__).with_name("labels.toml")


@dataclass(frozen=True)
class LabelRow:
    """One label of the table with the caption that the label alone allows."""

    name: str
    domain: Domain
    codes: tuple[str, ...]
    """How the data sets spell it; `D:mild` is ODIR's D with that grade in its keywords."""
    caption: Caption


@cache
def label_table() -> tuple[LabelRow, ...]:
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return tuple(
        LabelRow(
            row["name"],
            row["domain"],
            tuple(row["codes"]),
            Caption(
                label=row["name"],
                key_findings=row["key_findings"],
                clinical_significance=row["clinical_significance"],
                **table["domain"][row["domain"]],
            ),
        )
        for row in table["label"]
    )


def label_set() -> LabelSet:
    return LabelSet(tuple(Label(row.name, row.domain) for row in label_table()))


def label_row(name: str) -> LabelRow:
    """Raises: KeyError for a label outside the table."""
    for row in label_table():
        if row.name == name:
            return row
    raise KeyError(f"no label {name!r} in the table")


def label_of_code(code: str) -> str:
    """Raises: KeyError for a code outside the table."""
    for row in label_table():
        if code in row.codes:
            return row.name
    raise KeyError(f"no label in {TABLE.name} has the code {code!r}")
