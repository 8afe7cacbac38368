"""One reading: from pixels to label scores and a caption, the same for the same picture.

Runs only inside `llama_child`. The system prompt stays in the KV cache; the picture's soft tokens
follow. Every label is scored as a copy of that sequence, all in one batch. Then the likeliest
label is fed as text and the rest is decoded greedily: what the caption's form forces is fed with
the token before it, what the phrase bank guesses is decoded in the same batch and kept as far as
the model would have written it alone. Nothing is sampled.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from appliance.core.caption import label_opening, label_prefix
from appliance.core.labels import LabelSet
from appliance.core.prompt import LISTING_VERSION, split_prompt
from appliance.core.structure import Place
from appliance.edges.llama_decoder import MOST_OUTPUTS, Decoder, EngineError, Row
from appliance.edges.phrase_bank import PhraseBank
from appliance.edges.vision_encoders import Encode

SCORED_AT_ONCE = MOST_OUTPUTS - 1
"""Labels; each is a sequence of the KV cache beside the caption's, and llama.cpp aborts with more
sequences than rows that may want logits."""
MOST_CAPTION_TOKENS = 320
"""Where a runaway caption is cut; what is cut does not parse."""
MOST_GUESSED = 24
THIN_LEAD = 0.05
"""Of the likeliest logit over the next. A batch sums in another order than a single token does;
where the lead is thinner than that may move it, the token is decoded again alone."""
CANDIDATES = 64
"""Likeliest tokens looked through before the whole vocabulary is sorted."""


@dataclass(frozen=True, slots=True)
class Step:
    """A token and the text that the caption's form forces after it: decoded together."""

    tokens: tuple[int, ...]
    place: Place
    """After them."""


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    label_scores: list[float]
    """Natural log-probability of each label."""
    spent_s: dict[str, float]
    """Seconds: encode, prefill, score, decode."""


class Engine:
    def __init__(
        self,
        decoder: Decoder,
        encode: Encode,
        labels: LabelSet,
        image_size: int,
        prompt_version: int,
        captions: Sequence[str],
    ) -> None:
        """`captions` that the release wrote before, the likeliest first; none: nothing is guessed.

        Raises: EngineError.
        """
        self._decoder = decoder
        self._encode_picture = encode
        self._image_size = image_size
        self._seen: tuple[bytes, NDArray[np.float32]] | None = None
        self._forced: dict[bytes, tuple[int, ...]] = {}
        listed = labels.names if prompt_version == LISTING_VERSION else ()
        before, self._after = (decoder.tokens(text) for text in split_prompt(listed))
        prefixes = [decoder.tokens(label_prefix(name)) for name in labels.names]
        scored = [
            prefix[: self._tokens_through(prefix, len(label_opening(name).encode()))]
            for name, prefix in zip(labels.names, prefixes, strict=True)
        ]
        self._common = _common_prefix(scored)
        self._tails = [tokens[len(self._common) :] for tokens in scored]
        if not all(self._tails) or not self._common:
            raise EngineError("cannot tell the labels apart by their tokens")
        if max(map(len, self._tails)) > MOST_OUTPUTS:
            raise EngineError(f"a label has more than {MOST_OUTPUTS} tokens")
        self._openings = [prefix[len(self._common) :] for prefix in prefixes]
        self._bank = PhraseBank(decoder.tokens(caption) for caption in captions)
        decoder.clear()
        self._start = decoder.decode_tokens([*decoder.opening(), *before], 0)

    def read(self, rgb: bytes, *, guess: bool = True) -> Answer:
        """`rgb` is image_size x image_size x 3; the answer is the same whether it may `guess`.

        Raises: EngineError.
        """
        began_s = perf_counter()
        soft_tokens = self.embed(rgb)
        encoded_s = perf_counter()
        decoder = self._decoder
        decoder.forget(0, self._start)
        position = decoder.decode_soft_tokens(soft_tokens, self._start)
        position = decoder.decode_tokens([*self._after, *self._common], position)
        read_s = perf_counter()
        scores = self._score_labels(position)
        scored_s = perf_counter()
        best = int(np.argmax(scores))
        written = self._complete(self._openings[best], position, guess)
        text = b"".join(map(decoder.piece, [*self._common, *written]))
        spent_s = {
            "encode": encoded_s - began_s,
            "prefill": read_s - encoded_s,
            "score": scored_s - read_s,
            "decode": perf_counter() - scored_s,
        }
        return Answer(text.decode("utf-8", "replace"), scores, spent_s)

    def embed(self, rgb: bytes) -> NDArray[np.float32]:
        """The picture's soft tokens, (image tokens, text width), as the decoder is given them.

        `rgb` is image_size x image_size x 3; the last picture's are kept. Raises: EngineError.
        """
        if self._seen is None or self._seen[0] != rgb:
            if len(rgb) != self._image_size**2 * 3:
                raise EngineError(f"the picture is not {self._image_size} x {self._image_size} RGB")
            self._seen = rgb, self._encode_picture(rgb)
        return self._seen[1]

    def forget_picture(self) -> None:
        """Encode the next picture even if it is the last one again."""
        self._seen = None

    def _score_labels(self, position: int) -> list[float]:
        """Log-probability of every label's tail after the common tokens ending at `position`."""
        decoder = self._decoder
        first = [tail[0] for tail in self._tails]
        scores: list[float] = decoder.log_probabilities(-1, first).tolist()
        for group in _packed([len(tail) - 1 for tail in self._tails]):
            rows = []
            for sequence, index in enumerate(group, 1):
                decoder.copy(sequence)
                rows += [
                    Row(token, position + place, sequence, True)
                    for place, token in enumerate(self._tails[index][:-1])
                ]
            if not rows:
                continue
            decoder.decode(rows)
            followed = [(index, token) for index in group for token in self._tails[index][1:]]
            for row, (index, token) in enumerate(followed):
                scores[index] += float(decoder.log_probabilities(row, [token])[0])
            decoder.forget_others()
        return scores

    def _complete(self, opening: Sequence[int], position: int, guess: bool) -> list[int]:
        """`opening` and the greedy continuation of the caption that it opens."""
        written: list[int] = []
        step = Step(tuple(opening), Place())
        most = MOST_GUESSED if guess else 0
        while not step.place.is_whole and len(written) < MOST_CAPTION_TOKENS:
            steps = [step, *self._guessed(written, step, most)]
            self._decode_steps(steps, position)
            agreed, token = self._agreed(steps, position)
            for step in steps[:agreed]:
                written += step.tokens
                position += len(step.tokens)
            self._decoder.forget(0, position)
            step = self._step(token, steps[agreed - 1].place)
            if guess:
                most = min(MOST_GUESSED, 4 + 2 * agreed)
        return [*written, *step.tokens]

    def _guessed(self, written: Sequence[int], step: Step, most: int) -> Iterator[Step]:
        """Steps that may follow, as far as the caption's form admits what the bank guesses."""
        tokens = self._bank.guess([*written, *step.tokens], most)
        while tokens:
            after = step.place.after(self._decoder.piece(tokens[0]))
            if after is None or after.is_whole:
                return
            step = self._step(tokens[0], step.place)
            if step.place.is_whole or tuple(tokens[: len(step.tokens)]) != step.tokens:
                return
            tokens = tokens[len(step.tokens) :]
            yield step

    def _step(self, token: int, place: Place) -> Step:
        after = place.after(self._decoder.piece(token))
        assert after is not None, "only what the form admits is chosen"
        tokens = [token]
        if forced := after.forced:
            tokens += self._forced_tokens(forced)
            after = after.after(forced)
            assert after is not None
        return Step(tuple(tokens), after)

    def _forced_tokens(self, forced: bytes) -> tuple[int, ...]:
        if forced not in self._forced:
            self._forced[forced] = tuple(self._decoder.tokens(forced.decode()))
        return self._forced[forced]

    def _decode_steps(self, steps: Sequence[Step], position: int) -> None:
        """All steps in one batch, logits after each."""
        rows: list[Row] = []
        for step in steps:
            last = len(step.tokens) - 1
            for place, token in enumerate(step.tokens):
                rows.append(Row(token, position + len(rows), 0, place == last))
        self._decoder.decode(rows)

    def _agreed(self, steps: Sequence[Step], position: int) -> tuple[int, int]:
        """How many of the decoded steps the model itself would have taken, and the token that it
        writes after them."""
        row = -1
        for number, step in enumerate(steps, 1):
            row += len(step.tokens)
            logits = self._decoder.logits(row)
            if len(steps) > 1 and _is_thin(logits):
                start = position + row + 1 - len(step.tokens)
                self._decoder.forget(0, start)
                self._decode_steps([step], start)
                return number, self._best(self._decoder.logits(-1), step.place)
            token = self._best(logits, step.place)
            if number == len(steps) or token != steps[number].tokens[0]:
                return number, token
        raise AssertionError("the last step ends it")

    def _best(self, logits: NDArray[np.float32], place: Place) -> int:
        """The likeliest token that the caption's form admits; ties go to the smaller id."""
        best = int(np.argmax(logits))
        if self._admits(place, best):
            return best
        likeliest = np.argpartition(-logits, CANDIDATES)[:CANDIDATES]
        for few in (likeliest, np.arange(len(logits))):  # all of them: rare
            for token in few[np.lexsort((few, -logits[few]))]:
                if self._admits(place, int(token)):
                    return int(token)
        raise EngineError("no token fits the caption's form")

    def _admits(self, place: Place, token: int) -> bool:
        return place.after(self._decoder.piece(token)) is not None

    def _tokens_through(self, tokens: Sequence[int], size_bytes: int) -> int:
        """How many tokens it takes to write the first `size_bytes` bytes."""
        written = 0
        for count, token in enumerate(tokens, 1):
            written += len(self._decoder.piece(token))
            if written >= size_bytes:
                return count
        raise EngineError("the tokenizer does not give back what it was given")


def _is_thin(logits: NDArray[np.float32]) -> bool:
    return int(np.count_nonzero(logits > logits.max() - THIN_LEAD)) > 1


def _common_prefix(rows: Sequence[list[int]]) -> list[int]:
    """The tokens that every row begins with."""
    shared: list[int] = []
    for column in zip(*rows, strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    return shared


def _packed(sizes: Sequence[int]) -> list[list[int]]:
    """Indices grouped in order: at most SCORED_AT_ONCE, whose sizes sum to at most MOST_OUTPUTS."""
    groups: list[list[int]] = [[]]
    total = 0
    for index, size in enumerate(sizes):
        if groups[-1] and (total + size > MOST_OUTPUTS or len(groups[-1]) == SCORED_AT_ONCE):
            groups.append([])
            total = 0
        groups[-1].append(index)
        total += size
    return groups
