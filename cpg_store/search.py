"""Finding passages: by meaning and by words, fused into one ranking.

A passage must be relevant enough to be shown at all, so that an irrelevant question gets an empty
answer instead of the least bad passages. It knows nothing of how passages are stored.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from cpg_store.catalogue import asked_words
from cpg_store.errors import IndexDamaged
from cpg_store.grade import stated_in
from cpg_store.index import Index
from cpg_store.lexical import all_words
from cpg_store.passage import Passage
from cpg_store.scope import Scope, Topic

MEANING = 0.5
"""The weight of the cosine in the fused score; the rest is that of the shared words, as a share of
the best possible score. Chosen on half of the queries of two BEIR sets."""

FLOOR = 0.335
SHORT_FLOOR = 0.43
SHORT_WORDS, LONG_WORDS = 5, 10
"""The least fused score of the best passage, or nothing is shown: for a question of many words, and
for one of few, of which a chance passage shares more; between the two it falls evenly. Chosen on
the development half of the labelled captions in tests/retrieval, asked whole and by their label
alone, between those that a document covers and those that none does."""

FOLLOWING = 0.7
"""What share of that the passages after the best need: the question then has an answer."""

RECOMMENDATION_BOOST = 1.1
"""A recommendation outranks prose that is nearly as relevant."""

LESSER_WEIGHT = 0.85
"""A list of references is seldom an answer, and ranks lower."""
_WEIGHTS = {"recommendation": RECOMMENDATION_BOOST, "reference": LESSER_WEIGHT}

CANDIDATES = 50
"""Passages of each ranking that are looked at."""
SPARE = 10
"""Passages beyond those asked for that are kept ready, for some are folded."""
MOST_JOINED_CHARACTERS = 2800
"""A passage cut into pieces is joined again up to this length, some 400 words."""
OF_ONE_PAGE = 2
"""Passages of one page, or of one document without pages, before those of others; what is left of
it follows them."""
QUOTED_WORDS = 4
"""A question of this many words that stands in a passage word for word is answered by it."""
ALIKE = 0.8
"""Passages that share this part of their words (Jaccard) are shown once."""

_BETWEEN_SENTENCES = re.compile(r"(?<=[.!?])\s+")

Ranking = Literal["lexical", "dense", "fused"]


@dataclass(frozen=True)
class Question:
    """What is asked."""

    text: str
    also: tuple[str, ...] = ()
    """Other names of what is asked for."""


@dataclass(frozen=True)
class Candidate:
    """A piece of a document that may be shown; the values are those of `RankedPassage`."""

    passage_id: str
    score: float
    meaning: float
    words: float


@dataclass(frozen=True)
class RankedPassage:
    """A passage found."""

    passage: Passage
    """Whole: neighbouring pieces of the same paragraph, list or table are joined; the id is that of
    the piece that was found."""
    score: float
    """0 to 1. Comparable across questions of like length: below the floor nothing is shown."""
    meaning: float
    """The cosine of question and passage."""
    words: float
    """Shared words, 0 to 1: BM25F as a share of the best possible."""


def search(
    index: Index,
    text: str,
    k: int = 5,
    scope: Scope | None = None,
    also: Sequence[str] = (),
    about: Topic | None = None,
) -> list[RankedPassage]:
    """Find the passages that answer `text`, best first; none if none is relevant.

    `also` are other names of what is asked for: a passage may share those words instead. Passages
    that speak of other topics than `about`, and not of it, are left out.
    """
    if k < 1 or not text.strip():
        return []
    floor = _floor(len(asked_words(text)))
    ranked = _ranked(index, Question(text, tuple(also)), scope or Scope(), CANDIDATES, k)
    if about:
        ranked = _on_topic(index, ranked, about)
    if not ranked or ranked[0].score < floor:
        return _whole(index, _quoted(index, text, ranked[:CANDIDATES]), k)
    return _whole(index, [found for found in ranked if found.score >= FOLLOWING * floor], k)


def holding(index: Index, text: str) -> Iterator[Passage]:
    """Every passage that holds `text` word for word, in the order of the index, each whole as
    `search` gives it. Capitals, punctuation, where lines end and the number of a footnote right
    after the last word ("advised2", "advised²") do not count."""
    held = re.compile(rf"{re.escape(_phrase(text).rstrip())}\d*\s")
    # Where a piece ends a sentence does, so one piece has all of the longest sentence.
    longest = max(_BETWEEN_SENTENCES.split(text.strip()), key=len)
    for piece in index.catalogue.holding_all(asked_words(longest.rpartition(" ")[0] or longest)):
        whole = joined(_pieces_around(index, piece), piece)
        if held.search(_phrase(whole.text)):
            yield whole


def _on_topic(index: Index, ranked: Sequence[Candidate], about: Topic) -> list[Candidate]:
    """Those that speak of this topic, or of none."""
    topics = index.catalogue.topics(found.passage_id for found in ranked)
    return [found for found in ranked if not (of := topics.get(found.passage_id)) or about in of]


def _quoted(index: Index, text: str, ranked: Sequence[Candidate]) -> list[Candidate]:
    """Those that hold the question word for word: who asks so means that passage."""
    if len(all_words(text)) < QUOTED_WORDS:
        return []
    passages = index.catalogue.passages([found.passage_id for found in ranked])

    def holds(found: Candidate) -> bool:
        passage = passages.get(found.passage_id)
        return passage is not None and _phrase(text) in _phrase(passage.text)

    return [found for found in ranked if holds(found)]


def _phrase(text: str) -> str:
    """Its words with a space on either side of each, to be sought in another's."""
    return f" {' '.join(all_words(text))} "


def _floor(words: int) -> float:
    share = min(max((LONG_WORDS - words) / (LONG_WORDS - SHORT_WORDS), 0.0), 1.0)
    return FLOOR + share * (SHORT_FLOOR - FLOOR)


def rank(index: Index, text: str, depth: int) -> dict[Ranking, list[str]]:
    """The ids of the best `depth` passages in each way of ranking, to compare the ways."""
    ranked = _ranked(index, Question(text), Scope(), depth, depth)

    def by(value: Callable[[Candidate], float]) -> list[str]:
        ordered = sorted(ranked, key=lambda found: (-value(found), found.passage_id))
        return [found.passage_id for found in ordered if value(found) > 0][:depth]

    return {
        "lexical": by(lambda found: found.words),
        "dense": by(lambda found: found.meaning),
        "fused": by(lambda found: found.score),
    }


def _ranked(index: Index, question: Question, scope: Scope, depth: int, k: int) -> list[Candidate]:
    """The first `depth` passages by words and by meaning, by fused score."""
    try:
        found = _candidates(index, question, scope, depth, k)
    except IndexDamaged:
        # The folder that was being read may have been replaced twice meanwhile.
        if not index.has_moved_on():
            raise
        found = _candidates(index, question, scope, depth, k)
    return sorted(found, key=lambda each: (-each.score, each.passage_id))


def _candidates(
    index: Index, question: Question, scope: Scope, depth: int, k: int
) -> list[Candidate]:
    import numpy as np

    embedder, vectors = index.in_use()
    vector = embedder.embed_question(question.text)
    conditions = scope.where()
    if hidden := index.catalogue.pending():
        conditions.append({"document_id": {"$nin": hidden}})
    cosines = vectors.nearest(vector, depth, conditions)
    others = {stem for name in question.also for stems in asked_words(name) for stem in stems}
    shared = index.catalogue.sharing(asked_words(question.text), others, scope)
    count = min(depth, len(shared))
    best = np.argpartition(-shared, count - 1)[:count]
    numbers = [int(number) for number in best if shared[number] > 0]
    kinds = index.catalogue.kinds(numbers, cosines)
    # What is not among the nearest is no nearer than the last of them, so only passages whose
    # words could still carry them to the top are measured.
    farthest = min(cosines.values(), default=1.0) if len(cosines) >= depth else 1.0

    def candidate(number: int, passage_id: str, kind: str, meaning: float) -> Candidate:
        words = min(float(shared[number]), 1.0)
        fused = MEANING * meaning + (1 - MEANING) * words
        return Candidate(passage_id, _weighted(kind, fused), meaning, words)

    known = [candidate(*each, cosines[each[1]]) for each in kinds if each[1] in cosines]
    hoped = {each: candidate(*each, farthest) for each in kinds if each[1] not in cosines}
    scores = sorted((each.score for each in known), reverse=True)
    needed = scores[k + SPARE - 1] if len(scores) >= k + SPARE else 0.0
    unmeasured = [each for each, best_case in hoped.items() if best_case.score >= needed]
    measured = vectors.of(sorted(each[1] for each in unmeasured))
    return known + [
        candidate(*each, float(measured[each[1]] @ vector))
        for each in unmeasured
        if each[1] in measured
    ]


def _weighted(kind: str, fused: float) -> float:
    # Divided, not capped: two recommendations at the top must not tie.
    return max(fused, 0.0) * _WEIGHTS.get(kind, 1.0) / RECOMMENDATION_BOOST


def _whole(index: Index, ranked: Sequence[Candidate], k: int) -> list[RankedPassage]:
    """The best `k`, each joined with its neighbours; what says nearly the same is shown once."""
    kept: list[RankedPassage] = []
    crowding: list[RankedPassage] = []
    of_page: Counter[tuple[str, int | None]] = Counter()
    covered: set[tuple[str, int]] = set()
    said: list[set[str]] = []
    for start in range(0, len(ranked), k + SPARE):
        some = ranked[start : start + k + SPARE]
        passages = index.catalogue.passages([found.passage_id for found in some])
        for found in some:
            passage = passages.get(found.passage_id)
            if passage is None or (passage.document_id, passage.ordinal) in covered:
                continue
            words = set(all_words(passage.text))
            if any(_likeness(words, others) >= ALIKE for others in said):
                continue
            said.append(words)
            pieces = _pieces_around(index, passage)
            covered |= {(piece.document_id, piece.ordinal) for piece in pieces}
            whole = joined(pieces, passage)
            page = (passage.document_id, passage.page)
            of_page[page] += 1
            chosen = kept if of_page[page] <= OF_ONE_PAGE else crowding
            chosen.append(RankedPassage(whole, found.score, found.meaning, found.words))
            if len(kept) == k:
                return kept
    return (kept + crowding)[:k]


def _pieces_around(index: Index, passage: Passage) -> list[Passage]:
    """The pieces of the same paragraph, list or table, in order, as far as the length allows."""
    reach = MOST_JOINED_CHARACTERS // 300
    near = index.catalogue.continuing(
        passage.document_id, passage.ordinal - reach, passage.ordinal + reach
    )
    first = last = passage.ordinal
    length = len(passage.text)
    while True:
        before, after = near.get(first - 1), near.get(last + 1)
        if after and after[0] and length + after[1] <= MOST_JOINED_CHARACTERS:
            last, length = last + 1, length + after[1]
        elif before and near[first][0] and length + before[1] <= MOST_JOINED_CHARACTERS:
            first, length = first - 1, length + before[1]
        else:
            break
    if first == last:
        return [passage]
    return index.catalogue.passages_of(passage.document_id, first, last)


def joined(pieces: Sequence[Passage], found: Passage) -> Passage:
    """One passage of neighbouring pieces; a table's head stands once. What it states of its grade
    and evidence is what all of it states."""
    if len(pieces) == 1:
        return found
    text = pieces[0].text
    for before, piece in pairwise(pieces):
        text += _without_head(before, piece) if piece.kind == "table" else "\n" + piece.text
    stated = stated_in(text, found.kind)
    return replace(
        found,
        text=text,
        grade=stated.grade,
        evidence=stated.evidence,
        grading=stated.system,
        is_recognised=any(piece.is_recognised for piece in pieces),
        page=pieces[0].page,
        page_label=pieces[0].page_label,
        start=pieces[0].start,
        last_page=pieces[-1].last_page,
        end=pieces[-1].end,
    )


def _without_head(before: Passage, piece: Passage) -> str:
    """The rows of a table's next piece without those that both pieces begin with."""
    rows, above = piece.text.split("\n"), before.text.split("\n")
    head = 0
    while head < min(len(rows), len(above)) - 1 and rows[head] == above[head]:
        head += 1
    return "".join(f"\n{row}" for row in rows[head:])


def _likeness(words: set[str], others: set[str]) -> float:
    return len(words & others) / max(len(words | others), 1)
