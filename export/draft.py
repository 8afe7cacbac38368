"""A pair as a release that is not measured yet: enough for the clinic's own engine to run it.

Owns the manifest's keys up to calibration; the release fills in the rest.
"""

import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from appliance.core.decision import UNMEASURED
from appliance.core.prompt import PROMPT_VERSION
from appliance.release.manifest import FORMAT, MODEL, PROJECTOR, write_manifest
from export.card import Card
from export.checkpoint import read_checkpoint
from export.merge import merged_from
from export.pair import Pair
from training.datasets import FILES
from training.labels import label_set


def draft_manifest(model: Path, pair: Pair, card: Card, version: str) -> dict[str, Any]:
    """`model` is the Hugging Face folder that the pair was written from. Raises: ExportError."""
    said = asdict(card)
    return {
        "format": FORMAT,
        "name": card.name,
        "version": version,
        "demonstration": card.demonstration,
        "intended_use": card.intended_use,
        "known_failures": card.known_failures,
        "scope": card.scope,
        "files": {name: asdict(pair.files[name]) for name in (MODEL, PROJECTOR)},
        "base_model": said["base_model"],
        "adapter": merged_from(model),
        "quantization": asdict(pair.source),
        "data": [{"name": name, "terms": terms} for name, terms in FILES.items()],
        "image_size": read_checkpoint(model).vision["image_size"],
        "prompt_version": PROMPT_VERSION,
        "labels": [asdict(label) for label in label_set()],
        "calibration": asdict(UNMEASURED),
        "evaluation": None,
        "agreement": None,
        "licences": card.licences,
    }


def write_draft(folder: Path, pair: Pair, manifest: dict[str, Any]) -> None:
    """The pair and its manifest in `folder`, which may hold them from an earlier attempt."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (MODEL, PROJECTOR):
        (folder / name).unlink(missing_ok=True)
        try:
            os.link(pair.folder / name, folder / name)
        except OSError:  # another file system
            shutil.copyfile(pair.folder / name, folder / name)
    write_manifest(folder, manifest)
