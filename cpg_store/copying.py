"""A copy of an index as it stands, to be carried elsewhere; readers go on meanwhile."""

import shutil
import sqlite3
from pathlib import Path

from cpg_store.catalogue import CATALOGUE
from cpg_store.errors import IndexMissing
from cpg_store.generations import copy_folder
from cpg_store.index import locked
from cpg_store.manifest import MANIFEST, read_manifest
from cpg_store.originals import FOLDER as ORIGINALS
from cpg_store.storage import copy_database, failure, make_private


def copy_index(directory: Path, target: Path) -> None:
    """Copy the index in `directory` to the new folder `target`: catalogue, the vectors in use, the
    documents' own files. Nobody adds to it meanwhile.

    Raises: IndexMissing, IndexBusy, IndexDamaged, VectorsDamaged, StorageFailed.
    """
    if not (directory / MANIFEST).exists():
        raise IndexMissing(f"there is no guideline index: {directory}", "add a guideline document")
    with locked(directory):
        manifest = read_manifest(directory)
        try:
            target.mkdir(mode=0o700)
            copy_database(directory / CATALOGUE, target / CATALOGUE)
            if manifest.vectors:
                copy_folder(directory / manifest.vectors, target / manifest.vectors)
            if (directory / ORIGINALS).is_dir():
                shutil.copytree(directory / ORIGINALS, target / ORIGINALS)
            shutil.copyfile(directory / MANIFEST, target / MANIFEST)
            make_private(target)
        except (OSError, sqlite3.Error) as exc:
            raise failure(exc, "the copy of the index", target) from exc
