"""How well and how fast the guideline index finds, in one run, beside BM25, dense and Chroma alone.

    python -m tests.benchmarks.guideline_search sets SHARED      nDCG@10 of the BEIR sets
    python -m tests.benchmarks.guideline_search captions SHARED  capped recall@5, labelled captions
    python -m tests.benchmarks.guideline_search malay SHARED     the same of questions in Malay
    python -m tests.benchmarks.guideline_search lookup SHARED    milliseconds a lookup, by size
    python -m tests.benchmarks.guideline_search kills            adds killed at 50 random points

SHARED is the folder with `retrieval` and `guidelines`. Prints one JSON object a line.
"""

import hashlib
import json
import random
import re
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from appliance.core.caption import Caption
from appliance.core.decision import RISK, Decision
from appliance.core.query import caption_queries, typed_query
from cpg_store.embed import Embedder
from cpg_store.evaluate import (
    WAYS,
    evaluate,
    read_retrieval_set,
    summary,
    text_document,
    text_passage,
)
from cpg_store.index import Index
from cpg_store.ingest import add_document
from cpg_store.passage import Passage
from cpg_store.ranking_figures import figure
from cpg_store.scope import Topic, filters_of
from cpg_store.search import rank, search
from tests.retrieval.labelled import Place, read_judgements, read_malay, read_queries

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SETS = ("bioasq_topic", "medquad_topic")
TOPICS: dict[str, Topic] = {"skin": "skin", "fundus": "eye", "chest": "chest"}
SIZES = (10_000, 100_000, 200_000)
DOCUMENT_PASSAGES = 500
LOOKUPS = 200
KILLS = 50
FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


@click.group()
def main() -> None:
    """Measure the guideline search."""


@main.command()
@click.argument("shared", type=FOLDER)
@click.option("--only", type=click.Choice(SETS))
def sets(shared: Path, only: str | None) -> None:
    """Chosen on the half of the queries whose hashed id is even; the other half is apart."""
    for name in [only] if only else SETS:
        with TemporaryDirectory() as workplace:
            folder = shared / "retrieval" / name
            found = evaluate(folder, Path(workplace), Embedder.default(), lambda line: None)
        halves = {
            "all": found,
            "chosen on": [each for each in found if _is_even(each.query)],
            "other half": [each for each in found if not _is_even(each.query)],
        }
        for half, figures in halves.items():
            ndcg = {way: asdict(each) for way, each in summary(figures)["ndcg@10"].items()}
            _print({"set": name, "queries": half, "ndcg@10": ndcg})


@main.command()
@click.argument("shared", type=FOLDER)
@click.option("--index", "directory", type=click.Path(path_type=Path), help="Kept for next time.")
@click.option("--half", type=click.Choice(["development", "held"]), default="development")
@click.option("--k", default=5, show_default=True)
def captions(shared: Path, directory: Path | None, half: str, k: int) -> None:
    """The share of relevant pages among the first passages, and whether silence is kept."""
    guidelines = shared / "guidelines"
    with TemporaryDirectory() as workplace:
        place = directory or Path(workplace) / "index"
        with Index.open(place, Embedder.default(), create=True) as index:
            names = _index_all(index, guidelines)
            _print({"half": half, **_caption_figures(index, names, half, k)})


@main.command()
@click.argument("shared", type=FOLDER)
@click.option("--index", "directory", type=click.Path(path_type=Path), help="Kept for next time.")
@click.option("--k", default=5, show_default=True)
def malay(shared: Path, directory: Path | None, k: int) -> None:
    """Questions in Malay to documents in English: as typed, with other names, put into English."""
    judgements, shown = read_judgements(), []
    recalls: dict[str, list[float]] = {
        "as typed": [],
        "with other names": [],
        "in English": [],
    }
    silent: dict[str, list[bool]] = {way: [] for way in recalls}
    with TemporaryDirectory() as workplace:
        place = directory or Path(workplace) / "index"
        with Index.open(place, Embedder.default(), create=True) as index:
            names = _index_all(index, shared / "guidelines")
            for question, answered_as in read_malay():
                relevant = judgements.get(answered_as, frozenset())
                asked = typed_query(question)
                ways = {
                    "as typed": search(index, asked.text, k),
                    "with other names": search(index, asked.text, k, also=asked.also),
                }
                english = asked.otherwise or asked
                ways["in English"] = ways["with other names"] or search(
                    index, english.text, k, also=english.also
                )
                for way, found in ways.items():
                    if relevant:
                        places = _places([each.passage for each in found], names)
                        recalls[way].append(_recall(places, relevant))
                    else:
                        silent[way].append(not found)
                if relevant:
                    shown.append((question, recalls["in English"][-1]))
    _print(
        {
            "covered": len(shown),
            f"capped recall@{k}": {way: asdict(figure(values)) for way, values in recalls.items()},
            "not covered": len(silent["as typed"]),
            "and nothing shown": {way: statistics.fmean(each) for way, each in silent.items()},
            "not found": [question for question, share in shown if not share],
        }
    )


def _index_all(index: Index, guidelines: Path) -> dict[str, str]:
    """Add every document; returns their paths by document id."""
    names = {}
    for path in sorted(guidelines.rglob("*")):
        if path.suffix in (".md", ".pdf") and path.name != "README.md":
            add_document(index, path)
            document_id = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            names[document_id] = str(path.relative_to(guidelines))
    return names


def _caption_figures(index: Index, names: dict[str, str], half: str, k: int) -> dict[str, Any]:
    judgements, bm25 = read_judgements(), PlainBm25(index)
    recalls: dict[str, list[float]] = {way: [] for way in ("BM25", *WAYS)}
    shown, silent = [], []
    for query in read_queries(half):
        (asked,) = caption_queries(_decision(query.caption), query.caption)
        found = search(index, asked.text, k, also=asked.also, about=TOPICS[query.domain])
        relevant = judgements.get(query.name, frozenset())
        if not relevant:
            silent.append(not found)
            continue
        shown.append(bool(found))
        recalls["fused"].append(_recall(_places([each.passage for each in found], names), relevant))
        others = {"BM25": bm25.rank(asked.text, k)}
        ranked_by = rank(index, asked.text, k)
        others |= {way: ranked_by[way] for way in WAYS if way != "fused"}
        for way, ranked in others.items():
            passages = index.catalogue.passages(ranked)
            places = _places([passages[each] for each in ranked], names)
            recalls[way].append(_recall(places, relevant))
    return {
        "covered": len(shown),
        f"capped recall@{k}": {way: asdict(figure(values)) for way, values in recalls.items()},
        "covered and something shown": statistics.fmean(shown),
        "not covered": len(silent),
        "not covered and nothing shown": statistics.fmean(silent),
    }


class PlainBm25:
    """SQLite's own BM25 over headings and text as one, stemmed by Porter: what it is beside."""

    def __init__(self, index: Index) -> None:
        self._words = sqlite3.connect(":memory:")
        self._words.execute("CREATE VIRTUAL TABLE words USING fts5 (id, text, tokenize = 'porter')")
        for document in index.documents():
            for each in index.catalogue.passages_of(document.document_id):
                row = (each.passage_id, f"{each.document} {each.section} {each.text}")
                self._words.execute("INSERT INTO words VALUES (?, ?)", row)

    def rank(self, text: str, k: int) -> list[str]:
        query = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", text))
        found = self._words.execute(
            "SELECT id FROM words WHERE text MATCH ? ORDER BY bm25(words) LIMIT ?", (query, k)
        )
        return [row[0] for row in found]


def _decision(caption: Caption) -> Decision:
    return Decision("label", (caption.label,), "", RISK)


def _places(passages: Sequence[Passage], names: dict[str, str]) -> set[Place]:
    return {
        (names[each.document_id], page)
        for each in passages
        for page in (range(each.page, (each.last_page or each.page) + 1) if each.page else [None])
    }


def _recall(found: set[Place], relevant: frozenset[Place]) -> float:
    """BEIR's capped recall: of as many relevant places as five passages can show."""
    return len(found & relevant) / min(5, len(relevant))


class MadeVectors(Embedder):
    """Passages' vectors are those of other texts, a little moved; questions' are real."""

    def __init__(self, real: Embedder, texts: Sequence[str]) -> None:
        self._real = real
        self.recipe, self.folder, self.identity = real.recipe, real.folder, "made"
        self._base = real.embed(texts)
        self._random = random.Random(1)

    def embed(self, passages: Sequence[str]) -> "NDArray[np.float32]":
        import numpy as np

        draw = np.random.default_rng(self._random.getrandbits(32))
        rows = draw.integers(0, len(self._base), len(passages))
        moved = self._base[rows] + draw.normal(0, 0.03, (len(passages), self._base.shape[1]))
        unit: NDArray[np.float32] = moved / np.linalg.norm(moved, axis=1, keepdims=True)
        return unit.astype(np.float32)

    def embed_question(self, question: str) -> "NDArray[np.float32]":
        return self._real.embed_question(question)


@main.command()
@click.argument("shared", type=FOLDER)
@click.option("--sizes", default=",".join(map(str, SIZES)), show_default=True)
def lookup(shared: Path, sizes: str) -> None:
    """The whole lookup beside Chroma's own query with the same vectors, in turn."""
    found = [read_retrieval_set(shared / "retrieval" / name) for name in SETS]
    texts = [(each.titles[name], text) for each in found for name, text in each.texts.items()]
    questions = [text for each in found for text in each.queries.values()]
    random.Random(2).shuffle(questions)
    real = Embedder.default()
    made = MadeVectors(real, [text for _, text in texts[:: len(texts) // 1000]])
    with (
        TemporaryDirectory() as workplace,
        Index.open(Path(workplace) / "index", made, create=True) as index,
    ):
        size = 0
        for wanted in map(int, sizes.split(",")):
            _fill(index, texts, size, wanted)
            size = wanted
            _print({"passages": wanted, **_times(index, real, questions)})


def _fill(index: Index, texts: list[tuple[str, str]], size: int, wanted: int) -> None:
    """Add documents until there are `wanted` passages, in one change of the vectors."""
    embedder, _ = index.in_use()
    with index._store.changed() as changed:
        for start in range(size, wanted, DOCUMENT_PASSAGES):
            document_id = f"{start:016x}"
            passages = [
                text_passage(document_id, number, *texts[(start + number) % len(texts)])
                for number in range(min(DOCUMENT_PASSAGES, wanted - start))
            ]
            made = embedder.embed([passage.text for passage in passages])
            by_id = {each.passage_id: made[row] for row, each in enumerate(passages)}
            changed.add(by_id, [filters_of(each) for each in passages])
            index.catalogue.add(text_document(document_id, len(passages)), passages)


def _times(index: Index, real: Embedder, questions: list[str]) -> dict[str, Any]:
    _, vectors = index.in_use()
    asked = [real.embed_question(each) for each in questions[: LOOKUPS * 2]]
    for question in questions[:LOOKUPS]:
        search(index, question)  # warm
    whole: list[tuple[float, float]] = []
    chroma: list[tuple[float, float]] = []
    for question, vector in zip(questions[LOOKUPS : 2 * LOOKUPS], asked[LOOKUPS:], strict=False):
        whole.append(_milliseconds(lambda question=question: search(index, question)))  # type: ignore[misc]
        chroma.append(_milliseconds(lambda vector=vector: vectors.nearest(vector, 50)))  # type: ignore[misc]
    return {
        "lookup_ms": _quantiles(whole),
        "chroma_query_ms": _quantiles(chroma),
    }


def _milliseconds(act: Callable[[], object]) -> tuple[float, float]:
    """By the clock, and of the processor: other work on the machine lengthens the first only."""
    started, used = time.perf_counter(), time.process_time()
    act()
    return (time.perf_counter() - started) * 1000, (time.process_time() - used) * 1000


def _quantiles(values: list[tuple[float, float]]) -> dict[str, float]:
    clock, processor = (statistics.quantiles(each, n=20) for each in zip(*values, strict=True))
    return {
        "p50": round(clock[9], 1),
        "p95": round(clock[18], 1),
        "processor p50": round(processor[9], 1),
        "processor p95": round(processor[18], 1),
    }


@main.command()
def kills() -> None:
    """Adds killed at random points: the old index answers, is whole, and takes the add again."""
    from tests.cpg_store.killed_add import GOUT, SCABIES, broken_after_kill

    draw, broken = random.Random(3), []
    with TemporaryDirectory() as workplace:
        folder = Path(workplace)
        (folder / "gout.md").write_text(GOUT)
        (folder / "scabies.md").write_text(SCABIES)
        embedder = Embedder.default()
        for _ in range(KILLS):
            broken += broken_after_kill(folder, embedder, draw.random())
    _print({"killed adds": KILLS, "broken": broken})


def _is_even(name: str) -> bool:
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 2 == 0


def _print(found: dict[str, Any]) -> None:
    click.echo(json.dumps(found))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
