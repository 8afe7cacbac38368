"""Cases as they leave the machine: whole ones for the clinic, or de-identified ones to train on.

A training shard is a folder that `training.datasets` reads as a data set of its own name:

    images/000000.png   the picture at the model's size, nothing else in the file
    captions.jsonl      accepted and corrected captions, one line a picture
    preferences.jsonl   of corrected ones: what was chosen, what was rejected
    rejects.jsonl       pictures whose caption was rejected, without one
    DATA_CARD.md

In it are no path, note, reference or user, no time finer than a month, and no order but that of
the pictures' hashes. A picture that is known to show text is left out. Knows nothing of the log.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from appliance.core.answer import caption_to_show
from appliance.core.cases import Case, Wanted
from appliance.core.labels import LabelSet
from appliance.edges.case_store import CaseStore
from appliance.edges.images import may_show_text
from appliance.errors import CaseError, ConfigError
from appliance.private_files import sync_folder

ALL = (1 << 63) - 1
IMAGES = "images"
CAPTIONS, PREFERENCES, REJECTS = "captions.jsonl", "preferences.jsonl", "rejects.jsonl"
CARD = "DATA_CARD.md"


@dataclass(frozen=True)
class Shard:
    """What was written."""

    dataset: str
    folder: Path
    accepted: int = 0
    corrected: int = 0
    rejected: int = 0
    left_out: int = 0
    """Pictures that show text."""
    not_searched: int = 0
    """Pictures in it in which no text was looked for."""


def export_cases(store: CaseStore, out: Path, wanted: Wanted) -> int:
    """Whole cases, with paths and notes, in the new folder `out`; how many.

    Raises: ConfigError when it is there already; CaseError.
    """
    found = store.find(wanted, ALL)
    with _new_folder(out) as folder:
        _write_lines(folder / "cases.jsonl", (asdict(case) for case in found))
        for case in found:
            if png := store.png(case.case_id):
                _write(folder / IMAGES / f"{case.case_id}.png", png)
    return len(found)


def export_corrections(
    store: CaseStore, place: Path, labels_of: Callable[[str], LabelSet | None]
) -> Shard:
    """The judged cases as a training shard, a new folder in `place` that bears its name.

    `labels_of` a release by its hash, where it is here: says the domain of a corrected label.
    Raises: CaseError, also when nothing was judged.
    """
    name = f"clinic-{secrets.token_hex(4)}"
    shard = Shard(name, place / name)
    # Earlier versions let a caption be judged that was not shown.
    found = (case for case in store.find(Wanted(), ALL) if caption_to_show(case.answer))
    judged = [case for case in found if case.verdict]
    pictures: dict[bytes, tuple[bytes, Case]] = {}
    for case in judged:  # the newest first: of one picture its verdict counts
        png, image = store.png(case.case_id), case.answer["image"]
        if png is None or may_show_text(image["note"], image["text_regions"]):
            shard = replace(shard, left_out=shard.left_out + 1)
        else:
            pictures.setdefault(hashlib.sha256(png).digest(), (png, case))
    if not pictures:
        raise CaseError(
            "no case is judged that can leave the machine",
            "judge some with `appliance cases judge`; pictures that show text are left out",
        )
    captions, preferences, rejects = [], [], []
    with _new_folder(shard.folder) as folder:
        for row, (_, (png, case)) in enumerate(sorted(pictures.items())):
            _write(folder / IMAGES / f"{row:06}.png", png)
            origin = _origin(shard.dataset, row, case)
            if case.verdict == "rejected":
                rejects.append({**origin, "reason": "rejected"})
                continue
            caption, said = case.corrected or case.answer["caption"], case.answer["caption"]
            labels = labels_of(case.answer["release"]["sha256"])
            domain = labels.domain_of(caption["label"]) if labels else case.answer["domain"]
            learnt = {"label": caption["label"], "domain": domain, "group": str(row)}
            captions.append(
                {**origin, **learnt, "split": "train", "caption": caption, "verdict": case.verdict}
            )
            if case.verdict == "corrected":
                preferences.append({**origin, "chosen": caption, "rejected": said})
        shard = replace(
            shard,
            accepted=len(captions) - len(preferences),
            corrected=len(preferences),
            rejected=len(rejects),
            not_searched=sum(
                case.answer["image"]["text_regions"] is None for _, case in pictures.values()
            ),
        )
        _write_lines(folder / CAPTIONS, captions)
        _write_lines(folder / PREFERENCES, preferences)
        _write_lines(folder / REJECTS, rejects)
        _write(folder / CARD, _card(shard, [case for _, case in pictures.values()]).encode())
    return shard


def _origin(dataset: str, row: int, case: Case) -> dict[str, Any]:
    release = case.answer["release"]
    return {
        "dataset": dataset,
        "row": row,
        "month": case.at[:7],
        "release": {"name": release["name"], "sha256": release["sha256"]},
    }


def _card(shard: Shard, cases: Sequence[Case]) -> str:
    releases = sorted({case.answer["release"]["name"] for case in cases})
    months = sorted({case.at[:7] for case in cases})
    return "\n".join(
        [
            f"# Corrections: {shard.dataset}",
            "",
            f"- Captions that clinicians accepted: {shard.accepted}; corrected: {shard.corrected};"
            f" rejected, without a caption: {shard.rejected}",
            f"- Said by: {', '.join(releases)}",
            f"- Asked: {months[0]} to {months[-1]}",
            f"- Pictures in which no text was looked for: {shard.not_searched}; left out because"
            f" they show text: {shard.left_out}. Look at every picture before it is passed on.",
            "- Who is in a picture is not known here: two pictures may be of one patient, so all"
            " are in the split `train`. Words of a corrected caption are the clinician's own.",
            "- To train: put this folder, under this name, beside the data sets, and add the lines"
            " of captions.jsonl to the run's.",
            "",
        ]
    )


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which has the name `out` once it is whole on disk."""
    partial = out.with_name(f"{out.name}.partial")
    if out.exists() or partial.exists():
        raise ConfigError(
            f"there is something already: {out if out.exists() else partial}",
            "give the name of a new folder",
        )
    try:
        partial.mkdir(mode=0o700)
        try:
            (partial / IMAGES).mkdir(mode=0o700)
            yield partial
            sync_folder(partial / IMAGES)
            sync_folder(partial)
            partial.rename(out)
        except BaseException:
            shutil.rmtree(partial)
            raise
        sync_folder(out.parent)
    except OSError as exc:
        raise CaseError(
            f"the cases cannot be written ({exc.strerror}): {out}",
            "make room, and check the folder's permissions",
        ) from exc


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    _write(path, b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
