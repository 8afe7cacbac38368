"""llama.cpp: one loaded model and projector, from pixels to label scores and caption text.

Runs only inside `llama_child`: native code may crash or redirect the process's descriptors. Knows
tokens and the KV cache; knows nothing of releases, decisions or files other than its two.

One reading: prompt and image are decoded into sequence 0; every label is scored as a copy of that
sequence, all in one batch; then the likeliest label is fed as text and the rest of the caption is
decoded greedily under the grammar. Nothing is sampled, so a picture always reads the same.
"""

import ctypes
import os
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, TypeVar

import llama_cpp
import numpy as np
from llama_cpp import mtmd_cpp
from numpy.typing import NDArray

from appliance.core.caption import caption_grammar, label_opening, label_prefix
from appliance.core.labels import LabelSet
from appliance.core.prompt import LISTING_VERSION, split_prompt

T = TypeVar("T")

CONTEXT_TOKENS = 2048
BATCH_TOKENS = 512
"""Must hold one image's soft tokens (256 in MedGemma): they attend to each other."""
MOST_CAPTION_TOKENS = 320
"""Where a runaway caption is cut; what is cut does not parse."""


class EngineError(Exception):
    """llama.cpp refused; the message says which step."""


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _discard_log(level: int, text: bytes, user_data: Any) -> None:
    """llama.cpp's own log, unwanted on any stream."""


class Engine:
    def __init__(
        self,
        model: str,
        projector: str,
        labels: LabelSet,
        image_size: int,
        prompt_version: int,
        threads: int,
    ) -> None:
        """Load both files. Raises: EngineError."""
        llama_cpp.llama_log_set(_discard_log, ctypes.c_void_p(0))
        mtmd_cpp.mtmd_log_set(_discard_log, ctypes.c_void_p(0))
        mtmd_cpp.mtmd_helper_log_set(_discard_log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._model = _made(
            llama_cpp.llama_model_load_from_file(
                os.fsencode(model), llama_cpp.llama_model_default_params()
            ),
            "load the model file",
        )
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._vocab_size = llama_cpp.llama_vocab_n_tokens(self._vocab)
        self._context = _made(
            llama_cpp.llama_init_from_model(self._model, _context_params(len(labels), threads)),
            "make a context",
        )
        self._memory = llama_cpp.llama_get_memory(self._context)
        params = mtmd_cpp.mtmd_context_params_default()
        params.use_gpu = True
        params.print_timings = False
        params.n_threads = threads
        params.warmup = False
        self._vision = _made(
            mtmd_cpp.mtmd_init_from_file(os.fsencode(projector), self._model, params),
            "load the projector file (does it belong to this model?)",
        )
        self._image_size = image_size
        self._encode_s = 0.0
        self.spent_s: dict[str, float] = {}
        """Of the last reading: seconds by step."""
        self._grammar = caption_grammar(labels).encode()
        listed = labels.names if prompt_version == LISTING_VERSION else ()
        self._before, self._after = (self.tokens(text) for text in split_prompt(listed))
        if llama_cpp.llama_vocab_get_add_bos(self._vocab):
            self._before.insert(0, llama_cpp.llama_vocab_bos(self._vocab))
        self._prefixes = [self.tokens(label_prefix(name)) for name in labels.names]
        scored = [
            prefix[: self._tokens_through(prefix, len(label_opening(name).encode()))]
            for name, prefix in zip(labels.names, self._prefixes, strict=True)
        ]
        self._common = _common_prefix(scored)
        self._tails = [tokens[len(self._common) :] for tokens in scored]
        if not all(self._tails) or not self._common:
            raise EngineError("cannot tell the labels apart by their tokens")

    def read(self, rgb: bytes) -> tuple[str, list[float]]:
        """The caption's text, and each label's natural log-probability.

        `rgb` is image_size x image_size x 3. Raises: EngineError.
        """
        began_s = perf_counter()
        llama_cpp.llama_memory_clear(self._memory, True)
        position = self._decode_tokens(self._before, 0)
        position = self._decode_image(rgb, position)
        position = self._decode_tokens([*self._after, *self._common], position)
        read_s = perf_counter()
        scores = self._score_labels(position)
        best = int(np.argmax(scores))
        for sequence in range(1, len(self._tails) + 1):
            llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        prefix = self._prefixes[best]
        position = self._decode_tokens(prefix[len(self._common) :], position)
        text = self._complete(prefix, position)
        self.spent_s = {
            "encode": self._encode_s,
            "prefill": read_s - began_s - self._encode_s,
            "decode": perf_counter() - read_s,
        }
        return text, scores

    def embed(self, rgb: bytes) -> NDArray[np.float32]:
        """The picture's soft tokens, (image tokens, text width), as the decoder is given them.

        `rgb` is image_size x image_size x 3. Raises: EngineError.
        """
        return self._with_image_chunk(rgb, self._encode)

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

    def _score_labels(self, position: int) -> list[float]:
        """Log-probability of every label's tail after the common tokens ending at `position`."""
        first = self._log_probabilities(-1)
        scores = [float(first[tail[0]]) for tail in self._tails]
        for batch in _packed([len(tail) - 1 for tail in self._tails], BATCH_TOKENS):
            rows = []
            for index in batch:
                llama_cpp.llama_memory_seq_cp(self._memory, 0, index + 1, -1, -1)
                rows += [
                    (token, position + place, index + 1, True)
                    for place, token in enumerate(self._tails[index][:-1])
                ]
            if not rows:
                continue
            self._decode_rows(rows)
            row = 0
            for index in batch:
                for token in self._tails[index][1:]:
                    scores[index] += float(self._log_probabilities(row)[token])
                    row += 1
        return scores

    def _complete(self, prefix: Sequence[int], position: int) -> str:
        """Greedy continuation of the caption that begins with `prefix`, under the grammar."""
        sampler = _made(
            llama_cpp.llama_sampler_init_grammar(self._vocab, self._grammar, b"root"),
            "read the caption grammar",
        )
        try:
            for token in prefix:
                llama_cpp.llama_sampler_accept(sampler, token)
            written = list(prefix)
            while len(written) < MOST_CAPTION_TOKENS:
                token = self._allowed_best(sampler)
                if llama_cpp.llama_vocab_is_eog(self._vocab, token):
                    break
                llama_cpp.llama_sampler_accept(sampler, token)
                written.append(token)
                position = self._decode_tokens([token], position)
        finally:
            llama_cpp.llama_sampler_free(sampler)
        return b"".join(map(self._piece, written)).decode("utf-8", "replace")

    def _allowed_best(self, sampler: Any) -> int:
        """The likeliest token that the grammar admits; ties go to the smaller id."""
        logits = self._logits(-1)
        best = int(np.argmax(logits))
        if self._admitted(sampler, np.array([best]), logits)[0]:
            return best
        everything = np.arange(self._vocab_size)  # costs a pass over the vocabulary: rare
        admitted = self._admitted(sampler, everything, logits)
        return int(np.argmax(np.where(admitted, logits, -np.inf)))

    def _admitted(
        self, sampler: Any, tokens: NDArray[np.int64], logits: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        data = (llama_cpp.llama_token_data * len(tokens))()
        view = np.ctypeslib.as_array(data)
        view["id"], view["logit"], view["p"] = tokens, logits[tokens], 0
        array = llama_cpp.llama_token_data_array(data, len(tokens), -1, False)
        llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
        admitted: NDArray[np.bool_] = np.isfinite(view["logit"])
        return admitted

    def _decode_tokens(self, tokens: Sequence[int], position: int) -> int:
        """Decode into sequence 0; logits of the last token only. Returns the next position."""
        for start in range(0, len(tokens), BATCH_TOKENS):
            piece = tokens[start : start + BATCH_TOKENS]
            last = start + len(piece) == len(tokens)
            self._decode_rows(
                [
                    (token, position + place, 0, last and place == len(piece) - 1)
                    for place, token in enumerate(piece)
                ]
            )
            position += len(piece)
        return position

    def _decode_rows(self, rows: Sequence[tuple[int, int, int, bool]]) -> None:
        """Decode (token, position, sequence, wants logits) rows as one batch."""
        batch = llama_cpp.llama_batch_init(len(rows), 0, 1)
        try:
            batch.n_tokens = len(rows)
            for index, (token, position, sequence, wanted) in enumerate(rows):
                batch.token[index] = token
                batch.pos[index] = position
                batch.n_seq_id[index] = 1
                batch.seq_id[index][0] = sequence
                batch.logits[index] = wanted
            if status := llama_cpp.llama_decode(self._context, batch):
                raise EngineError(f"decoding failed (llama_decode returned {status})")
        finally:
            llama_cpp.llama_batch_free(batch)

    def _decode_image(self, rgb: bytes, position: int) -> int:
        def decode(chunk: Any) -> int:
            embedding = self._encode(chunk)
            after = llama_cpp.llama_pos(0)
            status = mtmd_cpp.mtmd_helper_decode_image_chunk(
                self._vision,
                self._context,
                chunk,
                embedding.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
                llama_cpp.llama_pos(position),
                llama_cpp.llama_seq_id(0),
                BATCH_TOKENS,
                ctypes.byref(after),
                mtmd_cpp.mtmd_helper_post_decode_callback(0),
                ctypes.c_void_p(0),
            )
            if status:
                raise EngineError(f"decoding the image failed ({status})")
            return after.value

        return self._with_image_chunk(rgb, decode)

    def _encode(self, chunk: Any) -> NDArray[np.float32]:
        began_s = perf_counter()
        if status := mtmd_cpp.mtmd_encode_chunk(self._vision, chunk):
            raise EngineError(f"encoding the image failed ({status})")
        shape = (
            mtmd_cpp.mtmd_input_chunk_get_n_tokens(chunk),
            llama_cpp.llama_model_n_embd(self._model),
        )
        self._encode_s = perf_counter() - began_s
        found = mtmd_cpp.mtmd_get_output_embd(self._vision)
        return np.ctypeslib.as_array(found, shape).copy()

    def _with_image_chunk(self, rgb: bytes, work: Callable[[Any], T]) -> T:
        """Call `work` with mtmd's chunk for the picture, and free all of it after."""
        size = self._image_size
        if len(rgb) != size * size * 3:
            raise EngineError(f"the picture is not {size} x {size} RGB")
        pixels = (ctypes.c_uint8 * len(rgb)).from_buffer_copy(rgb)
        bitmap = _made(mtmd_cpp.mtmd_bitmap_init(size, size, pixels), "take the picture")
        chunks = mtmd_cpp.mtmd_input_chunks_init()
        try:
            marker = mtmd_cpp.mtmd_default_marker()
            text = mtmd_cpp.mtmd_input_text(marker, len(marker or b""), False, True)
            bitmaps = (mtmd_cpp.mtmd_bitmap_p_ctypes * 1)(bitmap)
            if mtmd_cpp.mtmd_tokenize(self._vision, chunks, ctypes.byref(text), bitmaps, 1):
                raise EngineError("cannot take the picture (mtmd_tokenize)")
            for index in range(mtmd_cpp.mtmd_input_chunks_size(chunks)):
                chunk = mtmd_cpp.mtmd_input_chunks_get(chunks, index)
                kind = mtmd_cpp.mtmd_input_chunk_get_type(chunk)
                if kind == mtmd_cpp.MTMD_INPUT_CHUNK_TYPE_IMAGE:
                    return work(chunk)
            raise EngineError("the projector makes no image of the picture")
        finally:
            mtmd_cpp.mtmd_input_chunks_free(chunks)
            mtmd_cpp.mtmd_bitmap_free(bitmap)

    def _logits(self, row: int) -> NDArray[np.float32]:
        found = llama_cpp.llama_get_logits_ith(self._context, row)
        return np.ctypeslib.as_array(found, (self._vocab_size,)).copy()

    def _log_probabilities(self, row: int) -> NDArray[np.float64]:
        logits = self._logits(row).astype(np.float64)
        logits -= logits.max()
        normalised: NDArray[np.float64] = logits - np.log(np.exp(logits).sum())
        return normalised

    def _piece(self, token: int) -> bytes:
        room = ctypes.create_string_buffer(256)
        count = llama_cpp.llama_token_to_piece(self._vocab, token, room, len(room), 0, True)
        return room.raw[:count] if count > 0 else b""

    def _tokens_through(self, tokens: Sequence[int], size_bytes: int) -> int:
        """How many tokens it takes to write the first `size_bytes` bytes."""
        written = 0
        for count, token in enumerate(tokens, 1):
            written += len(self._piece(token))
            if written >= size_bytes:
                return count
        raise EngineError("the tokenizer does not give back what it was given")


def _context_params(labels: int, threads: int) -> Any:
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = CONTEXT_TOKENS
    params.n_batch = params.n_ubatch = BATCH_TOKENS
    params.n_seq_max = labels + 1
    params.n_threads = params.n_threads_batch = threads
    params.kv_unified = True  # a copied sequence shares its cells
    params.swa_full = True
    params.no_perf = True
    return params


def _common_prefix(rows: Sequence[list[int]]) -> list[int]:
    """The tokens that every row begins with."""
    shared: list[int] = []
    for column in zip(*rows, strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    return shared


def _packed(sizes: Sequence[int], most: int) -> list[list[int]]:
    """Indices grouped in order so that each group's sizes sum to at most `most`."""
    groups: list[list[int]] = [[]]
    total = 0
    for index, size in enumerate(sizes):
        if total + size > most and groups[-1]:
            groups.append([])
            total = 0
        groups[-1].append(index)
        total += size
    return groups


def _made(thing: T | None, step: str) -> T:
    if not thing:
        raise EngineError(f"cannot {step}")
    return thing
