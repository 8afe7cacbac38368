"""The teacher's answers on disk, so that a resumed run asks nothing twice, and what they cost.

One JSON file an answer, named by the hash of all that settles it. Answers are kept as they came:
reading them into captions is done afresh by every run. No key and no image is in them.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training.teach.recipe import EndpointSettings, Prices
from training.teach.teacher import Answer

CHARACTERS_PER_TOKEN = 3
"""English text has about 4; estimates stay on the dear side."""


class DamagedAnswer(Exception):
    """A file of the run folder that this code did not write whole."""


def answer_key(image: bytes, prompt: str, side: int, settings: EndpointSettings) -> str:
    """Of the image's bytes, the prompt's version, the model, and what else changes an answer."""
    digest = hashlib.sha256(image).hexdigest()
    parts = [digest, prompt, settings.model, side, settings.extra]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class AnswerFolder:
    """Answers by key, each on disk before it is used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._answers: dict[str, Answer] = {}
        self.cost = 0.0
        """Of all answers here, at the prices of their day."""
        for path in sorted(folder.glob("*.json")):
            answer, cost = _read(path)
            self._answers[path.stem] = answer
            self.cost += cost

    def __contains__(self, key: str) -> bool:
        return key in self._answers

    def __getitem__(self, key: str) -> Answer:
        return self._answers[key]

    def __len__(self) -> int:
        return len(self._answers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._answers)

    def add(self, key: str, answer: Answer, cost: float) -> None:
        text = json.dumps({**asdict(answer), "cost": cost}, indent=1)
        write_whole(self._folder / f"{key}.json", text)
        self._answers[key] = answer
        self.cost += cost


class Purse:
    """What may still be spent. A request is paid for in full before it is sent, then settled."""

    def __init__(self, prices: Prices, spent: float, most_output_tokens: int) -> None:
        self.prices = prices
        self.spent = spent
        self._most_output_tokens = most_output_tokens
        self._promised = 0.0

    def promise(self, text_characters: int) -> float | None:
        """The most that a request can cost, put aside; None when the budget has no room for it."""
        most = self.estimate(text_characters, self._most_output_tokens)
        if self.spent + self._promised + most > self.prices.budget:
            return None
        self._promised += most
        return most

    def settle(self, promised: float, cost: float) -> None:
        self._promised -= promised
        self.spent += cost

    def cost(self, answer: Answer, text_characters: int) -> float:
        """By the answer's own usage; by the estimate where it reports none."""
        if answer.input_tokens is None or answer.output_tokens is None:
            return self.estimate(text_characters, self._most_output_tokens)
        return self._price(answer.input_tokens, answer.output_tokens)

    def estimate(self, text_characters: int, output_tokens: int) -> float:
        text_tokens = text_characters // CHARACTERS_PER_TOKEN + 1
        return self._price(self.prices.image_tokens + text_tokens, output_tokens)

    def _price(self, input_tokens: int, output_tokens: int) -> float:
        return (
            input_tokens * self.prices.input_per_million
            + output_tokens * self.prices.output_per_million
        ) / 1_000_000


def write_whole(path: Path, text: str) -> None:
    """Written aside, on the disk, then renamed: a kill or a power cut leaves all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".partial")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _read(path: Path) -> tuple[Answer, float]:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        cost = float(value.pop("cost"))
        return Answer(**value), cost
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise DamagedAnswer(f"damaged answer, delete it to ask again: {path}") from exc
