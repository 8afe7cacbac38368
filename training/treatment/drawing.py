"""Questions for the judge, drawn by a seed: words, images, and the rule book's answer.

Half of them come in pairs: the same words, two images, two answers. No rule over words can tell
those apart, so whoever learns them must look.
"""

import random
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from appliance.core.labels import DOMAINS, Domain, LabelSet
from appliance.core.naming import WITHHELD
from appliance.core.treatment import Rule, RuleBook, Severity, stances
from training.treatment.asking import Answer

WORDS = Path(__file__).with_name("words.toml")
SIGN_SHARE = 0.3
"""Of the findings, those that name a sign of the rule book."""
DENIED_SHARE = 0.15
"""Of these, those that say it is absent."""
DETAIL_SHARE = 0.4
SECOND_TREATMENT_SHARE = 0.15
MOST_TRIES = 1_000
"""Draws until words fit; so many fail only when no rule speaks of a domain."""


@dataclass(frozen=True)
class Asked:
    """Words, and the right answer for each label that the rules speak of."""

    domain: Domain
    finding: str
    treatment: str
    named: tuple[str, ...]
    """The treatments, as the rule book names them."""
    right: Mapping[str, tuple[Answer, Severity]]

    def labels(self, answer: Answer) -> list[str]:
        return [label for label, (said, _) in self.right.items() if said == answer]


@dataclass(frozen=True)
class Drawn:
    """One question: words of an image. `pair` is shared by two, -1 for one that stands alone."""

    asked: Asked
    image: int
    label: str
    pair: int

    @property
    def answer(self) -> Answer:
        return self.asked.right[self.label][0]

    @property
    def severity(self) -> Severity:
        return self.asked.right[self.label][1]


def draw_questions(
    count: int,
    book: RuleBook,
    labels: LabelSet,
    images: Mapping[str, Sequence[int]],
    domain_share: Mapping[Domain, float],
    left_out: Collection[str],
    seed: int,
) -> list[Drawn]:
    """`count` questions of images, by label in `images`; half in pairs, half of the others each
    answer. No finding or treatment is one of the texts `left_out`, whatever their case.

    Raises: ValueError when no question can be drawn of a domain that has a share.
    """
    rng = random.Random(seed)
    writer = _Writer(book, labels, {text.casefold() for text in left_out}, rng)
    shares = [domain_share.get(domain, 0.0) for domain in DOMAINS]
    drawn: list[Drawn] = []

    def take(asked: Asked, answer: Answer, pair: int) -> None:
        label = rng.choice([each for each in asked.labels(answer) if each in images])
        drawn.append(Drawn(asked, rng.choice(images[label]), label, pair))

    while len(drawn) < count:
        (domain,) = rng.choices(DOMAINS, shares)
        needed: tuple[Answer, ...] = ("ERROR", "CORRECT")
        if len(drawn) >= count // 2:
            needed = (rng.choice(needed),)
        asked = writer.draw(domain, needed, images)
        pair = len(drawn) if len(needed) == 2 else -1
        for answer in needed:
            take(asked, answer, pair)
    return drawn


class _Writer:
    """Draws words until the rules speak of them as needed."""

    def __init__(
        self, book: RuleBook, labels: LabelSet, left_out: set[str], rng: random.Random
    ) -> None:
        self.book, self.left_out, self.rng = book, left_out, rng
        self.words: dict[str, Any] = tomllib.loads(WORDS.read_text(encoding="utf-8"))
        self.inside = {domain: labels.in_domain(domain) for domain in DOMAINS}
        self.rules = {
            domain: [rule for rule in book.rules if {*rule.labels} & {*names}]
            for domain, names in self.inside.items()
        }

    def draw(
        self, domain: Domain, needed: Sequence[Answer], images: Mapping[str, Sequence[int]]
    ) -> Asked:
        for _ in range(MOST_TRIES):
            finding, treatment = self.finding(domain), self.treatment(domain)
            if {finding.casefold(), treatment.casefold()} & self.left_out:
                continue
            named = self.book.treatments_in(treatment)
            right = right_answers(self.book, self.inside[domain], finding, treatment)
            asked = Asked(domain, finding, treatment, named, right)
            if all(any(label in images for label in asked.labels(each)) for each in needed):
                return asked
        raise ValueError(f"the rules or images of {domain} allow no question with {needed}")

    def finding(self, domain: Domain) -> str:
        rng, words = self.rng, self.words["finding"][domain]
        parts = [rng.choice(words["who"]), rng.choice(words["seen"])]
        if rng.random() < DETAIL_SHARE:
            parts.append(rng.choice(words["detail"]))
        if rng.random() < SIGN_SHARE and (signs := self.signs(domain)):
            word = rng.choice(self.book.signs[rng.choice(signs)])
            parts.insert(2, f"no {word}" if rng.random() < DENIED_SHARE else word)
        return ", ".join(parts).format(
            age=rng.randint(words["youngest"], words["oldest"]),
            years=rng.randint(2, 25),
            months=rng.randint(3, 34),
            young=rng.randint(1, 5),
            days=rng.randint(2, 6),
            tenth=rng.randint(0, 9),
            place=rng.choice(words["place"]),
            vision=rng.choice((6, 9, 12, 18, 36)),
            sugar=rng.randint(6, 12),
            pressure=f"{rng.randint(118, 172)}/{rng.randint(70, 102)}",
        )

    def signs(self, domain: Domain) -> list[str]:
        named = {sign for rule in self.rules[domain] for sign in (*rule.when, *rule.unless)}
        return sorted(named)

    def treatment(self, domain: Domain) -> str:
        rng, words = self.rng, self.words["treatment"]
        one = self.one_treatment(domain)
        if rng.random() < SECOND_TREATMENT_SHARE:
            one = rng.choice(words["joined"]).format(one=one, two=self.one_treatment(domain))
        return one[:1].upper() + one[1:]

    def one_treatment(self, domain: Domain) -> str:
        """A treatment that some rule of the domain speaks of, in one of its wordings."""
        rng, words = self.rng, self.words["treatment"]
        rule: Rule = rng.choice(self.rules[domain])
        name = rng.choice(rule.treatments)
        text = rng.choice(self.book.treatments[name.removeprefix(WITHHELD)])
        ways = words["withheld" if name.startswith(WITHHELD) else "given"]
        return str(rng.choice(ways).format(it=text))


def right_answers(
    book: RuleBook, labels: Sequence[str], finding: str, treatment: str
) -> dict[str, tuple[Answer, Severity]]:
    """What the rules say of these words for each of these labels that they speak of."""
    treatments = book.treatments_in(treatment)
    rules = book.about(treatments, book.signs_in(finding))
    found = stances(dict.fromkeys(labels, 1.0), treatments, rules)
    return {
        one.label: ("ERROR" if one.stance == "against" else "CORRECT", one.severity)
        for one in found
        if one.stance and one.severity
    }


def pairs_of(drawn: Sequence[Drawn]) -> list[tuple[Drawn, Drawn]]:
    """Those that come in pairs, which stand together."""
    return [(one, two) for one, two in pairwise(drawn) if one.pair == two.pair >= 0]
