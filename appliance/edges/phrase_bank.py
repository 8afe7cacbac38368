"""Captions that a release has written before, to guess how the one being written goes on.

A guess costs nothing when it is wrong: it is checked against the model before it is taken
(speculative decoding, Leviathan et al. 2023, arXiv:2211.17192; from kept text rather than from a
second model, as in arXiv:2304.04487). Knows tokens; knows nothing of llama.cpp.
"""

from array import array
from collections.abc import Iterable, Sequence

CONTEXTS = (8, 4, 2, 1)
"""Tokens at the end of what is written that are looked for, the most first."""
TOKEN_BYTES = array("i").itemsize


class PhraseBank:
    def __init__(self, captions: Iterable[Sequence[int]]) -> None:
        """`captions` by their tokens, the likeliest first."""
        self._tokens = array("i")
        for caption in captions:
            self._tokens.extend(caption)
            self._tokens.append(-1)  # a guess ends with its caption
        self._bytes = self._tokens.tobytes()

    def guess(self, written: Sequence[int], most: int) -> list[int]:
        """At most `most` tokens that followed the longest known end of `written`."""
        for count in CONTEXTS:
            if count <= len(written) and (start := self._find(written[-count:])) is not None:
                found = self._tokens[start + count : start + count + most].tolist()
                return found[: found.index(-1)] if -1 in found else found
        return []

    def _find(self, context: Sequence[int]) -> int | None:
        """Where in the bank `context` first stands."""
        wanted = array("i", context).tobytes()
        at = self._bytes.find(wanted)
        while at % TOKEN_BYTES and at >= 0:
            at = self._bytes.find(wanted, at + 1)
        return at // TOKEN_BYTES if at >= 0 else None
