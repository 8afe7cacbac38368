"""An atlas as it is carried: a folder of plain files, and atlas.json, which declares them.

    atlas.json    what it is, whose tower made its vectors, sources, licences, every file's hash
    cases.jsonl   one reference case a line
    vectors.npy   float32, (cases, dimensions), of length one, in the same order
    heads.npz     the heads that lead into that space; none where the towers share one already
    pictures.bin  small JPEGs one after another; only of pictures that may be passed on

The index is made of them on the machine that searches it: another's Chroma files are never opened.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from appliance.core.atlas import AtlasCard, Source, TowerId
from appliance.core.labels import DOMAINS, Domain
from appliance.errors import AtlasError, AtlasMissingError
from appliance.release.atlas_heads import HEADS
from appliance.release.manifest import Release, hash_file

MANIFEST = "atlas.json"
CASES = "cases.jsonl"
VECTORS = "vectors.npy"
PICTURES = "pictures.bin"
FORMAT = 1
MOST_MANIFEST_BYTES = 1 << 20
MOST_LINE_BYTES = 16 << 10
MOST_PICTURE_BYTES = 64 << 10
COPY_AGAIN = "copy the atlas again from where it came"
BUILT_IN = Path(__file__).parent / "demonstration_atlas"
"""Vectors and captions, no pictures: of the demonstration release."""


def release_tower(release: Release, text_sha256: str) -> TowerId:
    """By the projector's file, which holds the vision tower: a release that is measured again
    keeps its atlas."""
    projector = release.files[release.projector.name].sha256
    return TowerId("release", release.name, projector, text_sha256, release.card.image_size)


def find_atlas(home: Path, tower: TowerId) -> "AtlasFiles":
    """The one that was added for this tower, or the built-in one. Raises: AtlasMissingError when
    neither is there, AtlasError."""
    added = atlas_place(home, tower)
    if (added / MANIFEST).is_file():
        return read_atlas(added)
    if (BUILT_IN / MANIFEST).is_file():
        found = read_atlas(BUILT_IN)
        if (found.tower.kind, found.tower.sha256) == (tower.kind, tower.sha256):
            return found
    raise AtlasMissingError(
        f"there is no atlas for {tower.name} on this machine",
        "add the one that came with it: `appliance atlas add FOLDER`",
    )


def atlas_place(home: Path, tower: TowerId) -> Path:
    """Where the atlas of a tower is kept."""
    return home / f"of-{tower.sha256[:16]}"


@dataclass(frozen=True)
class AtlasFiles:
    """An atlas whose manifest reads well; its files are checked by `verify_atlas`."""

    folder: Path
    card: AtlasCard
    tower: TowerId
    dimensions: int
    files: Mapping[str, tuple[str, int]]
    """SHA-256 and size in bytes."""
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class StoredCase:
    """A line of cases.jsonl."""

    case_id: str
    label: str
    domain: Domain
    findings: str
    caption: str
    source: str
    row: str
    sha256: str
    """Of the picture's file, as the source has it."""
    picture_start: int = 0
    picture_bytes: int = 0
    """Where its JPEG stands in pictures.bin; 0 bytes when it is not carried."""


def read_atlas(folder: Path) -> AtlasFiles:
    """Raises: AtlasMissingError when there is none; AtlasError when it cannot be used."""
    path = folder / MANIFEST
    try:
        if path.stat().st_size > MOST_MANIFEST_BYTES:
            raise AtlasError(f"the atlas's manifest is too large: {path}", COPY_AGAIN)
        encoded = path.read_bytes()
    except OSError as exc:
        raise AtlasMissingError(
            f"no atlas ({exc.strerror}): {path}", "give the folder that holds atlas.json"
        ) from exc
    try:
        return _atlas(folder, json.loads(encoded), hashlib.sha256(encoded).hexdigest())
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise AtlasError(
            f"the atlas's manifest cannot be read ({type(exc).__name__}: {exc}): {path}", COPY_AGAIN
        ) from exc


def verify_atlas(atlas: AtlasFiles) -> None:
    """Raises: AtlasError at the first file that is missing or is not the one declared."""
    for name, (sha256, size_bytes) in atlas.files.items():
        path = atlas.folder / name
        try:
            found = (hash_file(path), path.stat().st_size)
        except OSError as exc:
            raise AtlasError(
                f"a file of the atlas cannot be read ({exc.strerror}): {path}", COPY_AGAIN
            ) from exc
        if found != (sha256, size_bytes):
            raise AtlasError(
                f"a file of the atlas is not the one its manifest declares: {path}", COPY_AGAIN
            )


def refuse_other_tower(atlas: AtlasFiles, tower: TowerId) -> None:
    """Raises: AtlasError when its vectors are of another encoder than the one in use."""
    made, used = atlas.tower, tower
    if (made.kind, made.sha256) != (used.kind, used.sha256):
        raise AtlasError(
            f"the atlas {atlas.card.name} belongs to the {made.kind} {made.name} "
            f"({made.sha256[:12]}), not to {used.name} ({used.sha256[:12]})",
            "use the atlas that came with this release, or make one with `python -m export atlas`",
            code="atlas-other-release",
        )
    if made.text_sha256 != used.text_sha256:
        raise AtlasError(
            f"the atlas {atlas.card.name} was made with another text encoder "
            f"({made.text_sha256[:12]}, here {used.text_sha256[:12]})",
            "install the appliance version that the atlas came with",
            code="atlas-other-text",
        )


def read_cases(atlas: AtlasFiles) -> Iterator[StoredCase]:
    """Every case in order. Raises: AtlasError."""
    sources = {source.name for source in atlas.card.sources}
    path = atlas.folder / CASES
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MOST_LINE_BYTES), b""), 1):
                case = StoredCase(**json.loads(line))
                if case.domain not in DOMAINS or case.source not in sources:
                    raise ValueError(f"line {number}: no such domain or source")
                yield case
    except (OSError, ValueError, TypeError) as exc:
        raise AtlasError(f"the atlas's cases cannot be read ({exc}): {path}", COPY_AGAIN) from exc


def write_atlas_manifest(
    folder: Path,
    tower: TowerId,
    sources: Mapping[str, Source],
    said: Mapping[str, Any],
) -> Path:
    """atlas.json over the files in `folder`; `said` is the rest of it. Raises: OSError."""
    names = [name for name in (CASES, VECTORS, HEADS, PICTURES) if (folder / name).is_file()]
    manifest = {
        "format": FORMAT,
        **said,
        "tower": asdict(tower),
        "sources": [asdict(source) for source in sources.values()],
        "files": {
            name: {
                "sha256": hash_file(folder / name),
                "size_bytes": (folder / name).stat().st_size,
            }
            for name in names
        },
    }
    path = folder / MANIFEST
    aside = path.with_name(MANIFEST + ".partial")
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)
    return path


def _atlas(folder: Path, manifest: dict[str, Any], sha256: str) -> AtlasFiles:
    if manifest["format"] != FORMAT:
        raise ValueError(f"format {manifest['format']!r}, expected {FORMAT}")
    files = {
        name: (str(entry["sha256"]), int(entry["size_bytes"]))
        for name, entry in manifest["files"].items()
    }
    if unknown := sorted(set(files) - {CASES, VECTORS, HEADS, PICTURES}):
        raise ValueError(f"not a file of an atlas: {unknown[0]!r}")
    if missing := sorted({CASES, VECTORS} - set(files)):
        raise ValueError(f"it must declare {missing[0]}")
    tower = TowerId(**manifest["tower"])
    if (tower.kind == "release") != (HEADS in files):
        raise ValueError(f"an atlas of a {tower.kind}'s tower, and heads: {HEADS in files}")
    by_label = {str(name): int(count) for name, count in manifest["cases_by_label"].items()}
    sources = tuple(
        Source(**{key: str(row[key]) for key in ("name", "title", "attribution", "licence")})
        for row in manifest["sources"]
    )
    card = AtlasCard(
        name=str(manifest["name"]),
        sha256=sha256,
        cases=sum(by_label.values()),
        cases_by_label=by_label,
        sources=sources,
        image_size=int(tower.image_size),
        least_cosine=float(manifest["least_cosine"]),
    )
    return AtlasFiles(folder, card, tower, int(manifest["dimensions"]), files, manifest)
