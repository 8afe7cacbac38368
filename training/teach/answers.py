"""The teacher's answers on disk, so that a resumed run asks nothing twice, and what they cost.

One JSON file an answer, named by the hash of all that settles it. Answers are kept as they came:
reading them into captions is done afresh by every run. No key and no image is in them.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training.teach.recipe import EndpointSettings, Prices
from training.teach.teacher import Answer
from training.whole_file import write_whole

CHARACTERS_PER_TOKEN = 3
"""English text has about 4; estimates stay on the dear side."""


class DamagedAnswer(Exception):
    """A file of the run folder that this code did not write whole."""


class RunInUse(Exception):
    """Another process is asking for answers into the same run folder."""


def answer_key(image: bytes, prompt: str, side: int, settings: EndpointSettings) -> str:
    """Of the image's bytes, the prompt's version, the model, and what else changes an answer, but
    for the most tokens it may have: see `AnswerFolder`."""
    digest = hashlib.sha256(image).hexdigest()
    parts = [digest, prompt, settings.model, side, settings.extra, settings.answer_format]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class AnswerFolder:
    """Answers by key, each on disk before it is used.

    One that a smaller limit than `most_output_tokens` cut off is not among them, and is asked for
    again; what it cost stays counted.
    """

    def __init__(self, folder: Path, most_output_tokens: int) -> None:
        self._folder = folder
        self._most_output_tokens = most_output_tokens
        self._answers: dict[str, Answer] = {}
        self._costs: dict[str, float] = {}
        for path in sorted(folder.glob("*.json")):
            answer, self._costs[path.stem], limit = _read(path)
            if not (answer.is_cut_off and limit < most_output_tokens):
                self._answers[path.stem] = answer

    @property
    def cost(self) -> float:
        """Of all answers here, at the prices of their day."""
        return sum(self._costs.values())

    def __contains__(self, key: str) -> bool:
        return key in self._answers

    def __getitem__(self, key: str) -> Answer:
        return self._answers[key]

    def __len__(self) -> int:
        return len(self._answers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._answers)

    def add(self, key: str, answer: Answer, cost: float) -> None:
        spent = self._costs.get(key, 0.0) + cost
        kept = {**asdict(answer), "cost": spent, "most_output_tokens": self._most_output_tokens}
        write_whole(self._folder / f"{key}.json", json.dumps(kept, indent=1))
        self._answers[key], self._costs[key] = answer, spent


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


@contextmanager
def only_run_in(run: Path) -> Iterator[None]:
    """Two runs in one folder would pay for the same answers, each within the budget.

    Raises: RunInUse.
    """
    run.mkdir(parents=True, exist_ok=True)
    folder = os.open(run, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise RunInUse(
                f"another `teach` is running in {run}; wait for it or choose another --run"
            ) from exc
        yield
    finally:
        os.close(folder)


def _read(path: Path) -> tuple[Answer, float, int]:
    """With its cost, and the most tokens it might have had."""
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        cost, limit = float(value.pop("cost")), int(value.pop("most_output_tokens"))
        return Answer(**value), cost, limit
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise DamagedAnswer(f"damaged answer, delete it to ask again: {path}") from exc
