"""The folder that an atlas is carried in, from labelled pictures whose captions are known.

    python -m export atlas OUT --heads HEADS.npz --data DIR --captions CAPTIONS.jsonl

Reads downward: features, the space, which cases, figures, files. Cases are of the training split
alone: nothing that a figure is measured on is in an atlas. A picture is carried only where its
licence lets it be passed on. Written aside and renamed.
"""

import hashlib
import io
import json
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from appliance.core.atlas import Source, caption_text
from appliance.release.atlas_files import (
    CASES,
    MOST_PICTURE_BYTES,
    PICTURES,
    VECTORS,
    StoredCase,
    read_atlas,
    verify_atlas,
    write_atlas_manifest,
)
from appliance.release.atlas_heads import HEADS, Heads, read_heads
from appliance.wiring import open_towers
from export.aside import refuse_existing, written_aside
from export.errors import ExportError
from training.atlas.material import AtlasMaterial, gather_atlas
from training.atlas.measure import (
    K,
    Places,
    least_cosine,
    measure,
    pixel_rows,
    reference_places,
    space_of,
    table,
)
from training.datasets import encoded_images

SOURCES = Path(__file__).with_name("atlas_sources.toml")
PICTURE_SIDE = 160
"""Longest side of a carried picture, in pixels."""
TERMS = "Reference cases for teaching. Not a medical device; says nothing about a patient."

Carried = Literal["none", "open", "noncommercial"]
PERMITTED: dict[Carried, tuple[str, ...]] = {
    "none": (),
    "open": ("open",),
    "noncommercial": ("open", "noncommercial"),
}
"""What each choice carries, of the kinds in atlas_sources.toml."""


@dataclass(frozen=True)
class Terms:
    source: Source
    pictures: str
    """open, noncommercial or never."""


@dataclass(frozen=True)
class AtlasOrder:
    """What an atlas is to hold."""

    name: str
    pictures: Carried
    per_label: int | None
    """At most so many cases of a label; None: all of the training split."""
    without: frozenset[str] = frozenset()
    """Data sets that are left out."""


def read_sources() -> dict[str, Terms]:
    table = tomllib.loads(SOURCES.read_text(encoding="utf-8"))
    return {
        name: Terms(Source(name, row["title"], row["attribution"], row["licence"]), row["pictures"])
        for name, row in table.items()
    }


def write_atlas(
    order: AtlasOrder,
    tower: Path,
    heads_file: Path | None,
    data: Path,
    captions: Path,
    run: Path,
    out: Path,
    threads: int,
    say: Callable[[str], None],
) -> Path:
    """`tower` is a release's folder, which needs heads, or a CLIP-type pair's, which has none.

    Raises: ExportError; DatasetError, ReleaseError, AtlasError. Then nothing is at `out`.
    """
    refuse_existing(out)
    with open_towers(tower, threads) as towers:
        identity = towers.identity
        heads = _heads(heads_file, identity.kind)
        material = gather_atlas(towers, data, captions, run, say)
    if heads is not None and heads.image.mean.shape[0] != material.pictures.shape[1]:
        raise ExportError(
            f"{heads_file}: takes {heads.image.mean.shape[0]} features, and {tower} gives "
            f"{material.pictures.shape[1]}; learn its own with `python -m training atlas heads`"
        )
    space = space_of(heads, material)
    references = _chosen(order, material)
    sources = read_sources()
    with written_aside(out) as aside:
        say(f"{len(references)} cases")
        cases = _write_cases(order, material, references, sources, data, aside)
        _refuse_twice(cases)
        vectors = space.cases[references].astype(np.float32)
        np.save(aside / VECTORS, vectors, allow_pickle=False)
        if heads_file is not None:
            (aside / HEADS).write_bytes(heads_file.read_bytes())
        say("measuring")
        figures = measure(space, material, references, pixel_rows(material, data, run))
        for line in table(figures):
            say(line)
        write_atlas_manifest(
            aside,
            identity,
            {name: sources[name].source for name in sorted({case.source for case in cases})},
            {
                "name": order.name,
                "terms": TERMS,
                "pictures": order.pictures,
                "dimensions": int(vectors.shape[1]),
                "cases_by_label": dict(Counter(case.label for case in cases)),
                "least_cosine": round(least_cosine(space, material, references), 4),
                "evaluation": {"split": "test", **figures},
                "made_with": {name: version(name) for name in ("numpy", "onnxruntime")},
            },
        )
        verify_atlas(read_atlas(aside))
    return out


def _heads(file: Path | None, kind: str) -> Heads | None:
    if (file is None) == (kind == "release"):
        raise ExportError(
            "a release's tower needs --heads, which `python -m training atlas heads` learns; a "
            "CLIP-type pair of encoders has none"
        )
    if file is None:
        return None
    try:
        return read_heads(file.read_bytes())
    except ValueError as exc:
        raise ExportError(f"{file}: {exc}") from exc


def _chosen(order: AtlasOrder, material: AtlasMaterial) -> Places:
    """Places of the cases. Raises: ExportError when too few are left to be measured."""
    places = reference_places(material, order.per_label)
    kept = [p for p in places if material.rows[p].example.dataset not in order.without]
    if len(kept) <= K:
        raise ExportError(
            f"{len(kept)} cases are left, and figures need more than {K}; name fewer data sets "
            "with --without, or a larger --per-label"
        )
    return np.array(kept)


def _write_cases(
    order: AtlasOrder,
    material: AtlasMaterial,
    references: Places,
    sources: dict[str, Terms],
    data: Path,
    folder: Path,
) -> list[StoredCase]:
    names = {material.rows[place].example.dataset for place in references}
    encoded = {name: encoded_images(data, name) for name in names}
    permitted = PERMITTED[order.pictures]
    cases = []
    start = 0
    with (
        (folder / CASES).open("w", encoding="utf-8") as lines,
        (folder / PICTURES).open("wb") as pictures,
    ):
        for place in references:
            example, caption = material.rows[place].example, material.rows[place].caption
            image = encoded[example.dataset][example.row]
            sha256 = hashlib.sha256(image).hexdigest()
            small = small_picture(image) if sources[example.dataset].pictures in permitted else b""
            pictures.write(small)
            case = StoredCase(
                case_id=sha256[:16],
                label=caption.label,
                domain=example.domain,
                findings=caption.key_findings,
                caption=caption_text(caption),
                source=example.dataset,
                row=str(example.row),
                sha256=sha256,
                picture_start=start,
                picture_bytes=len(small),
            )
            lines.write(json.dumps(asdict(case)) + "\n")
            cases.append(case)
            start += len(small)
    if not start:
        (folder / PICTURES).unlink()
    return cases


def _refuse_twice(cases: list[StoredCase]) -> None:
    first: dict[str, StoredCase] = {}
    for case in cases:
        other = first.setdefault(case.case_id, case)
        if other is not case:
            raise ExportError(
                f"{case.source}, row {case.row}: is the same picture as {other.source}, row "
                f"{other.row}; take one of the two out of the captions"
            )


def small_picture(encoded: bytes) -> bytes:
    """A small JPEG of the pixels alone: what else the file held is left behind."""
    from PIL import Image

    picture = Image.open(io.BytesIO(encoded)).convert("RGB")
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    file = io.BytesIO()
    Image.fromarray(np.asarray(picture)).save(file, "JPEG", quality=85)
    if file.tell() > MOST_PICTURE_BYTES:
        raise ExportError(f"a picture of {file.tell()} bytes is too large for an atlas")
    return file.getvalue()
