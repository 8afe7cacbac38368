"""Words: how text becomes terms, and how passages are ranked by the terms they share with a query.

The ranking is BM25F: BM25 (Robertson and Zaragoza, doi:10.1561/1500000019) over two fields, a
passage's headings and its text, each with its own weight and length. It knows no file and no
SQLite: postings come in as packed bytes and are counted in numpy.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import log
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HEAD_WEIGHT = 15.0
HEAD_LENGTH = 0.9
BODY_LENGTH = 0.4
SATURATION = 1.2
"""BM25F's weight of the headings, how far each field's length counts (b), and k1. Chosen on half of
the queries of two BEIR sets; `tests/benchmarks/guideline_search.py` measures the other half."""

_POSTING = [("number", "<u4"), ("head", "u1"), ("body", "u1"), ("heads", "u1"), ("bodies", "<u2")]
"""One passage's entry of a term: the passage, how often the term stands in its headings and in its
text, and how many terms each of the two has."""
_MOST = 255

_WORD = re.compile(r"\w+")
_ENGLISH_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
    a about after all also an and any are as at be been before being between but by can could
    did do does during for from had has have he her his how i if in into is it its may more
    most no not of on or other our she should so some such than that the their then there
    these they this those through to was we were what when where which who why will with would
    you your
        """,
    )
)
_MALAY_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
    ada adalah akan apa apakah atau bagi bagaimana bahawa boleh dalam dan dapat dari daripada
    dengan di hendaklah ia ialah ini itu jika juga ke kepada lain mana oleh pada perlu saya
    sebagai sebelum secara selepas semasa seperti serta setiap siapa supaya telah tentang
    terhadap tidak untuk yang
        """,
    )
)


def terms(text: str, languages: Sequence[str | None] = ("en",)) -> list[str]:
    """The terms of a text, in order: words without stop words, one spelling, the stem of each.

    A word gives a term for each of the languages in which it has another stem; a passage is of one
    language, a question may be of either.
    """
    return [term for stems in words(text, languages) for term in stems]


def words(text: str, languages: Sequence[str | None]) -> list[tuple[str, ...]]:
    """The words of a text without stop words, each by its different stems in the languages."""
    found = all_words(text)
    return [stems for word in found if (stems := _stems(word, tuple(languages)))]


def all_words(text: str) -> list[str]:
    """In small letters; a raised or lowered digit counts as a digit."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


@lru_cache(1 << 16)
def _stems(word: str, languages: tuple[str | None, ...]) -> tuple[str, ...]:
    if word in _ENGLISH_STOP_WORDS or word in _MALAY_STOP_WORDS:
        return ()
    found = dict.fromkeys(
        _stemmer("indonesian").stemWord(word)
        if language == "ms"
        else _stemmer("english").stemWord(_one_spelling(word))
        for language in languages
    )
    return tuple(found)


def _one_spelling(word: str) -> str:
    """Oedema and edema, haemorrhage and hemorrhage, tumour and tumor are one word each."""
    word = word.replace("oe", "e").replace("ae", "e")
    return re.sub(r"(?<=\w\w)our(?=s?$|ed$|less$)", "or", word)


@lru_cache(2)
def _stemmer(algorithm: str) -> Any:
    # A dozen modules of tables; only indexing and searching need them. Snowball has no Malay:
    # its Indonesian algorithm strips the affixes that the two languages share.
    import snowballstemmer

    return snowballstemmer.stemmer(algorithm)


def postings(
    passages: Iterable[tuple[int, str, str, str | None]],
) -> tuple[dict[str, bytes], int, int]:
    """Pack the terms of passages: (number, headings, text, language) each.

    Returns each term's entries, and the number of terms in all headings and in all texts.
    """
    import numpy as np

    entries: dict[str, list[tuple[int, int, int, int, int]]] = {}
    heads = bodies = 0
    for number, headings, text, language in passages:
        head, body = terms(headings, (language,)), terms(text, (language,))
        heads, bodies = heads + len(head), bodies + len(body)
        in_head, in_body = Counter(head), Counter(body)
        for term in in_head.keys() | in_body.keys():
            counts = (in_head[term], in_body[term], len(head))
            entry = (number, *(min(count, _MOST) for count in counts), min(len(body), 0xFFFF))
            entries.setdefault(term, []).append(entry)  # type: ignore[arg-type]
    packed = {term: np.array(rows, dtype=_POSTING).tobytes() for term, rows in entries.items()}
    return packed, heads, bodies


def unpack(entries: bytes) -> "NDArray[Any]":
    """The entries of one term as a structured array."""
    import numpy as np

    return np.frombuffer(entries, dtype=_POSTING)


def scores(
    query: Mapping[str, float],
    entries: Mapping[str, "NDArray[Any]"],
    passages: int,
    mean_head: float,
    mean_body: float,
    size: int,
) -> "NDArray[np.float32]":
    """BM25F of every passage for weighted terms, by passage number; shape (size,).

    `passages` is how many there are, `mean_head` and `mean_body` their mean numbers of terms.
    """
    import numpy as np

    total = np.zeros(size, dtype=np.float32)
    for term, weight in query.items():
        found = entries.get(term)
        if found is None:
            continue
        head = 1 - HEAD_LENGTH + HEAD_LENGTH * found["heads"] / max(mean_head, 1)
        body = 1 - BODY_LENGTH + BODY_LENGTH * found["bodies"] / max(mean_body, 1)
        frequency = HEAD_WEIGHT * found["head"] / head + found["body"] / body
        saturated = frequency * (SATURATION + 1) / (frequency + SATURATION)
        total[found["number"]] += weight * rarity(len(found), passages) * saturated
    return total


def best_possible(
    asked: Mapping[tuple[str, ...], float],
    entries: Mapping[str, "NDArray[Any]"],
    passages: int,
) -> float:
    """What a passage full of every word asked for would score; of a word's stems the commonest."""
    return sum(
        weight
        * (SATURATION + 1)
        * min(rarity(len(entries.get(stem, ())), passages) for stem in stems)
        for stems, weight in asked.items()
    )


def rarity(holding: int, passages: int) -> float:
    """Inverse document frequency, never negative: ln(1 + (N - n + 0.5) / (n + 0.5))."""
    return log(1 + (passages - holding + 0.5) / (holding + 0.5))
