"""What clinicians judged: the captions in a clinic's shard, and the pairs they make.

A shard is a folder that `appliance cases corrections` wrote. Of a corrected caption it holds both
what the clinician chose and what the model had said. Of an accepted one it holds the caption; what
it was preferred to is what the model to be trained says instead, where it says something else. A
rejected one has nothing that was preferred to it, and makes no pair.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.core.caption import Caption, CaptionFormatError, caption_json, parse_caption
from appliance.core.prompt import PERSONA, REQUEST
from training.datasets import DatasetError, shard_picture
from training.labels import label_set
from training.pixels import decode_square, undecodable


@dataclass(frozen=True)
class Judged:
    """A picture with the caption that a clinician wrote or let stand."""

    picture: Path
    caption: Caption
    corrected: Caption | None
    """What the model had said, where the clinician put it right; None for an accepted caption."""


@dataclass(frozen=True)
class Preference:
    """Two captions of one picture."""

    picture: Path
    chosen: Caption
    rejected: Caption


def read_shards(folder: Path) -> list[Judged]:
    """Every accepted or corrected caption of the shards in `folder`, in their order.

    Raises: DatasetError naming file and line: no caption, a shard under another name, a caption
    that the clinic would refuse, a correction that changes nothing or of no caption, or a picture
    that is not there; or the folder that holds no shard.
    """
    shards = sorted(folder.glob("clinic-*"))
    if not shards:
        raise DatasetError(
            f"{folder} holds no shard: put the folders that `appliance cases corrections` wrote "
            "(clinic-...) into it"
        )
    return [judged for shard in shards for judged in _read_shard(shard)]


def _read_shard(shard: Path) -> Iterator[Judged]:
    said: dict[int, tuple[str, Caption, Caption]] = {}
    for where, row in _lines(shard / "preferences.jsonl", shard.name):
        chosen, rejected = _caption(row, "chosen", where), _caption(row, "rejected", where)
        _require_label(chosen, where)
        if chosen == rejected:
            raise DatasetError(f"{where}: chosen and rejected are the same; take the line out")
        said[row["row"]] = (where, chosen, rejected)
    for where, row in _lines(shard / "captions.jsonl", shard.name):
        caption = _caption(row, "caption", where)
        _require_label(caption, where)
        picture = shard_picture(shard, row["row"], where)
        correction = said.pop(row["row"], None)
        if correction and correction[1] != caption:
            raise DatasetError(f"{where}: preferences.jsonl has another caption chosen; copy again")
        yield Judged(picture, caption, correction[2] if correction else None)
    for where, _, _ in said.values():
        raise DatasetError(f"{where}: captions.jsonl has no caption of this row; copy again")


def _lines(file: Path, shard: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise DatasetError(f"{file} cannot be read ({exc}); copy the shard again") from exc
    for number, line in enumerate(lines, 1):
        where = f"{file}, line {number}"
        try:
            row = json.loads(line)
            named = row["dataset"], row["row"]
        except (ValueError, KeyError, TypeError) as exc:
            raise DatasetError(f"{where}: not a judged caption; copy the shard again") from exc
        if named[0] != shard:
            raise DatasetError(
                f"{where}: the shard is called {named[0]}; give its folder that name back"
            )
        if not isinstance(named[1], int):
            raise DatasetError(f"{where}: `row` is {named[1]!r}; copy the shard again")
        yield where, row


def _caption(row: dict[str, Any], key: str, where: str) -> Caption:
    try:
        return Caption(**row[key])
    except (KeyError, TypeError) as exc:
        raise DatasetError(f"{where}: `{key}` is no caption; copy the shard again") from exc


def _require_label(caption: Caption, where: str) -> None:
    """That the clinic would accept it. What a model said may be of another table of labels."""
    try:
        parse_caption(caption_json(caption), label_set())
    except CaptionFormatError as exc:
        raise DatasetError(f"{where}: {exc}; correct the line or take it out") from exc


def held_apart(
    judged: Sequence[Judged], share: float, seed: int
) -> tuple[list[Judged], list[Judged]]:
    """Those to learn from and those only looked at, this share of accepted and of corrected ones.

    Raises: DatasetError when either would be without a correction.
    """
    learnt: list[Judged] = []
    held: list[Judged] = []
    for kind in (False, True):
        found = [one for one in judged if (one.corrected is not None) is kind]
        random.Random(seed).shuffle(found)
        count = round(share * len(found))
        if kind and not 0 < count < len(found):
            raise DatasetError(
                f"{len(found)} corrections are too few to hold a share of {share} apart: collect "
                "more, or change `held` in the recipe"
            )
        held += found[:count]
        learnt += found[count:]
    return learnt, held


def preferences(judged: Sequence[Judged], own: Mapping[Path, Caption | None]) -> list[Preference]:
    """The pairs. `own`: what the model to be trained says of the accepted pictures, None for no
    caption."""
    return [
        Preference(one.picture, one.caption, rejected)
        for one in judged
        if (rejected := one.corrected or own[one.picture]) and rejected != one.caption
    ]


def picture_of(file: Path, side: int) -> NDArray[np.uint8]:
    """(side, side, 3). Raises: DatasetError naming a file that is no picture."""
    try:
        return decode_square(file.read_bytes(), side)
    except undecodable() as exc:
        raise DatasetError(f"{file}: not a picture ({exc}); copy the shard again") from exc


def preference_row(preference: Preference, side: int) -> dict[str, Any]:
    """A pair as TRL's preference trainers take it."""
    from PIL import Image

    return {
        "prompt": [
            {"role": "system", "content": PERSONA},
            {"role": "user", "content": REQUEST},
        ],
        "chosen": [{"role": "assistant", "content": caption_json(preference.chosen)}],
        "rejected": [{"role": "assistant", "content": caption_json(preference.rejected)}],
        "images": [Image.fromarray(picture_of(preference.picture, side))],
    }
