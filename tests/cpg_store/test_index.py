"""Claims about keeping: what is added is whole, what failed is not there, what is wrong is said."""

import errno
import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cpg_store.embed import Embedder
from cpg_store.errors import (
    EmbedderChanged,
    IndexBusy,
    IndexDamaged,
    IndexMissing,
    OtherwiseIndexed,
    StorageFailed,
    UnreadableDocument,
    VectorsDamaged,
)
from cpg_store.index import Index
from cpg_store.ingest import add_document
from cpg_store.originals import altered_originals, document_page
from cpg_store.search import search
from cpg_store.storage import failure
from tests.cpg_store.killed_add import (
    GOUT,
    PROJECT,
    SCABIES,
    broken_after_kill,
    random_points,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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


def test_what_is_given_of_a_document_that_is_there_is_noted(index: Index, tmp_path: Path) -> None:
    path = write(tmp_path, "scabies.md", SCABIES)
    add_document(index, path, edition="2nd")
    again = add_document(index, path, superseded_by="3rd", review_due=date(2020, 1, 31))
    assert not again.was_new
    assert index.documents() == [again.document]
    (found,) = search(index, "permethrin for scabies")
    assert (found.passage.edition, found.passage.superseded_by) == ("2nd", "3rd")
    assert found.passage.review_due == date(2020, 1, 31)
    assert index.check() == []
    with pytest.raises(OtherwiseIndexed, match="already as 'Scabies'"):
        add_document(index, path, title="Skin Manual")


def test_a_pdf_is_not_listed_whose_pages_could_not_be_kept(
    index: Index, make_pdf: Callable[..., Path]
) -> None:
    path = make_pdf([[("Refer a painful eye to an eye clinic today.", 11, 0, (72, 90))]])
    documents = index.directory / "documents"
    documents.write_text("in the way")
    with pytest.raises(IndexDamaged, match="documents"):
        add_document(index, path)
    assert index.documents() == []
    documents.unlink()
    added = add_document(index, path).document
    (documents / f"{added.document_id}.pdf").unlink()
    assert not add_document(index, path).was_new
    assert document_page(index, added.document_id, 1)


def test_another_file_in_the_place_of_a_documents_own_is_not_drawn(
    index: Index, make_pdf: Callable[..., Path]
) -> None:
    path = make_pdf([[("Refer a painful eye to an eye clinic today.", 11, 0, (72, 90))]])
    added = add_document(index, path).document
    assert altered_originals(index) == []
    forged = make_pdf([[("Wait a week.", 11, 0, (72, 90))]], "forged.pdf")
    kept = index.directory / "documents" / f"{added.document_id}.pdf"
    kept.write_bytes(forged.read_bytes())
    with pytest.raises(UnreadableDocument, match="not of the file"):
        document_page(index, added.document_id, 1)
    (problem,) = altered_originals(index)
    assert added.title in problem
    add_document(index, path)
    assert kept.read_bytes() == path.read_bytes()


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
        assert search(index, "permethrin for scabies") == []
        assert len(search(index, "colchicine for gout")) == 1
        assert index.check() == []
        add_document(index, write(tmp_path, "other.md", SCABIES + "Treat the household too.\n"))
        assert index.in_use()[1].count() == 2
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


def test_a_stored_embedding_function_is_refused_before_chroma_opens(
    tmp_path: Path, embedder: Embedder
) -> None:
    directory = tmp_path / "index"
    Index.open(directory, embedder, create=True).close()
    with sqlite3.connect(directory / "vectors-1" / "chroma.sqlite3") as database:
        function = {"type": "known", "name": "sentence_transformer", "config": {}}
        text = json.dumps({"embedding_function": function})
        database.execute("UPDATE collections SET config_json_str = ?", (text,))
    database.close()
    with pytest.raises(IndexDamaged, match="not ours"):
        Index.open(directory, embedder)


@pytest.mark.parametrize("file", ["catalogue.sqlite3", "vectors-1/chroma.sqlite3"])
def test_a_database_that_acts_by_itself_is_refused(
    file: str, tmp_path: Path, embedder: Embedder
) -> None:
    directory = tmp_path / "index"
    Index.open(directory, embedder, create=True).close()
    with sqlite3.connect(directory / file) as database:
        (table,) = database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchone()
        database.execute(f"CREATE TRIGGER t AFTER INSERT ON {table} BEGIN DELETE FROM {table}; END")
    database.close()
    with pytest.raises(IndexDamaged, match="triggers or views"):
        Index.open(directory, embedder)


@pytest.mark.parametrize("column", ["document_id", "passage_id"])
def test_ids_of_another_form_are_reported(index: Index, tmp_path: Path, column: str) -> None:
    add_document(index, write(tmp_path, "scabies.md", SCABIES))
    tables = ("documents", "passages", "words") if column == "document_id" else ("passages",)
    with sqlite3.connect(index.directory / "catalogue.sqlite3") as database:
        for table in tables:
            database.execute(f"UPDATE {table} SET {column} = '../' || {column}")
    database.close()
    assert any("ids that are not ours" in problem for problem in index.check())


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


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE passages SET section_path = '[broken'",
        "UPDATE words SET entries = x'ffffffff0101010100'",
        "UPDATE words SET entries = x'ff'",
    ],
)
def test_a_damaged_row_of_the_catalogue_is_called_damage(
    index: Index, tmp_path: Path, damage: str
) -> None:
    add_document(index, write(tmp_path, "scabies.md", SCABIES))
    with sqlite3.connect(index.directory / "catalogue.sqlite3") as database:
        database.execute(damage)
    database.close()
    with pytest.raises(IndexDamaged, match="the catalogue is damaged") as refusal:
        search(index, "permethrin for scabies")
    assert "add the documents again" in refusal.value.hint
    assert index.check()


def test_lost_vectors_are_reported(tmp_path: Path, embedder: Embedder) -> None:
    directory = tmp_path / "index"
    with Index.open(directory, embedder, create=True) as index:
        document = add_document(index, write(tmp_path, "scabies.md", SCABIES)).document
        index.in_use()[1].remove(document.document_id)
        assert any("vectors and passages differ" in problem for problem in index.check())
        index.rebuild()
        assert index.check() == []
        assert len(search(index, "permethrin for scabies")) == 1


def test_a_damaged_vector_index_is_a_typed_error(tmp_path: Path, embedder: Embedder) -> None:
    directory = tmp_path / "index"
    Index.open(directory, embedder, create=True).close()
    (directory / "vectors-1" / "chroma.sqlite3").write_bytes(b"no database, only noise" * 100)
    with pytest.raises(VectorsDamaged):
        Index.open(directory, embedder)
    with Index.open(directory, embedder, to_rebuild=True) as index:
        index.rebuild()
        assert index.check() == []


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


@pytest.mark.parametrize("part", ["catalogue.sqlite3", "vectors-2/chroma.sqlite3"])
def test_an_index_that_lost_a_part_is_damaged_and_not_empty(
    tmp_path: Path, embedder: Embedder, make_pdf: Callable[..., Path], part: str
) -> None:
    text = "Refer a child with a painful eye to an eye clinic today."
    with Index.open(tmp_path / "lost", embedder, create=True) as opened:
        add_document(opened, make_pdf([[(text, 11, 0, (72, 90))]]))
    (tmp_path / "lost" / part).unlink()
    with pytest.raises(IndexDamaged, match="is gone"):
        Index.open(tmp_path / "lost", embedder)


def test_an_add_killed_at_any_point_leaves_an_index_that_is_whole(
    tmp_path: Path, embedder: Embedder
) -> None:
    write(tmp_path, "gout.md", GOUT)
    write(tmp_path, "scabies.md", SCABIES)
    for where in random_points(3, seed=7):
        assert broken_after_kill(tmp_path, embedder, where) == []


def test_a_reader_sees_what_another_process_adds(tmp_path: Path, embedder: Embedder) -> None:
    directory = tmp_path / "index"
    with Index.open(directory, embedder, create=True) as index:
        add_document(index, write(tmp_path, "gout.md", GOUT))
    with Index.open(directory, embedder) as reader:
        assert search(reader, "permethrin for scabies") == []
        scabies = write(tmp_path, "scabies.md", SCABIES)
        subprocess.run([sys.executable, "-c", _ADD, directory, scabies], cwd=PROJECT, check=True)
        assert len(search(reader, "permethrin for scabies")) == 1
        assert len(search(reader, "colchicine for gout")) == 1


_ADD = """
import sys
from pathlib import Path
from cpg_store.embed import Embedder
from cpg_store.index import Index
from cpg_store.ingest import add_document
with Index.open(Path(sys.argv[1]), Embedder.default()) as index:
    add_document(index, Path(sys.argv[2]))
"""


def test_a_catalogue_damaged_in_the_middle_is_named_with_how_to_rebuild(
    tmp_path: Path, embedder: Embedder
) -> None:
    directory = tmp_path / "index"
    with Index.open(directory, embedder, create=True) as index:
        add_document(index, write(tmp_path, "gout.md", GOUT * 200))
    catalogue = directory / "catalogue.sqlite3"
    content = bytearray(catalogue.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    catalogue.write_bytes(bytes(content))
    with (
        pytest.raises(IndexDamaged, match="the catalogue is damaged") as refusal,
        Index.open(directory, embedder) as index,
    ):
        search(index, "colchicine for gout")
    assert "add the documents again" in refusal.value.hint


def test_a_full_disk_is_not_called_damage(index: Index, tmp_path: Path) -> None:
    index.catalogue._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StorageFailed) as refusal:
        add_document(index, write(tmp_path, "gout.md", GOUT * 200))
    assert "disk space" in refusal.value.hint


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (OSError(errno.EROFS, "Read-only file system"), StorageFailed),
        (OSError(errno.ENOSPC, "No space left on device"), StorageFailed),
        (RuntimeError("error returned from database: (code: 13) disk is full"), StorageFailed),
        (RuntimeError("error returned from database: (code: 1544) readonly"), StorageFailed),
        (RuntimeError("could not write: No space left (os error 28)"), StorageFailed),
        (RuntimeError("error returned from database: (code: 26) no database"), IndexDamaged),
        (RuntimeError("Error loading hnsw index"), IndexDamaged),
    ],
)
def test_the_disk_is_told_from_the_index(raised: Exception, kind: type[Exception]) -> None:
    assert type(failure(raised, "the vector index", "here")) is kind


class OtherVectors(Embedder):
    """The installed embedder under another name, with its vectors turned round."""

    def __init__(self, real: Embedder) -> None:
        self._real, self.recipe, self.folder = real, real.recipe, None
        self.identity = "other"

    def embed(self, passages: Sequence[str]) -> "NDArray[np.float32]":
        return -self._real.embed(passages)

    def embed_question(self, question: str) -> "NDArray[np.float32]":
        return -self._real.embed_question(question)


def test_another_embedder_takes_over_without_a_gap(tmp_path: Path, embedder: Embedder) -> None:
    directory, other = tmp_path / "index", OtherVectors(embedder)
    with Index.open(directory, embedder, create=True) as index:
        add_document(index, write(tmp_path, "gout.md", GOUT))
    with Index.open(directory, other) as index, Index.open(directory, embedder) as reader:
        assert index.wants_rebuild
        assert len(search(index, "colchicine for gout")) == 1
        index.rebuild()
        assert not index.wants_rebuild
        assert index.check() == []
        assert len(search(index, "colchicine for gout")) == 1
        assert json.loads((directory / "manifest.json").read_text())["embedder"] == "other"
        with pytest.raises(EmbedderChanged):
            search(reader, "colchicine for gout")


def test_an_index_of_format_1_is_copied_whole_and_then_brought_up(
    tmp_path: Path, embedder: Embedder
) -> None:
    directory = tmp_path / "index"
    write_format_1(directory)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with Index.open(directory, embedder) as index:
        (found,) = search(index, "colchicine for gout")
        assert (found.passage.section_path, found.passage.page) == (("Gout", "Dose"), 4)
        assert index.check() == []
    kept = tmp_path / "index.format-1"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {**before, "lock": b""}


def write_format_1(directory: Path) -> None:
    """What version 0.1 wrote, of one document."""
    directory.mkdir()
    (directory / "manifest.json").write_text('{"format": 1, "embedder": "x", "chromadb": "1"}')
    with sqlite3.connect(directory / "catalogue.sqlite3") as database:
        database.executescript(
            """
            CREATE TABLE documents (document_id, sha256, file_name, title, edition, year, pages,
                passages, scanned_pages, hidden_spans, passages_sha256, PRIMARY KEY (document_id));
            CREATE TABLE passages (number INTEGER PRIMARY KEY, passage_id, document_id, ordinal,
                text, document, edition, year, page, page_label, section, kind, grade, evidence);
            INSERT INTO documents VALUES ('abcdef0123456789', 'abcd', 'gout.pdf', 'Manual', '2nd',
                2019, 9, 1, 0, 0, 'x');
            INSERT INTO passages VALUES (1, 'abcdef0123456789-00000', 'abcdef0123456789', 0,
                'Give colchicine for an acute attack of gout.', 'Manual', '2nd', 2019, 4, '3',
                'Gout > Dose', 'text', NULL, NULL);
            """
        )
    database.close()
