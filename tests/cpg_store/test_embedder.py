"""Claims about embedder folders: what is made of a model, what is refused, what a prefix does."""

import json
import shutil
from pathlib import Path

import pytest

from cpg_store import embed
from cpg_store.embed import CARD, MODEL, TOKENIZER, Embedder
from cpg_store.embedder import build_embedder, check_embedder
from cpg_store.errors import EmbedderMissing


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A sentence-transformers folder with a graph, of the kind that wants prefixes (E5)."""
    folder = tmp_path / "model"
    (folder / "onnx").mkdir(parents=True)
    (folder / "1_Pooling").mkdir()
    shutil.copy(embed._installed(*embed._MODEL_FILE), folder / "onnx" / "model.onnx")
    shutil.copy(embed._installed(*embed._TOKENIZER_FILE), folder / TOKENIZER)
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [
        {"type": f"sentence_transformers.models.{kind}", "path": "1_Pooling"} for kind in kinds
    ]
    files = {
        "modules.json": modules,
        "1_Pooling/config.json": {"pooling_mode_mean_tokens": True},
        "sentence_bert_config.json": {"max_seq_length": 128},
        "config_sentence_transformers.json": {
            "prompts": {"query": "query: ", "passage": "passage: "}
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def test_a_built_folder_opens_with_its_prefixes_and_limit(model: Path, tmp_path: Path) -> None:
    built = build_embedder(model, tmp_path / "out")
    opened = Embedder.from_folder(tmp_path / "out")
    assert (built.dimensions, built.sha256) == (384, opened.identity)
    assert (opened.recipe.max_tokens, opened.recipe.question_prefix) == (128, "query: ")
    plain = Embedder(tmp_path / "out" / MODEL, tmp_path / "out" / TOKENIZER)
    assert (opened.embed_question("itch") == plain.embed(["query: itch"])[0]).all()
    assert (opened.embed(["itch"]) == plain.embed(["passage: itch"])).all()
    assert opened.identity != plain.identity


def test_the_card_that_the_export_writes_is_read(tmp_path: Path) -> None:
    shutil.copy(embed._installed(*embed._MODEL_FILE), tmp_path / MODEL)
    shutil.copy(embed._installed(*embed._TOKENIZER_FILE), tmp_path / TOKENIZER)
    card = {
        "longest_input_tokens": 64,
        "pooling": "mean",
        "length_one": True,
        "prefixes": {"query": "q ", "document": "d "},
    }
    (tmp_path / CARD).write_text(json.dumps(card))
    checked = check_embedder(tmp_path)
    assert (checked.max_tokens, checked.question_prefix, checked.passage_prefix) == (64, "q ", "d ")


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("modules.json", "[]", "is not opened"),
        ("modules.json", "{", "cannot be read"),
        ("1_Pooling/config.json", '{"pooling_mode_cls_token": true}', "is not opened"),
        ("onnx/model.onnx", "no graph", "damaged"),
        ("tokenizer.json", "{}", "damaged"),
    ],
)
def test_a_model_that_cannot_serve_is_refused_and_leaves_nothing(
    model: Path, tmp_path: Path, file: str, content: str, problem: str
) -> None:
    (model / file).write_text(content)
    with pytest.raises(EmbedderMissing, match=problem):
        build_embedder(model, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_model_without_a_graph_is_sent_to_the_export(model: Path, tmp_path: Path) -> None:
    (model / "onnx" / "model.onnx").unlink()
    with pytest.raises(EmbedderMissing) as refusal:
        build_embedder(model, tmp_path / "out")
    assert "python -m export embedder" in refusal.value.hint


def test_a_changed_file_is_found_by_its_card(model: Path, tmp_path: Path) -> None:
    build_embedder(model, tmp_path / "out")
    with (tmp_path / "out" / TOKENIZER).open("a") as file:
        file.write(" ")
    with pytest.raises(EmbedderMissing, match="not the file its card names"):
        check_embedder(tmp_path / "out")
