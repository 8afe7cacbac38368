"""Finding passages: by meaning and by words, fused into one ranking.

A passage must be near enough in meaning to be shown at all, so that an irrelevant question gets an
empty answer instead of the least bad passages. It knows nothing of how passages are stored.
"""

import re
from dataclasses import dataclass

from cpg_store.index import Index
from cpg_store.passage import Passage

FLOOR = 0.40
"""The least cosine between question and passage. Provisional: set by hand on a few questions over
a primary care manual and three WHO guidelines, not calibrated on a labelled set."""

RECOMMENDATION_BOOST = 1.1
"""A recommendation outranks prose that is nearly as relevant: about six ranks in one list."""

LESSER_WEIGHT = 0.85
"""What is seldom an answer ranks lower: a list of references, or a line of a few words, whose
headings match the question better than it answers it."""
BRIEF_WORDS = 12

_REFERENCES = re.compile(r"(?:^|> )(?:\d+\.?\s*)?(?:references|bibliography)\b", re.IGNORECASE)
_CANDIDATES = 50
_RRF_K = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)."""
_BEST_FUSED = 2 / (_RRF_K + 1)
_ALIKE = 0.8


@dataclass(frozen=True)
class RankedPassage:
    """A passage found."""

    passage: Passage
    score: float
    """Fused rank, 0 to 1; it orders one answer, and says nothing across questions."""


def search(
    index: Index, text: str, k: int = 5, document_id: str | None = None
) -> list[RankedPassage]:
    """Find the passages that answer `text`, best first; none if none is relevant."""
    if k < 1 or not text.strip():
        return []
    vector = index.embedder.embed([text])[0]
    hidden = index.catalogue.pending()
    by_meaning = index.vectors.nearest(vector, _CANDIDATES, document_id, hidden)
    by_words = index.catalogue.search_words(text, _CANDIDATES, document_id)
    candidates = sorted({*by_meaning, *by_words})
    passages = index.catalogue.passages(candidates)
    cosines = {
        each: float(stored @ vector) for each, stored in index.vectors.of(candidates).items()
    }
    fused = _fuse([by_meaning, by_words])
    ranked = [
        RankedPassage(passage, _score(passage, fused[passage.passage_id]))
        for passage in passages.values()
        if cosines.get(passage.passage_id, 0.0) >= FLOOR
    ]
    ranked.sort(key=lambda found: (-found.score, found.passage.passage_id))
    return _fold(ranked, k)


def _fuse(rankings: list[list[str]]) -> dict[str, float]:
    """Add up 1 / (60 + rank) over the rankings, as a share of the best that is possible."""
    fused: dict[str, float] = {}
    for ranking in rankings:
        for rank, passage_id in enumerate(ranking, 1):
            fused[passage_id] = fused.get(passage_id, 0.0) + 1 / (_RRF_K + rank) / _BEST_FUSED
    return fused


def _score(passage: Passage, fused: float) -> float:
    # Divided, not capped: two recommendations at the top must not tie.
    return min(fused * _weight(passage) / RECOMMENDATION_BOOST, 1.0)


def _weight(passage: Passage) -> float:
    if passage.kind == "recommendation":
        return RECOMMENDATION_BOOST
    is_brief = passage.kind == "text" and len(passage.text.split()) < BRIEF_WORDS
    return LESSER_WEIGHT if is_brief or _REFERENCES.search(passage.section) else 1.0


def _fold(ranked: list[RankedPassage], k: int) -> list[RankedPassage]:
    """Keep the best of passages that say nearly the same."""
    kept: list[tuple[RankedPassage, set[str]]] = []
    for found in ranked:
        words = set(re.findall(r"\w+", found.passage.text.casefold()))
        if not any(_likeness(words, others) >= _ALIKE for _, others in kept):
            kept.append((found, words))
        if len(kept) == k:
            break
    return [found for found, _ in kept]


def _likeness(words: set[str], others: set[str]) -> float:
    return len(words & others) / max(len(words | others), 1)
