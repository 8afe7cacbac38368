"""Gemma's SentencePiece vocabulary as llama.cpp's `llama` tokenizer.

Types, scores and special ids follow llama.cpp's conversion/base.py (_create_vocab_sentencepiece) as
carried by llama-cpp-python 0.3.36.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.errors import ExportError
from training.tokenizer import CONTROL_MARKS

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from sentencepiece import SentencePieceProcessor

PAD_SCORE, ADDED_SCORE = -10000.0, -1000.0
SPACE_MARK = "\u2581"


def add_tokenizer(writer: "GGUFWriter", folder: Path, size: int) -> None:
    """Pieces, added tokens and padding up to `size`, special ids, chat template.

    Raises: ExportError.
    """
    import gguf

    pieces = _sentencepiece(folder)
    if pieces.get_piece_size() > size:
        raise ExportError(
            f"{folder}: tokenizer.model has {pieces.get_piece_size()} pieces, config.json says "
            f"vocab_size {size}; copy both from the same model"
        )
    try:
        tokens, scores, types = _vocabulary(pieces, folder, size)
        special = gguf.SpecialVocab(folder, n_vocab=size)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ExportError(
            f"{folder}: tokenizer.json, tokenizer_config.json or added_tokens.json cannot be read "
            f"({type(exc).__name__}: {exc}); copy it again"
        ) from exc
    for kind in ("bos", "eos", "unk", "pad"):  # llama.cpp's own defaults are LLaMA's
        if (said := getattr(pieces, f"{kind}_id")()) >= 0:
            special.special_token_ids.setdefault(kind, said)
    special.add_special_token.setdefault("bos", True)
    template = folder / "chat_template.jinja"
    if special.chat_template is None and template.is_file():
        special.chat_template = template.read_text(encoding="utf-8")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    special.add_to_gguf(writer, quiet=True)
    writer.add_add_space_prefix(False)


def _sentencepiece(folder: Path) -> "SentencePieceProcessor":
    from sentencepiece import SentencePieceProcessor

    file = folder / "tokenizer.model"
    try:
        return SentencePieceProcessor(model_file=str(file))
    except (OSError, RuntimeError) as exc:
        raise ExportError(f"{file}: no SentencePiece model ({exc}); copy it again") from exc


def _vocabulary(
    pieces: "SentencePieceProcessor", folder: Path, size: int
) -> tuple[list[bytes], list[float], list[int]]:
    """Text, score and type of each of the `size` ids."""
    import gguf

    kind = gguf.TokenType
    tokens = [f"[PAD{i}]".encode() for i in range(size)]
    scores = [PAD_SCORE] * size
    types = [int(kind.UNUSED)] * size
    for i in range(pieces.get_piece_size()):
        tokens[i] = pieces.id_to_piece(i).encode()
        scores[i] = pieces.get_score(i)
        types[i] = int(
            kind.UNKNOWN
            if pieces.is_unknown(i)
            else kind.CONTROL
            if pieces.is_control(i)
            else kind.UNUSED
            if pieces.is_unused(i)
            else kind.BYTE
            if pieces.is_byte(i)
            else kind.NORMAL
        )
    for i, text, is_control in _added_tokens(folder):
        if i >= size:
            raise ExportError(
                f"{folder}: the added token {text!r} has the id {i}, config.json says vocab_size "
                f"{size}; resize the embedding or remove the token"
            )
        tokens[i] = (text if is_control else text.replace(SPACE_MARK, " ")).encode()
        scores[i] = ADDED_SCORE
        types[i] = int(kind.CONTROL if is_control else kind.USER_DEFINED)
    return tokens, scores, types


def _added_tokens(folder: Path) -> Iterator[tuple[int, str, bool]]:
    """Id, text and whether it is a control token, of each token that is never split.

    Where several files name a token, the last one holds.
    """
    for text, i in _json(folder / "added_tokens.json").items():
        yield i, text, False
    described = _json(folder / "tokenizer_config.json").get("added_tokens_decoder", {})
    for i, token in described.items():
        yield int(i), token["content"], bool(token.get("special")) or _looks_special(token)
    # transformers 5 no longer writes `added_tokens_decoder`: without the list in tokenizer.json,
    # <start_of_turn> would silently be split into characters.
    for token in _json(folder / "tokenizer.json").get("added_tokens", []):
        if str(token["id"]) not in described:
            is_control = token["special"] or _looks_special(token)
            yield token["id"], token["content"], is_control or token["content"] in CONTROL_MARKS


def _looks_special(token: dict[str, Any]) -> bool:
    """does_token_look_special of conversion/base.py, as far as Gemma's vocabulary goes."""
    text: str = token["content"]
    return text in ("<pad>", "<mask>") or (text.startswith("<unused") and text.endswith(">"))


def _json(file: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return read
