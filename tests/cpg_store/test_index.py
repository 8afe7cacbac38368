"""Claims about keeping: what is added is whole, what failed is not there, what is wrong is said."""

import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cpg_store.embed import Embedder
from cpg_store.errors import (
    EmbedderChanged,
    IndexBusy,
    IndexDamaged,
    IndexMissing,
    UnreadableDocument,
)
from cpg_store.index import Index
from cpg_store.ingest import add_document
from cpg_store.search import search

SCABIES = "# Scabies\nApply permethrin cream to the whole body and wash it off after eight hours.\n"
GOUT = "# Gout\nGive colchicine for an acute attack of gout and rest the swollen joint.\n"

PROJECT = Path(__file__).resolve().parents[2]


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_passage_is_found_with_its_document_edition_and_section(
    index: Index, tmp_path: Path
) -> None:
    path = write(tmp_path, "scabies.md", SCABIES)
    add_document(index, path, title="Skin Manual", edition="Second Edition", year=2024)
    (found,) = search(index, "permethrin for scabies")
    passage = found.passage
    assert passage.text == SCABIES.split("\n")[1]
    assert (passage.document, passage.edition, passage.year) == (
        "Skin Manual",
        "Second Edition",
        2024,
    )
    assert (passage.section, passage.page) == ("Scabies", None)
    assert 0 < found.score <= 1


def test_adding_the_same_file_twice_does_nothing_and_says_so(index: Index, tmp_path: Path) -> None:
    path = write(tmp_path, "scabies.md", SCABIES)
    first, second = add_document(index, path), add_document(index, path)
    assert (first.was_new, second.was_new) == (True, False)
    assert first.document == second.document
    assert index.documents() == [first.document]
    assert index.check() == []


def test_the_same_file_gives_the_same_passage_ids(tmp_path: Path, embedder: Embedder) -> None:
    path = write(tmp_path, "scabies.md", SCABIES)
    ids = []
    for name in ("one", "two"):
        with Index.open(tmp_path / name, embedder, create=True) as index:
            document = add_document(index, path).document
            ids.append(
                [each.passage_id for each in index.catalogue.passages_of(document.document_id)]
            )
    assert ids[0] == ids[1] != []


def test_a_removed_document_is_gone_from_both_indexes(index: Index, tmp_path: Path) -> None:
    kept = add_document(index, write(tmp_path, "gout.md", GOUT)).document
    gone = add_document(index, write(tmp_path, "scabies.md", SCABIES)).document
    assert index.remove(gone.document_id)
    assert not index.remove(gone.document_id)
    assert index.documents() == [kept]
    assert search(index, "permethrin for scabies") == []
    assert index.check() == []


def test_an_add_killed_before_its_end_shows_nothing_and_is_cleaned_at_the_next(
    tmp_path: Path, embedder: Embedder
) -> None:
    directory = tmp_path / "index"
    with Index.open(directory, embedder, create=True) as index:
        add_document(index, write(tmp_path, "gout.md", GOUT))
    killed = subprocess.run(
        [sys.executable, "-c", _ADD_AND_DIE, directory, write(tmp_path, "scabies.md", SCABIES)],
        cwd=PROJECT,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    with Index.open(directory, embedder) as index:
        assert index.vectors.count() == 2
        assert search(index, "permethrin for scabies") == []
        assert len(search(index, "colchicine for gout")) == 1
        assert index.check() == []
        add_document(index, write(tmp_path, "other.md", SCABIES + "Treat the household too.\n"))
        assert index.vectors.count() == 2
        assert index.check() == []


# Dies between the vectors and the catalogue, the one moment at which the two disagree.
_ADD_AND_DIE = """
import os, signal, sys
from pathlib import Path
from cpg_store.embed import Embedder
from cpg_store.index import Index
from cpg_store.ingest import add_document
index = Index.open(Path(sys.argv[1]), Embedder.default())
index.catalogue.add = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
add_document(index, Path(sys.argv[2]))
"""


def test_a_refused_document_leaves_the_index_as_it_was(index: Index, tmp_path: Path) -> None:
    for path in (
        tmp_path / "absent.pdf",
        tmp_path,
        write(tmp_path, "empty.md", ""),
        write(tmp_path, "false.pdf", "no PDF"),
        write(tmp_path, "picture.jpg", "no picture"),
    ):
        with pytest.raises(UnreadableDocument, match=path.name) as refusal:
            add_document(index, path)
        assert refusal.value.hint
    assert index.documents() == []
    assert index.check() == []


def test_there_is_no_index_until_one_is_created(tmp_path: Path, embedder: Embedder) -> None:
    with pytest.raises(IndexMissing):
        Index.open(tmp_path / "none", embedder)
    assert not (tmp_path / "none").exists()


def test_an_index_made_with_another_embedder_is_refused(index: Index, embedder: Embedder) -> None:
    manifest = index.directory / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "embedder": "other"}))
    with pytest.raises(EmbedderChanged):
        Index.open(index.directory, embedder)
    assert "the index was made with another embedder" in index.check()


def test_a_stored_embedding_function_is_refused_before_chroma_opens(
    tmp_path: Path, embedder: Embedder
) -> None:
    directory = tmp_path / "index"
    Index.open(directory, embedder, create=True).close()
    with sqlite3.connect(directory / "chroma" / "chroma.sqlite3") as database:
        function = {"type": "known", "name": "sentence_transformer", "config": {}}
        text = json.dumps({"embedding_function": function})
        database.execute("UPDATE collections SET config_json_str = ?", (text,))
    database.close()
    with pytest.raises(IndexDamaged, match="not ours"):
        Index.open(directory, embedder)


def test_a_changed_passage_is_reported(index: Index, tmp_path: Path) -> None:
    add_document(index, write(tmp_path, "scabies.md", SCABIES))
    with sqlite3.connect(index.directory / "catalogue.sqlite3") as database:
        database.execute("UPDATE passages SET text = replace(text, 'eight', 'eighty')")
    database.close()
    assert any("not as they were added" in problem for problem in index.check())


def test_a_damaged_catalogue_is_reported_with_how_to_rebuild(
    tmp_path: Path, embedder: Embedder
) -> None:
    directory = tmp_path / "index"
    Index.open(directory, embedder, create=True).close()
    (directory / "catalogue.sqlite3").write_bytes(b"no database, only noise" * 100)
    with pytest.raises(IndexDamaged) as refusal:
        Index.open(directory, embedder)
    assert "add the documents again" in refusal.value.hint


def test_lost_vectors_are_reported(tmp_path: Path, embedder: Embedder) -> None:
    directory = tmp_path / "index"
    with Index.open(directory, embedder, create=True) as index:
        document = add_document(index, write(tmp_path, "scabies.md", SCABIES)).document
        index.vectors.remove(document.document_id)
        assert any("vectors and passages differ" in problem for problem in index.check())


def test_a_damaged_vector_index_is_a_typed_error(tmp_path: Path, embedder: Embedder) -> None:
    directory = tmp_path / "index"
    Index.open(directory, embedder, create=True).close()
    (directory / "chroma" / "chroma.sqlite3").write_bytes(b"no database, only noise" * 100)
    with pytest.raises(IndexDamaged):
        Index.open(directory, embedder)


def test_an_index_is_not_made_among_other_files(tmp_path: Path, embedder: Embedder) -> None:
    write(tmp_path, "letter.txt", "not ours")
    with pytest.raises(IndexMissing, match="holds other files"):
        Index.open(tmp_path, embedder, create=True)


def test_two_writers_do_not_meet(index: Index, tmp_path: Path) -> None:
    with (index.directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(IndexBusy):
            add_document(index, write(tmp_path, "scabies.md", SCABIES))
    assert index.documents() == []


def test_the_index_is_closed_to_other_users(index: Index, tmp_path: Path) -> None:
    add_document(index, write(tmp_path, "scabies.md", SCABIES))
    for folder, _, files in os.walk(index.directory):
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        assert all(Path(folder, file).stat().st_mode & 0o777 == 0o600 for file in files)


def test_title_edition_and_year_are_read_from_the_first_page(
    index: Index, make_pdf: Callable[..., Path]
) -> None:
    page = [
        ("Management of Wounds", 22, 0, (72, 100)),
        ("Second Edition, published in 2019", 11, 0, (72, 140)),
    ]
    document = add_document(index, make_pdf([page])).document
    assert (document.title, document.edition, document.year) == (
        "Management of Wounds",
        "Second Edition",
        2019,
    )


@pytest.mark.parametrize("part", ["catalogue.sqlite3", "chroma/chroma.sqlite3"])
def test_an_index_that_lost_a_part_is_damaged_and_not_empty(
    tmp_path: Path, embedder: Embedder, make_pdf: Callable[..., Path], part: str
) -> None:
    text = "Refer a child with a painful eye to an eye clinic today."
    with Index.open(tmp_path / "lost", embedder, create=True) as opened:
        add_document(opened, make_pdf([[(text, 11, 0, (72, 90))]]))
    (tmp_path / "lost" / part).unlink()
    with pytest.raises(IndexDamaged, match="is gone"):
        Index.open(tmp_path / "lost", embedder)
