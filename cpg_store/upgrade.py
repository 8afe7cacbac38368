"""Bringing an index of format 1 to the present one, after a whole copy was kept beside it.

Format 1 had one folder of vectors, and passages without span, publisher, language and what follows
from them: those stay unknown (spans are 0 to 0) until a document is removed and added again. It
knows how format 1 was laid out, nothing of how an index is searched.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from cpg_store.catalogue import CATALOGUE, Catalogue
from cpg_store.embed import Embedder
from cpg_store.errors import IndexDamaged
from cpg_store.generations import Generations
from cpg_store.making import make_all
from cpg_store.manifest import FORMAT, read_format
from cpg_store.passage import Document, Passage
from cpg_store.storage import REBUILD, failure, write_through
from cpg_store.stored import filled

_OLD_VECTORS = "chroma"


def upgrade(directory: Path, embedder: Embedder) -> Path:
    """Bring the index in `directory` to this format; returns where the copy of the old is kept.

    The manifest is replaced last: killed before, it begins again from the copy.
    Raises: IndexDamaged, StorageFailed.
    """
    found = read_format(directory)
    if found != 1:
        raise IndexDamaged(f"the index has format {found}, not {FORMAT}: {directory}", REBUILD)
    kept = directory.with_name(f"{directory.name}.format-{found}")
    try:
        if not kept.exists():
            aside = kept.with_name(f"{kept.name}.partial")
            shutil.rmtree(aside, ignore_errors=True)
            shutil.copytree(directory, aside)
            write_through(aside)
            aside.rename(kept)
        whole = _read_format_1(kept / CATALOGUE)
        shutil.rmtree(directory / _OLD_VECTORS, ignore_errors=True)
        for file in directory.glob(f"{CATALOGUE}*"):
            file.unlink()
    except (OSError, sqlite3.Error) as exc:
        raise failure(exc, "the index", directory) from exc
    with closing(Catalogue(directory / CATALOGUE)) as catalogue:
        for document, passages in whole:
            catalogue.add(document, passages)
        generations = Generations(directory, embedder)
        with generations.rebuilt() as vectors:
            make_all(vectors, catalogue, embedder)
        generations.clean()
    return kept


def _read_format_1(file: Path) -> list[tuple[Document, list[Passage]]]:
    """Every document with its passages in order. Raises: sqlite3.Error."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        documents = [
            filled(Document, dict(row)) for row in connection.execute("SELECT * FROM documents")
        ]
        query = "SELECT * FROM passages WHERE document_id = ? ORDER BY ordinal"
        return [
            (
                document,
                [_passage(dict(row)) for row in connection.execute(query, (document.document_id,))],
            )
            for document in documents
        ]


def _passage(row: dict[str, Any]) -> Passage:
    section = row.get("section") or ""
    known = {**row, "section_path": tuple(section.split(" > ")) if section else ()}
    return filled(Passage, {**known, "last_page": row["page"]})
