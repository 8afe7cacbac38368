"""Many questions to a teacher at once, each answer on disk before the next question is taken.

Owns who asks when: how many at a time, the budget, when an endpoint is given up, and what of an
image is sent. Knows nothing of what an answer says.
"""

import asyncio
import base64
import io
import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from appliance.core.labels import LabelSet
from training.datasets import Example
from training.teach.answers import AnswerFolder, Purse
from training.teach.endpoint import Endpoint, EndpointRefused, NoAnswer
from training.teach.recipe import TeachRecipe
from training.teach.teacher import Rejected, request_body

MOST_FAILURES_IN_A_ROW = 10
"""Images without an answer, one after the other, after which the endpoint counts as down."""
REPORT_EVERY = 20
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Question:
    """One image to be shown to the teacher; `example.label` is never part of what is shown."""

    example: Example
    image: bytes
    key: str
    """Of the answer; equal for the same picture in two places."""


class Asker:
    """Asks an endpoint, into a folder of answers, out of a purse."""

    def __init__(
        self,
        endpoint: Endpoint,
        recipe: TeachRecipe,
        labels: LabelSet,
        answers: AnswerFolder,
        purse: Purse,
        say: Callable[[str], None],
    ) -> None:
        self.failures: dict[str, Rejected] = {}
        """By key: images that cannot be shown, and questions that got no answer."""
        self._endpoint = endpoint
        self._recipe = recipe
        self._labels = labels
        self._answers = answers
        self._purse = purse
        self._say = say
        self._failures_in_a_row = 0
        self._todo: deque[Question] = deque()
        self._done = 0

    async def ask(self, questions: Iterable[Question]) -> None:
        """Ask what has no answer yet; what the budget does not reach stays without one.

        Raises: EndpointRefused.
        """
        unanswered = {q.key: q for q in questions if q.key not in self._answers}
        self._todo = deque(unanswered.values())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._recipe.patience.concurrency):
                    group.create_task(self._work())
        except ExceptionGroup as exc:
            raise exc.exceptions[0] from None  # the others are of the same endpoint

    async def _work(self) -> None:
        while self._todo:
            body = self._body(self._todo[0], "")
            characters = len(json.dumps(body))
            promised = self._purse.promise(characters)
            if promised is None:
                return  # those still under way may leave room, and will go on
            question = self._todo.popleft()
            cost = 0.0
            try:
                cost = await self._ask_one(question, characters, promised)
            except NoAnswer as exc:
                cost = promised * exc.unseen
                self._fail(question, exc)
            except Rejected as exc:
                self.failures[question.key] = exc
            finally:
                self._purse.settle(promised, cost)
            self._report()

    async def _ask_one(self, question: Question, characters: int, promised: float) -> float:
        """Returns what the answer cost, once it is on disk, with attempts that were lost."""
        url = image_data_url(question.image, self._recipe.sampling.image_side)
        answer, unseen = await self._endpoint.ask(self._body(question, url))
        cost = self._purse.cost(answer, characters)
        self._answers.add(question.key, answer, cost)
        self.failures.pop(question.key, None)  # the same picture may have failed elsewhere
        self._failures_in_a_row = 0
        return cost + promised * unseen

    def _body(self, question: Question, url: str) -> dict[str, Any]:
        return request_body(self._recipe.endpoint, self._labels, question.example.domain, url)

    def _fail(self, question: Question, problem: NoAnswer) -> None:
        self.failures[question.key] = Rejected("no answer", str(problem))
        self._failures_in_a_row += 1
        if self._failures_in_a_row == MOST_FAILURES_IN_A_ROW:
            raise EndpointRefused(
                f"no answer to {MOST_FAILURES_IN_A_ROW} images in a row, the last: {problem}"
            )

    def _report(self) -> None:
        self._done += 1
        if self._done % REPORT_EVERY == 0:
            spent, budget = self._purse.spent, self._purse.prices.budget
            self._say(
                f"{self._done} asked, {len(self._todo)} more in this round, "
                f"{spent:.2f} of {budget:.2f} dollars"
            )


def image_data_url(encoded: bytes, longest_side: int) -> str:
    """The pixels alone as a JPEG data URL: what else was in the file does not leave the house.

    Raises: Rejected for a file that is not a whole image.
    """
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(encoded)).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        raise Rejected("image", f"cannot be decoded ({type(exc).__name__})") from exc
    image.info.clear()  # a JPEG's comment would be written again
    image.thumbnail((longest_side, longest_side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
