"""llama.cpp's decoder: one model file, its tokens, its KV cache and its logits.

Runs only inside `llama_child`: native code may crash or redirect the process's descriptors. Knows
nothing of captions, pictures or releases.
"""

import ctypes
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import llama_cpp
import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

CONTEXT_TOKENS = 2048
BATCH_TOKENS = 256
"""Must hold one image's soft tokens (256 in MedGemma): they attend to each other."""
MOST_OUTPUTS = 32
"""Rows of a batch that may want logits: at MedGemma's vocabulary a row takes a megabyte, and
llama.cpp makes room for all of them beforehand."""
PIECE_BYTES = 256


class EngineError(Exception):
    """llama.cpp refused; the message says which step."""


@dataclass(frozen=True, slots=True)
class Row:
    """One token of a batch."""

    token: int
    position: int
    sequence: int
    wants_logits: bool


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def discard_log(level: int, text: bytes, user_data: Any) -> None:
    """llama.cpp's own log, unwanted on any stream."""


def _load_kernels() -> None:
    """Where kernels are libraries of their own, one for each kind of processor (the kit's wheel),
    ggml takes the best that runs here; elsewhere they are built in."""
    folder = Path(llama_cpp.__file__).parent / "lib"
    if any(folder.glob("libggml-cpu-*.so")):
        ctypes.CDLL(str(folder / "libggml.so")).ggml_backend_load_all_from_path(os.fsencode(folder))


class Decoder:
    def __init__(self, model: str, threads: int, sequences: int) -> None:
        """Load the model file; its cache holds `sequences` that may share their cells.

        Raises: EngineError.
        """
        llama_cpp.llama_log_set(discard_log, ctypes.c_void_p(0))
        _load_kernels()
        llama_cpp.llama_backend_init()
        loading = llama_cpp.llama_model_default_params()
        # Not mapped: weights are laid out anew for the processor, and the file's pages would be
        # held beside them (2.5 GB, not 3.9, for MedGemma at Q4_K_M; a second more to load).
        loading.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE
        self.model = made(
            llama_cpp.llama_model_load_from_file(os.fsencode(model), loading),
            "load the model file",
        )
        self.width: int = llama_cpp.llama_model_n_embd(self.model)
        self._vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.vocabulary: int = llama_cpp.llama_vocab_n_tokens(self._vocab)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = CONTEXT_TOKENS
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.n_outputs_max = MOST_OUTPUTS
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True  # a copied sequence shares its cells
        params.swa_full = True
        params.no_perf = True
        self._context = made(llama_cpp.llama_init_from_model(self.model, params), "make a context")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._logits = ctypes.c_float * self.vocabulary
        self._pieces: dict[int, bytes] = {}

    def tokens(self, text: str) -> list[int]:
        """Token ids of text in which marks such as <start_of_turn> count as themselves."""
        encoded = text.encode()
        room = len(encoded) + 8
        found = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(
            self._vocab, encoded, len(encoded), found, room, False, True
        )
        if count < 0:
            raise EngineError("cannot tokenize the prompt")
        return list(found[:count])

    def opening(self) -> list[int]:
        """The beginning-of-sequence token, where the model was trained with one."""
        if not llama_cpp.llama_vocab_get_add_bos(self._vocab):
            return []
        return [llama_cpp.llama_vocab_bos(self._vocab)]

    def piece(self, token: int) -> bytes:
        """The bytes that a token writes; none for a mark such as <end_of_turn>."""
        if token not in self._pieces:
            room = ctypes.create_string_buffer(PIECE_BYTES)
            count = llama_cpp.llama_token_to_piece(self._vocab, token, room, PIECE_BYTES, 0, False)
            self._pieces[token] = room.raw[:count] if count > 0 else b""
        return self._pieces[token]

    def decode(self, rows: Sequence[Row]) -> None:
        """Decode rows as one batch: at most BATCH_TOKENS, of which at most MOST_OUTPUTS want
        logits. Raises: EngineError."""
        batch = self._batch
        batch.n_tokens = len(rows)
        for index, row in enumerate(rows):
            batch.token[index] = row.token
            batch.pos[index] = row.position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = row.sequence
            batch.logits[index] = row.wants_logits
        self._decode(batch)

    def decode_tokens(self, tokens: Sequence[int], position: int) -> int:
        """Decode into sequence 0; logits of the last token only. Returns the next position."""
        last = position + len(tokens) - 1
        for start in range(0, len(tokens), BATCH_TOKENS):
            piece = tokens[start : start + BATCH_TOKENS]
            places = range(position + start, position + start + len(piece))
            self.decode(
                [Row(token, at, 0, at == last) for token, at in zip(piece, places, strict=True)]
            )
        return last + 1

    def decode_soft_tokens(self, soft_tokens: NDArray[np.float32], position: int) -> int:
        """Decode an image's soft tokens, (tokens, width), into sequence 0; each attends to all of
        them, as Gemma 3 was trained (arXiv:2503.19786, section 2). Returns the next position."""
        count, width = (int(side) for side in soft_tokens.shape)
        if width != self.width or count > BATCH_TOKENS:
            raise EngineError(f"the image's {count} x {width} soft tokens do not fit the model")
        batch = llama_cpp.llama_batch_init(count, width, 1)
        try:
            batch.n_tokens = count
            values = np.ctypeslib.as_array(batch.embd, (count, width))
            values[:] = soft_tokens
            for index in range(count):
                batch.pos[index] = position + index
                batch.n_seq_id[index] = 1
                batch.seq_id[index][0] = 0
                batch.logits[index] = False
            llama_cpp.llama_set_causal_attn(self._context, False)
            self._decode(batch)
        finally:
            llama_cpp.llama_set_causal_attn(self._context, True)
            llama_cpp.llama_batch_free(batch)
        return position + count

    def forget(self, sequence: int, position: int) -> None:
        """Drop what a sequence holds from `position` on."""
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, position, -1)

    def forget_others(self) -> None:
        """Drop all sequences but sequence 0."""
        llama_cpp.llama_memory_seq_keep(self._memory, 0)

    def copy(self, sequence: int) -> None:
        """Let `sequence` begin as all that sequence 0 holds."""
        llama_cpp.llama_memory_seq_cp(self._memory, 0, sequence, -1, -1)

    def clear(self) -> None:
        llama_cpp.llama_memory_clear(self._memory, True)

    def logits(self, row: int) -> NDArray[np.float32]:
        """Of a row of the last batch that wanted them (-1: the last), (vocabulary,). A view: the
        next batch writes over it."""
        found = made(llama_cpp.llama_get_logits_ith(self._context, row), "find the logits")
        return np.frombuffer(
            self._logits.from_address(ctypes.addressof(found.contents)), np.float32
        )

    def log_probabilities(self, row: int, tokens: Sequence[int]) -> NDArray[np.float64]:
        """Of some tokens after a row of the last batch, (tokens,)."""
        logits = self.logits(row)
        top = logits.max()
        total = float(np.exp(logits - top).sum(dtype=np.float64))
        wanted: NDArray[np.float64] = logits[list(tokens)].astype(np.float64)
        return wanted - (float(top) + math.log(total))

    def _decode(self, batch: Any) -> None:
        if status := llama_cpp.llama_decode(self._context, batch):
            raise EngineError(f"decoding failed (llama_decode returned {status})")


def made(thing: T | None, step: str) -> T:
    if not thing:
        raise EngineError(f"cannot {step}")
    return thing
