"""Measuring the search on a retrieval set in BEIR's form (Thakur et al. 2021, arXiv:2104.08663).

A folder holds corpus.jsonl, queries.jsonl and qrels/test.tsv. Its texts are indexed as documents of
one passage each, in a temporary index, and searched as the clinic's are: by words alone, by meaning
alone, and by both. It knows how a set is written, nothing of how the search works.
"""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cpg_store.embed import Embedder
from cpg_store.errors import RetrievalSetUnreadable
from cpg_store.index import Index
from cpg_store.passage import Document, Passage, passage_id
from cpg_store.ranking_figures import Figure, capped_recall, figure, ndcg, reciprocal_rank
from cpg_store.search import Ranking, rank
from cpg_store.stored import filled

WAYS: tuple[Ranking, ...] = ("lexical", "dense", "fused")
DEPTH = 100
"""Ranked texts asked for; the reciprocal rank looks no further."""
_BLOCK = 500


@dataclass(frozen=True)
class RetrievalSet:
    """A set as read: texts by id, queries by id, and the relevant ids of each query."""

    titles: dict[str, str]
    texts: dict[str, str]
    queries: dict[str, str]
    relevant: dict[str, set[str]]


@dataclass(frozen=True)
class QueryFigures:
    """What one way of ranking got for one query."""

    query: str
    way: Ranking
    ndcg: float
    capped_recall: float
    reciprocal_rank: float


def read_retrieval_set(folder: Path) -> RetrievalSet:
    """Read the folder; queries without a relevant text are left out.

    Raises: RetrievalSetUnreadable.
    """
    titles, texts = {}, {}
    for row in _rows(folder / "corpus.jsonl"):
        titles[row["_id"]], texts[row["_id"]] = row.get("title") or "", row["text"]
    relevant: dict[str, set[str]] = {}
    for query, text, grade in _judgements(folder / "qrels" / "test.tsv"):
        if grade > 0:
            relevant.setdefault(query, set()).add(text)
    found = {row["_id"]: row["text"] for row in _rows(folder / "queries.jsonl")}
    queries = {name: text for name, text in found.items() if name in relevant}
    unknown = {text for texts_ in relevant.values() for text in texts_} - texts.keys()
    if not queries or unknown or relevant.keys() - found.keys():
        raise _unreadable(folder, "queries, texts and judgements do not belong together")
    return RetrievalSet(titles, texts, queries, relevant)


def evaluate(
    folder: Path, workplace: Path, embedder: Embedder, say: Callable[[str], None]
) -> list[QueryFigures]:
    """Index the set in `folder` under `workplace` and rank every query in each way.

    Raises: RetrievalSetUnreadable, StorageFailed.
    """
    retrieval_set = read_retrieval_set(folder)
    with Index.open(workplace / "index", embedder, create=True) as index:
        say(f"embedding {len(retrieval_set.texts)} texts")
        ids = _index_texts(index, retrieval_set, say)
        found = []
        for query, text in retrieval_set.queries.items():
            relevant = retrieval_set.relevant[query]
            for way, ranking in rank(index, text, DEPTH).items():
                ranked = [ids[each] for each in ranking]
                figures = (
                    ndcg(ranked, relevant),
                    capped_recall(ranked, relevant),
                    reciprocal_rank(ranked, relevant),
                )
                found.append(QueryFigures(query, way, *figures))
    return found


def summary(figures: Sequence[QueryFigures]) -> dict[str, dict[str, Figure]]:
    """By figure and way of ranking, the mean over the queries."""
    by_way = {way: [each for each in figures if each.way == way] for way in WAYS}
    return {
        "ndcg@10": {way: figure([each.ndcg for each in of]) for way, of in by_way.items()},
        "capped_recall@10": {
            way: figure([each.capped_recall for each in of]) for way, of in by_way.items()
        },
        "mrr": {way: figure([each.reciprocal_rank for each in of]) for way, of in by_way.items()},
    }


def write_per_query(file: Path, figures: Sequence[QueryFigures]) -> None:
    """Write one line a query and way, tab separated, with a heading."""
    with file.open("w", encoding="utf-8", newline="") as opened:
        rows = csv.DictWriter(opened, list(asdict(figures[0])), delimiter="\t", lineterminator="\n")
        rows.writeheader()
        rows.writerows(asdict(each) for each in figures)


def _index_texts(
    index: Index, retrieval_set: RetrievalSet, say: Callable[[str], None]
) -> dict[str, str]:
    """Add every text; returns their ids in the set by passage id."""
    names, ids = list(retrieval_set.texts), {}
    for start in range(0, len(names), _BLOCK):
        block = names[start : start + _BLOCK]
        document_id = f"{start:016x}"
        passages = []
        for ordinal, name in enumerate(block):
            title, text = retrieval_set.titles[name], retrieval_set.texts[name]
            passages.append(text_passage(document_id, ordinal, title, text))
            ids[passages[-1].passage_id] = name
        index.add(text_document(document_id, len(block)), passages)
        say(f"{start + len(block)} texts")
    return ids


def text_document(document_id: str, passages: int) -> Document:
    """A document that stands for a block of texts."""
    known = {
        "document_id": document_id,
        "sha256": document_id,
        "file_name": "corpus.jsonl",
        "title": "",
        "passages": passages,
    }
    return filled(Document, known)


def text_passage(document_id: str, ordinal: int, title: str, text: str) -> Passage:
    """A text as a passage, its title as its heading."""
    known = {
        "passage_id": passage_id(document_id, ordinal),
        "document_id": document_id,
        "ordinal": ordinal,
        "text": text,
        "document": "",
        "section_path": (title,) if title else (),
        "end": len(text),
        "kind": "text",
    }
    return filled(Passage, known)


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_lines(file), 1):
        try:
            row = json.loads(line)
            if not isinstance(row["_id"], str) or not isinstance(row["text"], str):
                raise TypeError("_id or text is no text")
        except (ValueError, LookupError, TypeError) as exc:
            raise _unreadable(file, f"line {number}: {exc}") from exc
        yield row


def _judgements(file: Path) -> Iterator[tuple[str, str, int]]:
    for number, line in enumerate(_lines(file)[1:], 2):
        try:
            query, text, grade = line.split("\t")
            yield query, text, int(grade)
        except ValueError as exc:
            raise _unreadable(file, f"line {number}: {exc}") from exc


def _lines(file: Path) -> list[str]:
    try:
        # Only a line feed ends a line: JSON leaves other separators of Unicode as they are.
        return [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as exc:
        raise _unreadable(file, str(exc)) from exc


def _unreadable(file: Path, problem: str) -> RetrievalSetUnreadable:
    hint = "give a folder with corpus.jsonl, queries.jsonl and qrels/test.tsv"
    return RetrievalSetUnreadable(f"no retrieval set ({problem}): {file}", hint)
