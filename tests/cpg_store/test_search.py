"""Claims about finding: the right passage, its right page, and nothing for a strange question."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cpg_store.embed import Embedder
from cpg_store.index import Index
from cpg_store.ingest import add_document
from cpg_store.pdf import read_pdf
from cpg_store.sample import sample_guideline
from cpg_store.scope import Scope
from cpg_store.search import holding, joined, search
from cpg_store.split import split

MakePdf = Callable[..., Path]

PROJECT = Path(__file__).resolve().parents[2]
MANUAL = """# Manual
## 1. Scabies
Apply permethrin cream to the whole body and wash it off after eight hours. Repeat in a week.
## 2. Diabetic retinopathy
Every person with diabetes should have the fundus examined each year by a trained person.
### Recommendation 1
Refer sight-threatening diabetic retinopathy to an ophthalmologist urgently. (Grade A)
## 3. Pneumonia
A child with fast breathing and chest indrawing needs an antibiotic and a referral today.
"""


@pytest.fixture
def manual(index: Index, tmp_path: Path) -> Index:
    (tmp_path / "manual.md").write_text(MANUAL)
    add_document(index, tmp_path / "manual.md")
    return index


@pytest.mark.parametrize(
    ("question", "section"),
    [
        ("scabies treatment", "1. Scabies"),
        ("antibiotic for a child with pneumonia", "3. Pneumonia"),
        ("sight-threatening diabetic retinopathy referral", "Recommendation 1"),
    ],
)
def test_the_section_that_answers_comes_first(manual: Index, question: str, section: str) -> None:
    assert search(manual, question)[0].passage.section.endswith(section)


@pytest.mark.parametrize(
    "question", ["football world cup winner", "how to repair a car gearbox", "", "  ", '" OR *']
)
def test_a_question_that_no_passage_answers_gets_none(manual: Index, question: str) -> None:
    assert search(manual, question) == []


def test_a_sentence_asked_word_for_word_is_found_however_little_it_says(index: Index) -> None:
    add_document(index, sample_guideline())
    (found,) = search(index, "No disease is seen, in the part that was PHOTOGRAPHED.")
    assert "No disease is seen in the part that was photographed." in found.passage.text


def test_a_sentence_is_found_in_every_passage_that_holds_it(manual: Index, tmp_path: Path) -> None:
    other = "# Other\n## Eyes\nIt is said: every PERSON with diabetes should\nhave the fundus "
    (tmp_path / "other.md").write_text(f"{other}examined, each year2, by a trained person.\n")
    add_document(manual, tmp_path / "other.md")
    sentence = "Every person with diabetes should have the fundus examined each year"
    found = list(holding(manual, sentence))
    assert [passage.document for passage in found] == ["Manual", "Other"]
    assert list(holding(manual, "person with diabetes should have the eyes examined")) == []
    assert list(holding(manual, "very person with diabetes")) == []
    assert list(holding(manual, "every person with diab")) == []
    (scabies,) = holding(manual, "eight hours. Repeat in a week.")
    assert scabies.section.endswith("Scabies")
    assert list(holding(manual, " ?")) == []


def test_a_sentence_is_found_before_the_raised_number_of_a_footnote(
    index: Index, tmp_path: Path
) -> None:
    text = "# Eyes\nEvery person with diabetes should be examined<sup>12</sup> each year.\n"
    (tmp_path / "noted.md").write_text(text)
    add_document(index, tmp_path / "noted.md")
    (found,) = holding(index, "every person with diabetes should be examined")
    assert "examined¹² each" in found.text


def test_a_lowered_digit_is_found_as_it_is_typed(index: Index, tmp_path: Path) -> None:
    (tmp_path / "gas.md").write_text("# Gas\nKeep the SpO<sub>2</sub> above that of a child.\n")
    add_document(index, tmp_path / "gas.md")
    (found,) = holding(index, "keep the SpO2 above that")
    assert "SpO₂" in found.text


def test_two_sentences_are_found_across_the_pieces_of_a_paragraph(
    index: Index, tmp_path: Path
) -> None:
    said = [f"Sentence number {n} of this long paragraph speaks of finding {n}." for n in range(60)]
    (tmp_path / "long.md").write_text("# Long\n## 1. Text\n" + " ".join(said))
    document = add_document(index, tmp_path / "long.md").document
    pieces = index.catalogue.passages_of(document.document_id)
    ends = [piece.text.split(". ")[-1] for piece in pieces]
    assert len(pieces) > 1
    after = said[said.index(ends[0]) + 1]
    assert [*holding(index, f"{ends[0]} {after}")], "the one ends a piece, the other begins one"


def test_passages_about_other_topics_only_are_left_out(manual: Index) -> None:
    asked = "diabetic retinopathy: refer; fast breathing: an antibiotic and a referral today"
    sections = [found.passage.section for found in search(manual, asked, about="eye")]
    assert any("Pneumonia" in found.passage.section for found in search(manual, asked))
    assert sections and not any("Pneumonia" in section for section in sections)


def test_a_passage_left_out_for_its_topic_lets_no_weaker_one_in(
    index: Index, tmp_path: Path
) -> None:
    cornea = "Bacterial keratitis of the eye: give antibiotic drops every hour and refer today."
    stores = "Antibiotic drops are counted every week, and bacterial culture bottles are kept cold."
    (tmp_path / "eye.md").write_text(f"# Manual\n## Bacterial infection\n{cornea}\n")
    (tmp_path / "stores.md").write_text(f"# Handbook\n## Bacterial stores\n{stores}\n")
    add_document(index, tmp_path / "eye.md")
    add_document(index, tmp_path / "stores.md")
    asked = "bacterial infection keratitis, antibiotic drops every hour"
    assert [each.passage.document for each in search(index, asked)] == ["Manual", "Handbook"]
    assert search(index, asked, about="chest") == []


def test_pieces_of_one_list_state_the_level_that_all_of_it_states(
    index: Index, tmp_path: Path
) -> None:
    said = "lowers the risk of the outcome when it is taken every morning by adults"
    drugs = "".join(
        f"- Drug {number} {said} without other illness (Level I).\n" for number in "1234567"
    )
    herbs = "".join(
        f"- Herb {number} {said} with other illness (Level III).\n" for number in "12345678"
    )
    (tmp_path / "list.md").write_text(f"# List\n## Choice\n{drugs}{herbs}")
    document = add_document(index, tmp_path / "list.md").document
    first, second = index.catalogue.passages_of(document.document_id)
    assert first.evidence == "I" and second.continues
    whole = joined([first, replace(second, is_recognised=True)], first)
    assert "Level III" in whole.text
    assert (whole.evidence, whole.grading, whole.is_recognised) == (None, None, True)
    assert joined([first], first) == first


def test_the_same_question_gets_the_same_answer(manual: Index) -> None:
    assert search(manual, "diabetic retinopathy") == search(manual, "diabetic retinopathy")


def test_an_answer_can_be_kept_to_one_document(manual: Index, tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Other\nScabies spreads by close contact in a family.\n")
    other = add_document(manual, tmp_path / "other.md").document
    found = search(manual, "scabies", scope=Scope(document_id=other.document_id))
    assert [each.passage.document_id for each in found] == [other.document_id]


def test_passages_that_say_the_same_are_shown_once(manual: Index, tmp_path: Path) -> None:
    (tmp_path / "copy.md").write_text(MANUAL.replace("# Manual", "# Copy"))
    add_document(manual, tmp_path / "copy.md")
    texts = [each.passage.text for each in search(manual, "scabies permethrin", k=10)]
    assert len(texts) == len(set(texts))


def test_a_pdf_passage_names_the_page_it_stands_on(index: Index, make_pdf: MakePdf) -> None:
    topics = ["scabies and permethrin", "gout and colchicine", "measles and vitamin A"]
    pages = [
        [(f"Guidance on {topic}: treat early and review.", 11, 0, (72, 200))] for topic in topics
    ]
    add_document(index, make_pdf(pages))
    assert search(index, "colchicine for gout")[0].passage.page == 2


@pytest.mark.data
def test_the_page_cited_is_the_page_of_the_text(shared: Path) -> None:
    """Runs of four words stand on the cited pages; where lines were joined, or notes lay between,
    one in ten may not."""
    import pymupdf

    path = shared / "guidelines" / "who-mpox-2025.pdf"
    prose = [
        piece
        for piece in split(read_pdf(path.read_bytes(), path.name).pages)
        if piece.kind != "table"
    ]
    open_document: Any = pymupdf.open
    with open_document(path) as document:
        for piece in prose[::7]:
            assert piece.page is not None and piece.last_page is not None
            pages = range(piece.page - 1, piece.last_page)
            printed = bare("".join(document[number].get_text() for number in pages))
            words = piece.text.split()
            runs = [bare("".join(words[at : at + 4])) for at in range(max(1, len(words) - 3))]
            assert sum(run in printed for run in runs) >= 0.9 * len(runs), piece


def bare(text: str) -> str:
    """Text without spaces and hyphens, which joining lines may change."""
    return re.sub(r"[\s\u00ad-]+", "", text)


def test_vectors_have_length_one_and_do_not_depend_on_their_neighbours(embedder: Embedder) -> None:
    together = embedder.embed(["scabies", "a much longer text about diabetic retinopathy"])
    alone = embedder.embed(["scabies"])
    assert (together[0] == alone[0]).all()
    assert abs(float(alone[0] @ alone[0]) - 1) < 1e-5


def test_an_embedder_opens_from_a_folder(tmp_path: Path, embedder: Embedder) -> None:
    from cpg_store import embed

    for name, file in (
        ("model.onnx", embed._MODEL_FILE),
        ("tokenizer.json", embed._TOKENIZER_FILE),
    ):
        (tmp_path / name).symlink_to(embed._installed(*file))
    assert Embedder.from_folder(tmp_path).identity == embedder.identity


def test_adding_and_searching_open_no_internet_socket_and_load_no_torch(tmp_path: Path) -> None:
    # In a process of its own: chromadb's telemetry falls silent when it sees pytest.
    (tmp_path / "manual.md").write_text(MANUAL)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST")
    }
    done = subprocess.run(
        [sys.executable, "-c", _ADD_AND_SEARCH, tmp_path / "index", tmp_path / "manual.md"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "found"), done.stderr


_ADD_AND_SEARCH = """
import socket, sys
from pathlib import Path

def forbid(event, arguments):
    if event in ("socket.connect", "socket.sendto") and arguments[0].family != socket.AF_UNIX:
        print("reached for", arguments[1], flush=True)
    if event == "socket.getaddrinfo":
        print("asked for", arguments[0], flush=True)

sys.addaudithook(forbid)
from cpg_store.embed import Embedder
from cpg_store.index import Index
from cpg_store.ingest import add_document
from cpg_store.scope import Scope
from cpg_store.search import search

with Index.open(Path(sys.argv[1]), Embedder.default(), create=True) as index:
    add_document(index, Path(sys.argv[2]))
    if search(index, "scabies treatment"):
        print("found")
assert "pytest" not in sys.modules and "torch" not in sys.modules
"""


def test_importing_the_package_loads_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


_IMPORT = """
import sys
import cpg_store.ingest, cpg_store.search, cpg_store.embed
print({"chromadb", "pymupdf", "onnxruntime", "numpy", "tokenizers"} & set(sys.modules) or "set()")
"""
