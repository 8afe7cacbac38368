"""Corrections of a clinic, as pairs."""

import json
from pathlib import Path
from typing import Any

import pytest

from training.datasets import DatasetError
from training.treatment.preferences import preference_row, read_preferences

SAID = {
    "label": "melanocytic nevus",
    "image_type": "dermoscopy",
    "anatomical_region": "skin lesion",
    "key_findings": "even network",
    "clinical_significance": "benign",
}
CHOSEN = {**SAID, "label": "melanoma", "key_findings": "irregular border"}


def shard(folder: Path, *, name: str = "clinic-0a1b2c3d", **changed: Any) -> Path:
    """A shard with one correction, as `appliance cases corrections` writes it."""
    line = {
        "dataset": "clinic-0a1b2c3d",
        "row": 1,
        "month": "2026-10",
        "release": {"name": "demonstration", "sha256": "0" * 64},
        "chosen": CHOSEN,
        "rejected": SAID,
        **changed,
    }
    (folder / name).mkdir()
    (folder / name / "preferences.jsonl").write_text(json.dumps(line) + "\n")
    return folder


def test_a_correction_is_preferred_to_what_was_said(tmp_path: Path) -> None:
    (found,) = read_preferences(shard(tmp_path))
    assert (found.dataset, found.row) == ("clinic-0a1b2c3d", 1)
    row = preference_row(found, "picture")
    assert json.loads(row["chosen"][0]["content"]) == CHOSEN
    assert json.loads(row["rejected"][0]["content"]) == SAID
    assert row["images"] == ["picture"]


def test_shards_without_a_correction_make_no_pair(tmp_path: Path) -> None:
    (tmp_path / "clinic-00000000").mkdir()
    (tmp_path / "clinic-00000000" / "preferences.jsonl").touch()
    assert read_preferences(tmp_path) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"chosen": {**CHOSEN, "label": "mole"}}, "line 1: the label"),
        ({"chosen": {"label": "melanoma"}}, "line 1: not a chosen"),
        ({"rejected": CHOSEN}, "line 1: chosen and rejected are the same"),
        ({"name": "clinic-ffffffff"}, "give its folder that name back"),
    ],
)
def test_what_is_no_preference_is_named(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        read_preferences(shard(tmp_path, **changed))
