"""The manifest of an index: its format, the embedder of its vectors, and where the vectors lie.

Replacing it is the one act that puts other vectors in use. It knows nothing of what they hold.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from cpg_store.embed import Embedder
from cpg_store.errors import EmbedderChanged, EmbedderMissing, IndexDamaged
from cpg_store.storage import REBUILD, REMAKE, failure, replace_file

FORMAT = 2
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    format: int
    embedder: str
    """The identity of the embedder that made the vectors."""
    embedder_folder: str | None
    """Where it was opened; None for the installed one."""
    vectors: str | None
    """The folder in use; None where a server keeps them."""
    server: str | None
    """The address of the server; None where a folder keeps them."""
    chromadb: str
    """The version of Chroma's library that wrote it."""


def made_with(embedder: Embedder, vectors: str | None, server: str | None) -> Manifest:
    from importlib.metadata import version

    folder = str(embedder.folder) if embedder.folder else None
    return Manifest(FORMAT, embedder.identity, folder, vectors, server, version("chromadb"))


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Raises: StorageFailed."""
    try:
        replace_file(directory / MANIFEST, json.dumps(asdict(manifest), indent=2) + "\n")
    except OSError as exc:
        raise failure(exc, "the index's manifest", directory) from exc


def read_format(directory: Path) -> int:
    """Raises: IndexDamaged."""
    found = _read(directory).get("format")
    if not isinstance(found, int):
        raise IndexDamaged(f"the index's manifest gives no format: {directory}", REBUILD)
    return found


def read_manifest(directory: Path) -> Manifest:
    """Raises: IndexDamaged."""
    stored = _read(directory)
    if stored.get("format") != FORMAT:
        message = f"the index has format {stored.get('format')}, not {FORMAT}: {directory}"
        raise IndexDamaged(message, REBUILD)
    try:
        manifest = Manifest(**{field.name: stored[field.name] for field in fields(Manifest)})
    except KeyError as exc:
        raise IndexDamaged(f"the index's manifest lacks {exc}: {directory}", REBUILD) from exc
    if manifest.vectors is not None and Path(str(manifest.vectors)).name != manifest.vectors:
        raise IndexDamaged(f"the index's manifest names another place: {directory}", REBUILD)
    return manifest


def _read(directory: Path) -> Mapping[str, Any]:
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise failure(exc, "the index's manifest", directory) from exc
    if not isinstance(manifest, dict):
        raise IndexDamaged(f"the index's manifest is not an object: {directory}", REBUILD)
    return manifest


def embedder_of(manifest: Manifest, wished: Embedder, directory: Path) -> Embedder:
    """The embedder that made the index: the one wished for, or the one it was made with.

    Raises: EmbedderChanged when neither is at hand.
    """
    if manifest.embedder == wished.identity:
        return wished
    try:
        folder = manifest.embedder_folder
        before = Embedder.from_folder(Path(folder)) if folder else Embedder.default()
    except EmbedderMissing:
        before = wished
    if manifest.embedder != before.identity:
        raise EmbedderChanged(f"the index was made with another embedder: {directory}", REMAKE)
    return before
