"""Claims about measuring: figures against hand-worked ones, and sets that are none."""

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from cpg_store.__main__ import main
from cpg_store.errors import RetrievalSetUnreadable
from cpg_store.evaluate import read_retrieval_set
from cpg_store.ranking_figures import capped_recall, figure, ndcg, reciprocal_rank

CORPUS = {
    "a": ("Scabies", "Apply permethrin cream to the whole body."),
    "b": ("Gout", "Give colchicine for an acute attack."),
    "c": ("", "Wash a chemical out of the eye with plenty of water.\u2028Then refer."),
}
QUERIES = {"1": "permethrin for scabies", "2": "acute gout", "3": "chemical in the eye"}


def write_set(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": name, "title": t, "text": text} for name, (t, text) in CORPUS.items()]
    queries = [{"_id": name, "text": text} for name, text in QUERIES.items()]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n1\ta\t1\n2\tb\t1\n3\tc\t1\n3\ta\t0\n"
    )
    return folder


def test_ndcg_is_the_gain_as_a_share_of_the_best_possible() -> None:
    ranked, relevant = ["x", "a", "y", "b"], {"a", "b", "c"}
    gained = 1 / math.log2(3) + 1 / math.log2(5)
    possible = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(ranked, relevant) == pytest.approx(gained / possible)
    assert ndcg(["a"], {"a"}) == 1
    assert ndcg([], {"a"}) == 0


def test_capped_recall_is_of_as_many_as_could_be_found() -> None:
    relevant = {str(number) for number in range(20)}
    assert capped_recall([str(number) for number in range(10)], relevant) == 1
    assert capped_recall(["0", "x"], relevant) == 0.1
    assert capped_recall(["a", "x"], {"a", "b"}) == 0.5


def test_reciprocal_rank_is_of_the_first_relevant() -> None:
    assert reciprocal_rank(["x", "y", "a", "b"], {"a", "b"}) == pytest.approx(1 / 3)
    assert reciprocal_rank(["x"], {"a"}) == 0


def test_an_interval_holds_the_mean_and_narrows_with_queries() -> None:
    few, many = figure([0.0, 1.0] * 5), figure([0.0, 1.0] * 500)
    assert few.low <= few.mean == 0.5 <= few.high
    assert many.high - many.low < few.high - few.low
    assert figure([0.3, 0.9, 0.5]) == figure([0.3, 0.9, 0.5])


def test_the_command_gives_one_object_and_a_line_a_query(tmp_path: Path) -> None:
    folder, per_query = write_set(tmp_path / "set"), tmp_path / "queries.tsv"
    done = CliRunner().invoke(
        main, ["evaluate", str(folder), "--json", "--per-query", str(per_query)]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["queries"] == 3
    for name in ("ndcg@10", "capped_recall@10", "mrr"):
        assert set(found[name]) == {"lexical", "dense", "fused"}
        assert found[name]["fused"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    lines = per_query.read_text().splitlines()
    assert lines[0].split("\t") == ["query", "way", "ndcg", "capped_recall", "reciprocal_rank"]
    assert len(lines) == 1 + 3 * 3


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("corpus.jsonl", "no JSON"),
        ("corpus.jsonl", '{"_id": 1, "text": "x"}'),
        ("queries.jsonl", '{"_id": "1"}'),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n1\ta\n"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n1\tunknown\t1\n"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n"),
        ("qrels/test.tsv", None),
    ],
)
def test_what_is_no_retrieval_set_is_refused(
    tmp_path: Path, file: str, content: str | None
) -> None:
    folder = write_set(tmp_path / "set")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(RetrievalSetUnreadable) as refusal:
        read_retrieval_set(folder)
    assert "corpus.jsonl" in refusal.value.hint


def test_a_folder_without_a_set_exits_1_in_two_lines(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["evaluate", str(tmp_path)])
    assert done.exit_code == 1
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]
