"""What the heads learn from: features of every captioned picture and of every caption.

Features of pictures come from the release itself, as at the clinic, and are kept in the run's
folder, so that a run that was stopped goes on.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from appliance.core.atlas import Towers, caption_text
from appliance.core.ports import Picture
from training.datasets import FILES, encoded_images, file_sizes
from training.labels import label_set
from training.pixels import decoded
from training.qlora.material import CaptionedImage, read_captions

SAVE_EVERY = 256
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class AtlasMaterial:
    """One row a captioned picture, in every array."""

    rows: list[CaptionedImage]
    labels: NDArray[np.int64]
    """Position in the label set."""
    domains: NDArray[np.str_]
    splits: NDArray[np.str_]
    pictures: Floats
    """(rows, features of the vision tower)"""
    captions: Floats
    """(rows, features of the text tower)"""

    @property
    def groups(self) -> NDArray[np.str_]:
        """Each row's patient or lesion."""
        return np.array([f"{row.example.dataset} {row.example.group}" for row in self.rows])

    def places(self, split: str) -> NDArray[np.int64]:
        return np.flatnonzero(self.splits == split)


def gather_atlas(
    towers: Towers, data: Path, captions: Path, run: Path, say: Callable[[str], None]
) -> AtlasMaterial:
    """Of the public data sets; a clinic's own pictures have no place in an atlas.

    Raises: DatasetError, ModelError, ReleaseError.
    """
    rows = [row for row in read_captions(captions, data) if row.example.dataset in FILES]
    names = label_set().names
    return AtlasMaterial(
        rows=rows,
        labels=np.array([names.index(row.caption.label) for row in rows]),
        domains=np.array([row.example.domain for row in rows]),
        splits=np.array([row.split for row in rows]),
        pictures=_picture_features(towers, rows, data, run, say),
        captions=text_features(towers, [caption_text(row.caption) for row in rows]),
    )


def text_features(towers: Towers, texts: Sequence[str]) -> Floats:
    """(texts, features); a text that comes twice is embedded once."""
    made = {text: towers.text_features(text) for text in dict.fromkeys(texts)}
    return np.array([made[text] for text in texts], np.float32)


def _picture_features(
    towers: Towers,
    rows: Sequence[CaptionedImage],
    data: Path,
    run: Path,
    say: Callable[[str], None],
) -> Floats:
    identity = towers.identity
    places = [(row.example.dataset, row.example.row) for row in rows]
    held = json.dumps([identity.sha256, identity.image_size, file_sizes(data), places])
    file = run / f"features-{hashlib.sha256(held.encode()).hexdigest()[:12]}.npy"
    done_file = file.with_suffix(".done")
    done = int(done_file.read_text()) if file.is_file() and done_file.is_file() else 0
    if done == len(rows):
        kept: Floats = np.load(file)
        return kept
    run.mkdir(parents=True, exist_ok=True)
    images = {name: encoded_images(data, name) for name in {name for name, _ in places}}
    size = identity.image_size

    def features(place: int) -> Sequence[float]:
        example = rows[place].example
        rgb = decoded(example, images[example.dataset][example.row], size).tobytes()
        return towers.picture_features(Picture(rgb, size, "", "memory", size, size, None))

    width = len(features(0))
    out = np.lib.format.open_memmap(file, "r+" if done else "w+", np.float32, (len(rows), width))
    for start in range(done, len(rows), SAVE_EVERY):
        chunk = range(start, min(start + SAVE_EVERY, len(rows)))
        out[chunk.start : chunk.stop] = [features(place) for place in chunk]
        out.flush()
        done_file.write_text(str(chunk.stop))
        if chunk.stop % (8 * SAVE_EVERY) == 0:
            say(f"looked at {chunk.stop} of {len(rows)} pictures")
    return np.array(out)
