"""Corrections from a clinic: what is in the shard, and that training reads it as its own."""

import io
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from appliance.core.caption import Caption
from appliance.core.cases import Verdict
from appliance.core.entry import Moment, entry_text, read_entry
from appliance.core.ports import Picture
from appliance.edges.case_export import Shard, export_corrections
from appliance.edges.case_store import CaseStore
from appliance.errors import CaseError
from tests.training.tiny import every_label, write_datasets
from training.datasets import (
    DatasetError,
    encoded_images,
    read_corrections,
    read_examples,
)
from training.labels import label_row, label_set
from training.qlora.material import read_captions
from training.teach.recipe import read_teach_recipe
from training.teach.run import make_plan

CANARY = "ZulkifliQ7719"
SIDE = 8


def caption_of(label: str) -> dict[str, str]:
    return asdict(label_row(label).caption)


def keep(
    store: CaseStore,
    number: int,
    label: str,
    verdict: Verdict | None,
    corrected: Mapping[str, str] | None = None,
    image: Mapping[str, Any] = {},
) -> bytes:
    """One case full of a patient; its pixels."""
    rgb = np.random.default_rng(number).integers(0, 256, SIDE * SIDE * 3, np.uint8).tobytes()
    moment = Moment(f"2026-0{1 + number % 3}-17T1{number % 10}:23:45.678+00:00", "", 0)
    asked = read_entry(entry_text(number + 1, moment, "", f"dr.{CANARY}", "caption.asked", {}))
    known = {"path": f"/{CANARY}/{number}.png", "sha256": "cd" * 32, "kind": "PNG"}
    size = {"width": 9, "height": 9, "note": None, "text_regions": 0}
    answer = {
        "image": {**known, **size, **image},
        "caption": caption_of(label),
        "domain": label_row(label).domain,
        "decision": {"kind": "label", "labels": [label], "reason": "", "risk": 0.1},
        "release": {"name": "medgemma-q4", "sha256": "ab" * 32, "demonstration": False},
        "error": None,
    }
    picture = Picture(rgb, SIDE, "cd" * 32, "PNG", 9, 9, None)
    case = store.keep(asked, answer, picture)
    store.prove(case.case_id, number + 1, "ef" * 32)
    store.annotate(case.case_id, reference=f"R-{CANARY}", note=f"seen with {CANARY}")
    if verdict:
        store.judge(case.case_id, verdict, corrected)
    return rgb


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return write_datasets(folder, every_label())


CORRECTED = {**caption_of("melanoma"), "key_findings": "an irregular edge, two colours"}


@pytest.fixture
def pixels() -> dict[str, bytes]:
    return {}


@pytest.fixture
def shard(tmp_path: Path, data: Path, pixels: dict[str, bytes]) -> Shard:
    with CaseStore(tmp_path / "cases") as store:
        pixels["accepted"] = keep(store, 0, "normal chest", "accepted")
        pixels["corrected"] = keep(store, 1, "melanocytic nevus", "corrected", CORRECTED)
        pixels["rejected"] = keep(store, 2, "cataract", "rejected")
        keep(store, 3, "melanoma", None)
        keep(store, 4, "melanoma", "accepted", image={"text_regions": 2})
        return export_corrections(store, data, lambda sha256: label_set())


def rows(shard: Shard, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (shard.folder / name).read_text().splitlines()]


def test_what_was_judged_is_in_it_and_what_shows_text_is_not(
    shard: Shard, pixels: dict[str, bytes]
) -> None:
    assert (shard.accepted, shard.corrected, shard.rejected, shard.left_out) == (1, 1, 1, 1)
    captions = {row["verdict"]: row for row in rows(shard, "captions.jsonl")}
    assert captions["corrected"]["caption"] == CORRECTED
    assert captions["accepted"]["caption"] == caption_of("normal chest")
    [pair], [reject] = rows(shard, "preferences.jsonl"), rows(shard, "rejects.jsonl")
    assert pair["row"] == captions["corrected"]["row"]
    assert pair["chosen"] == CORRECTED and pair["rejected"] == caption_of("melanocytic nevus")
    assert reject["reason"] == "rejected" and "caption" not in reject
    for verdict, row in {**captions, "rejected": reject}.items():
        with Image.open(shard.folder / "images" / f"{row['row']:06}.png") as image:
            assert image.tobytes() == pixels[verdict] and not image.info
        assert row["release"] == {"name": "medgemma-q4", "sha256": "ab" * 32}


def test_nothing_in_it_names_a_patient_a_user_or_a_day(shard: Shard) -> None:
    files = [path for path in shard.folder.rglob("*") if path.is_file()]
    for path in files:
        content = path.read_bytes()
        for needle in (CANARY, CANARY.lower(), "R-Z", "17T", ":23:45", "cd" * 32, "ef" * 32):
            assert needle.encode() not in content, path
    assert len(files) == 3 + 4
    assert {row["month"] for row in rows(shard, "captions.jsonl")} == {"2026-01", "2026-02"}


def test_training_reads_it_beside_the_public_data(
    shard: Shard, data: Path, tmp_path: Path, pixels: dict[str, bytes]
) -> None:
    examples, _ = read_examples(data)
    public = [
        {
            "dataset": example.dataset,
            "row": example.row,
            "split": example.split,
            "caption": caption_of(example.label),
        }
        for example in examples
    ]
    file = tmp_path / "captions.jsonl"
    lines = "".join(json.dumps(row) + "\n" for row in public)
    file.write_text(lines + (shard.folder / "captions.jsonl").read_text(), encoding="utf-8")
    captioned = read_captions(file, data)
    ours = [each for each in captioned if each.example.dataset == shard.dataset]
    assert len(captioned) == len(public) + 2
    assert {each.caption for each in ours} == {
        Caption(**CORRECTED),
        Caption(**caption_of("normal chest")),
    }
    encoded = encoded_images(data, shard.dataset)
    for each in ours:
        is_skin = each.example.domain == "skin"
        with Image.open(io.BytesIO(encoded[each.example.row])) as image:
            assert image.tobytes() == pixels["corrected" if is_skin else "accepted"]


def test_a_teacher_elsewhere_is_never_shown_a_clinics_pictures(
    shard: Shard, data: Path, tmp_path: Path
) -> None:
    config = Path(__file__).parents[2] / "training" / "configs" / "teach-gpt5.toml"
    plan = make_plan(read_teach_recipe(config), data, tmp_path / "run")
    asked = {question.example.dataset for row in plan.candidates.values() for question in row}
    assert asked and shard.dataset not in asked


def test_a_shard_under_another_name_is_refused(shard: Shard, data: Path, tmp_path: Path) -> None:
    shard.folder.rename(data / "clinic-of-ours")
    (tmp_path / "captions.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="give its folder that name back"):
        read_captions(tmp_path / "captions.jsonl", data)


def test_of_one_picture_the_newest_verdict_counts(tmp_path: Path) -> None:
    with CaseStore(tmp_path / "cases") as store:
        keep(store, 0, "melanoma", "accepted")
        keep(store, 1, "melanoma", "rejected")
        database = sqlite3.connect(store.path)
        with database:
            database.execute("UPDATE picture SET png = (SELECT png FROM picture LIMIT 1)")
        database.close()
        shard = export_corrections(store, tmp_path, lambda sha256: None)
    assert (shard.accepted, shard.rejected) == (0, 1), "asked about in February, not in January"


def test_a_picture_that_was_lost_on_the_way_is_named_and_moves_no_other(
    shard: Shard, data: Path
) -> None:
    captioned = sorted(row["row"] for row in rows(shard, "captions.jsonl"))
    [rejected] = rows(shard, "rejects.jsonl")
    before = encoded_images(data, shard.dataset)
    for row in (rejected["row"], captioned[0]):
        (shard.folder / "images" / f"{row:06}.png").unlink()
    assert encoded_images(data, shard.dataset) == {captioned[1]: before[captioned[1]]}
    lost = rf"captions\.jsonl, line 1: its picture is missing: .*/{captioned[0]:06}\.png"
    with pytest.raises(DatasetError, match=lost):
        read_corrections(data)


def test_with_nothing_judged_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with CaseStore(tmp_path / "cases") as store:
        keep(store, 0, "melanoma", None)
        with pytest.raises(CaseError, match="no case is judged"):
            export_corrections(store, tmp_path / "out", lambda sha256: None)
    assert list((tmp_path / "out").iterdir()) == []
