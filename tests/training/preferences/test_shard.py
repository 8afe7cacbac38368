"""What a clinic judged: read as pairs, or refused by name."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.training.preferences.conftest import ACCEPTED, CORRECTED
from tests.training.test_corrections import caption_of
from training.datasets import DatasetError
from training.preferences.shard import held_apart, preferences, read_shards


def test_a_correction_is_preferred_to_what_was_said(shards: Path) -> None:
    judged = read_shards(shards)
    assert len(judged) == CORRECTED + ACCEPTED
    found = preferences(judged, {one.picture: None for one in judged})
    assert {(pair.chosen.label, pair.rejected.label) for pair in found} == {
        ("melanoma", "melanocytic nevus")
    }
    assert len(found) == CORRECTED


def test_an_accepted_caption_is_preferred_to_what_the_model_says_instead(shards: Path) -> None:
    judged = [one for one in read_shards(shards) if one.corrected is None]
    other = next(one for one in read_shards(shards) if one.corrected).caption
    own = [other, judged[1].caption, None, other]
    pictures = [one.picture for one in judged]
    found = preferences(judged, dict(zip(pictures, own, strict=True)))
    assert [pair.picture for pair in found] == [pictures[0], pictures[3]]
    assert all(pair.rejected == other for pair in found)


def test_the_same_share_of_either_is_held_apart_by_the_seed(shards: Path) -> None:
    judged = read_shards(shards)
    learnt, held = held_apart(judged, 0.25, seed=0)
    assert {*learnt} | {*held} == {*judged} and not {*learnt} & {*held}
    assert sum(one.corrected is not None for one in held) == CORRECTED // 4
    assert sum(one.corrected is None for one in held) == ACCEPTED // 4
    assert held_apart(judged, 0.25, seed=0)[1] == held
    with pytest.raises(DatasetError, match="12 corrections are too few"):
        held_apart(judged, 0.01, seed=0)


def copied(shards: Path, folder: Path) -> Path:
    """The shard, to be damaged."""
    (shard,) = shards.iterdir()
    return Path(shutil.copytree(shard, folder / shard.name))


def change(file: Path, **changed: Any) -> None:
    """Its first line."""
    first, *others = file.read_text().splitlines()
    lines = [json.dumps({**json.loads(first), **changed}), *others]
    file.write_text("".join(line + "\n" for line in lines))


@pytest.mark.parametrize(
    ("file", "changed", "said"),
    [
        ("preferences", {"chosen": {**caption_of("melanoma"), "label": "mole"}}, "1: the label"),
        ("preferences", {"chosen": {"label": "melanoma"}}, "1: `chosen` is no caption"),
        ("preferences", {"rejected": caption_of("melanoma")}, "1: chosen and rejected are the"),
        ("preferences", {"dataset": "clinic-ffffffff"}, "give its folder that name back"),
        ("preferences", {"row": 99}, "captions.jsonl has no caption of this row"),
        ("preferences", {"chosen": caption_of("cataract")}, "has another caption chosen"),
        ("captions", {"caption": None}, "1: `caption` is no caption"),
        ("captions", {"row": "0"}, "1: `row` is '0'"),
        ("captions", {"row": 99}, "1: its picture is missing: .*000099.png"),
    ],
)
def test_a_shard_that_cannot_be_followed_is_named(
    shards: Path, tmp_path: Path, file: str, changed: dict[str, Any], said: str
) -> None:
    change(copied(shards, tmp_path) / f"{file}.jsonl", **changed)
    with pytest.raises(DatasetError, match=said):
        read_shards(tmp_path)


def test_a_line_cut_short_and_a_folder_without_shards_are_named(
    shards: Path, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="holds no shard"):
        read_shards(tmp_path)
    shard = copied(shards, tmp_path)
    text = (shard / "captions.jsonl").read_text()
    (shard / "captions.jsonl").write_text(text[:-40])
    with pytest.raises(DatasetError, match=f"line {CORRECTED + ACCEPTED}: not a judged caption"):
        read_shards(tmp_path)
    (shard / "captions.jsonl").unlink()
    with pytest.raises(DatasetError, match=r"captions\.jsonl cannot be read"):
        read_shards(tmp_path)
    (shard / "preferences.jsonl").unlink()
    with pytest.raises(DatasetError, match=r"preferences\.jsonl cannot be read"):
        read_shards(tmp_path)


def test_a_picture_that_is_none_is_named(shards: Path, tmp_path: Path) -> None:
    from training.preferences.shard import picture_of

    picture = next((copied(shards, tmp_path) / "images").iterdir())
    picture.write_bytes(picture.read_bytes()[:60])
    with pytest.raises(DatasetError, match=f"{picture.name}: not a picture"):
        picture_of(picture, 32)
