"""What clinicians preferred: the corrections in a clinic's shard as pairs of captions.

A shard is a folder that `appliance cases corrections` wrote. Of a corrected caption it holds both
what the clinician chose and what the model had said; an accepted one has nothing it was preferred
to, a rejected one nothing that was preferred to it, and neither makes a pair.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.core.caption import Caption, CaptionFormatError, caption_json, parse_caption
from appliance.core.prompt import PERSONA, REQUEST
from training.datasets import DatasetError
from training.labels import label_set


@dataclass(frozen=True)
class Preference:
    """Two captions of one image of a shard."""

    dataset: str
    """The shard's name."""
    row: int
    chosen: Caption
    rejected: Caption


def read_preferences(folder: Path) -> list[Preference]:
    """Those of every shard in `folder`.

    Raises: DatasetError naming file and line: no pair, a shard under another name, a chosen caption
    that the clinic would refuse, or two captions that are the same.
    """
    return [
        _preference(line, file, number)
        for file in sorted(folder.glob("clinic-*/preferences.jsonl"))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
    ]


def _preference(line: str, file: Path, number: int) -> Preference:
    where = f"{file}, line {number}"
    try:
        row = json.loads(line)
        found = Preference(
            row["dataset"], int(row["row"]), Caption(**row["chosen"]), Caption(**row["rejected"])
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise DatasetError(f"{where}: not a chosen and a rejected caption") from exc
    if found.dataset != file.parent.name:
        raise DatasetError(
            f"{where}: the shard is called {found.dataset}; give its folder that name back"
        )
    try:
        parse_caption(caption_json(found.chosen), label_set())
    except CaptionFormatError as exc:
        raise DatasetError(f"{where}: {exc}; correct the line or take it out") from exc
    if found.chosen == found.rejected:
        raise DatasetError(f"{where}: chosen and rejected are the same; take the line out")
    return found


def preference_row(preference: Preference, picture: Any) -> dict[str, Any]:
    """A pair as TRL's preference trainers take it; `picture` is a PIL image."""
    return {
        "prompt": [
            {"role": "system", "content": PERSONA},
            {"role": "user", "content": REQUEST},
        ],
        "chosen": [{"role": "assistant", "content": caption_json(preference.chosen)}],
        "rejected": [{"role": "assistant", "content": caption_json(preference.rejected)}],
        "images": [picture],
    }
