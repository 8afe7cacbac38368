"""A judging run: the answers of an evaluation, scored by a judge, many questions at once.

Owns the order of things: what is asked, what was asked before, when a judge is given up.
"""

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.evaluation.answered import Header, read_evaluation
from training.evaluation.embedder import LocalEmbedder, open_embedder
from training.evaluation.judge import BudgetSpent, Inquiry, Unscored, check_reachable
from training.evaluation.judge_recipe import JudgeRecipe
from training.evaluation.judged import (
    FIGURES,
    METRICS,
    QUESTION,
    Metric,
    Sample,
    Score,
    ScoreFile,
    choose,
    figures,
    make_samples,
    open_scores,
    read_teacher,
    score_key,
)
from training.teach.answers import Purse
from training.teach.asking import MOST_FAILURES_IN_A_ROW
from training.teach.endpoint import Endpoint, EndpointRefused
from training.teach.recipe import Prices
from training.whole_file import write_whole

INPUT_TOKENS_PER_IMAGE = 6_000
OUTPUT_TOKENS_PER_IMAGE = 1_500
"""What the eight questions about one image take, rounded up: 470 to 1,500 tokens each for captions
of five sentences, by SmolLM2's tokenizer; the answers by their form."""
REPORT_EVERY = 30
CONNECT_S = 10.0


@dataclass(frozen=True)
class JudgingPlan:
    """What is to be judged."""

    recipe: JudgeRecipe
    folder: Path
    header: Header
    samples: tuple[Sample, ...]
    without_caption: int
    """Answered images that the teacher did not caption."""
    captions_sha256: str


def make_plan(
    recipe: JudgeRecipe, folder: Path, captions: Path, per_domain: int | None
) -> JudgingPlan:
    """Raises: EvaluationError."""
    evaluation = read_evaluation(folder)
    teacher = read_teacher(captions, evaluation.header.split)
    samples, without = make_samples(evaluation, teacher)
    chosen = choose(samples, per_domain or recipe.images_per_domain, recipe.seed)
    digest = hashlib.sha256(captions.read_bytes()).hexdigest()
    return JudgingPlan(recipe, folder, evaluation.header, tuple(chosen), without, digest)


def estimate(plan: JudgingPlan) -> str:
    """What the run is about to cost, if nothing of it was done before."""
    prices, images = plan.recipe.prices, len(plan.samples)
    dollars = images * (
        INPUT_TOKENS_PER_IMAGE * prices.input_per_million
        + OUTPUT_TOKENS_PER_IMAGE * prices.output_per_million
    )
    left_out = f"; {plan.without_caption} answers without a caption" if plan.without_caption else ""
    return (
        f"{images} images, {len(METRICS)} scores each, about {dollars / 1e6:.2f} of "
        f"{prices.budget:.2f} dollars, judge {plan.recipe.endpoint.model}{left_out}"
    )


def judge_answers(
    plan: JudgingPlan, api_key: str, retry_failed: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """Ask for every score that is not there yet, then write judged.json and return what is in it.

    Failures that are the judge's own are asked for again only on `retry_failed`.

    Raises: BudgetSpent, EndpointRefused, JudgeUnreachable, EmbedderError, EvaluationError.
    """
    recipe = plan.recipe
    check_reachable(recipe.endpoint.base_url, min(CONNECT_S, recipe.patience.timeout_s))
    embedder = open_embedder(recipe.embedder)
    embedder.embed([QUESTION])  # loaded now, it keeps no question waiting
    from training.evaluation.ragas_scores import VERSION  # seconds to import

    settings = (recipe.endpoint.model, recipe.endpoint.extra, VERSION, embedder.sha256)
    with open_scores(plan.folder) as file:
        spent_before = file.cost
        run = JudgingRun(recipe, embedder, settings, file, say)
        scores = asyncio.run(run.judge(plan.samples, api_key, retry_failed))
        judged = {
            "kind": "judged",
            "model": plan.header.model,
            "model_sha256": plan.header.model_sha256,
            "split": plan.header.split,
            "images": len(plan.samples),
            "without_caption": plan.without_caption,
            "captions_sha256": plan.captions_sha256,
            "seed": recipe.seed,
            "judge": {"model": recipe.endpoint.model, "base_url": recipe.endpoint.base_url},
            "ragas": VERSION,
            "embedder_sha256": embedder.sha256,
            "metrics": figures(scores, recipe.seed),
            "cost": file.cost,
        }
    write_whole(plan.folder / FIGURES, json.dumps(judged, indent=1) + "\n")
    say(f"{file.cost - spent_before:.2f} dollars now, {file.cost:.2f} in all")
    return judged


class JudgingRun:
    """Scores into an open file, some at a time."""

    def __init__(
        self,
        recipe: JudgeRecipe,
        embedder: LocalEmbedder,
        settings: Sequence[object],
        file: ScoreFile,
        say: Callable[[str], None],
    ) -> None:
        prices = recipe.prices
        paid = Prices(prices.input_per_million, prices.output_per_million, 0, 0, prices.budget)
        self._recipe = recipe
        self._embedder = embedder
        self._settings = settings
        self._file = file
        self._say = say
        self._purse = Purse(paid, file.cost, recipe.endpoint.most_output_tokens)
        self._todo: deque[tuple[str, Sample, Metric]] = deque()
        self._done = 0
        self._failures_in_a_row = 0
        self._is_budget_spent = False

    async def judge(
        self, samples: Sequence[Sample], api_key: str, retry_failed: bool
    ) -> list[Score]:
        """Every score of the samples, those of earlier runs included, failures too."""
        wanted = [
            (score_key(sample, metric, self._settings), sample, metric)
            for sample in samples
            for metric in METRICS
        ]
        kept = (self._file.get(key, sample) for key, sample, _ in wanted)
        self._todo = deque(
            each
            for each, score in zip(wanted, kept, strict=True)
            if score is None or not score.is_final or (retry_failed and score.score is None)
        )
        if len(self._todo) < len(wanted):
            self._say(f"{len(wanted) - len(self._todo)} scores are there, {len(self._todo)} to go")
        async with Endpoint(self._recipe.endpoint, self._recipe.patience, api_key) as endpoint:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._recipe.patience.concurrency):
                        group.create_task(self._work(endpoint))
            except ExceptionGroup as exc:
                raise exc.exceptions[0] from None  # the others are of the same judge
        if self._is_budget_spent:
            raise BudgetSpent
        found = (self._file.get(key, sample) for key, sample, _ in wanted)
        return [score for score in found if score is not None]

    async def _work(self, endpoint: Endpoint) -> None:
        from training.evaluation.ragas_scores import score

        while self._todo:
            key, sample, metric = self._todo.popleft()
            inquiry = Inquiry(endpoint, self._recipe, self._purse)
            value, reason, detail = None, "unfinished", ""
            try:
                value = await score(metric, sample, inquiry, self._embedder)
                reason = ""
            except Unscored as exc:
                reason, detail = exc.reason, exc.detail
            except BudgetSpent:
                self._is_budget_spent = True
                return  # those under way may still fit in
            finally:
                self._file.add(
                    Score(
                        key, sample.dataset, sample.row, sample.domain, metric,
                        value, reason, detail, inquiry.cost,
                    )
                )  # fmt: skip
            self._count(reason, detail)

    def _count(self, reason: str, detail: str) -> None:
        self._failures_in_a_row = self._failures_in_a_row + 1 if reason == "no answer" else 0
        if self._failures_in_a_row == MOST_FAILURES_IN_A_ROW:
            raise EndpointRefused(
                f"no answer for {MOST_FAILURES_IN_A_ROW} scores in a row from "
                f"{self._recipe.endpoint.base_url}, the last: {detail}; run again to go on"
            )
        self._done += 1
        if self._done % REPORT_EVERY == 0:
            self._say(
                f"{self._done} scores, {len(self._todo)} more, {self._purse.spent:.2f} dollars"
            )
