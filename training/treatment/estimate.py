"""Memory, tokens and time of both stages, before anything is downloaded or loaded.

The supervised stage is a QLoRA run and estimated as one; here stands how long its conversations
are. Of a step of policy optimisation the worst moment is the gradient of the answers drawn.
"""

import math
from dataclasses import dataclass

from appliance.core.labels import DOMAINS
from appliance.core.prompt import END_OF_TURN
from appliance.core.treatment import RuleBook
from training.labels import label_set
from training.qlora.estimate import (
    ASSUMED_IMAGES,
    CHARACTERS_PER_TOKEN,
    CONTEXT_BYTES,
    OTHER_SHARE,
    Lessons,
    activation_bytes,
    assumed_lessons,
    base_bytes,
    row_flops,
)
from training.qlora.geometry import BaseGeometry
from training.treatment.asking import judge_prompt, label_and_verdict, label_opening
from training.treatment.drawing import Drawn, draw_questions
from training.treatment.recipe import JudgeRecipe, TreatmentRecipe

SAMPLED = 400
"""Questions drawn to see how long they are."""


@dataclass(frozen=True)
class Length:
    """Tokens of a question on average, at so many characters a token."""

    prompt: float
    """With the image's."""
    answer: float
    """Of one answer, from the treatment's name to the end of the turn."""
    answers: float
    """Of a lesson: the opening, and an answer for each label that the rules speak of."""


def question_length(geometry: BaseGeometry, recipe: JudgeRecipe, book: RuleBook) -> Length:
    """Over questions drawn as in training, of pictures that need not be there."""
    labels = label_set()
    images = {name: [place] for place, name in enumerate(labels.names)}
    shares = recipe.steps.domain_share or dict.fromkeys(DOMAINS, 1.0)
    drawn = draw_questions(SAMPLED, book, labels, images, shares, (), recipe.seed)

    def mean(texts: list[str]) -> float:
        return sum(map(len, texts)) / len(drawn) / CHARACTERS_PER_TOKEN

    return Length(
        prompt=1
        + geometry.image_tokens
        + mean(["".join(judge_prompt(one.asked.finding, one.asked.treatment)) for one in drawn]),
        answer=mean([_answer(one) for one in drawn]),
        answers=mean([_opening(one) + "".join(_branches(one)) for one in drawn]),
    )


def _opening(one: Drawn) -> str:
    return label_opening(one.asked.named)


def _answer(one: Drawn) -> str:
    said = label_and_verdict(one.label, one.asked.right[one.label][0])
    return _opening(one) + said + END_OF_TURN


def _branches(one: Drawn) -> list[str]:
    return [label_and_verdict(label, answer) for label, (answer, _) in one.asked.right.items()]


def judge_lessons(geometry: BaseGeometry, recipe: JudgeRecipe, length: Length) -> Lessons:
    """Captions and questions as they are mixed, over as many captioned images as the reference
    run had."""
    captions, share = assumed_lessons(geometry), recipe.questions.caption_share
    return Lessons(
        images=ASSUMED_IMAGES,
        train=captions.train + recipe.questions.train,
        tokens=share * captions.tokens + (1 - share) * (length.prompt + length.answers),
        learnt=share * captions.learnt + (1 - share) * length.answers,
        source=f"{recipe.questions.train} questions and {captions.source}",
    )


@dataclass(frozen=True)
class OptimisationEstimate:
    memory: dict[str, int]
    """Bytes on the accelerator while the answers' gradient is made, by what holds them."""
    drawn_tokens: float
    """Of the answers of a step."""
    tokens: float
    """Of a step, prompts included."""
    training_s: float
    """Of the whole run: a pass to draw each token, one to weigh it by the supervised judge, one
    forward and two back (with gradient checkpointing) to learn of it."""


def estimate_optimisation(
    geometry: BaseGeometry,
    recipe: TreatmentRecipe,
    length: Length,
    tera_flops: float,
    utilisation: float,
) -> OptimisationEstimate:
    """`tera_flops`: the accelerator's peak at the recipe's compute type, in 1e12 a second."""
    settings, size = recipe.optimisation, 2 if recipe.quantization.compute == "bfloat16" else 4
    row, rows = length.prompt + length.answer, settings.questions_at_once * settings.answers
    adapter = geometry.adapter_weights(recipe.adapter.rank, recipe.adapter.vision == "tuned")
    one_row = activation_bytes(geometry, recipe, row=row, learnt=length.answer, images=1)
    memory = base_bytes(geometry, recipe.quantization, tower=True) | {
        "adapter, gradients and Adam's two moments": 16 * adapter,  # four float32 each
        "the supervised judge's adapter": 4 * adapter,
        f"keys and values of {rows} answers": round(
            2 * size * geometry.depth * geometry.key_value_heads * geometry.head_width * row * rows
        ),
        **{f"{what}, {rows} answers": rows * each for what, each in one_row.items()},
    }
    memory["not usable, and CUDA itself (assumed)"] = (
        round(OTHER_SHARE * sum(memory.values())) + CONTEXT_BYTES
    )
    answers = settings.questions * settings.answers
    once = row_flops(geometry, recipe.steps.gradient_checkpointing, row, length.answer)
    seen = row_flops(geometry, recomputed=False, row=row, learnt=length.answer) / 2
    return OptimisationEstimate(
        memory=memory,
        drawn_tokens=answers * length.answer,
        tokens=answers * row,
        training_s=settings.steps * answers * (once + 2 * seen) / (tera_flops * 1e12 * utilisation),
    )


def report_optimisation(found: OptimisationEstimate, recipe: TreatmentRecipe) -> list[str]:
    """The estimate in lines to be read; GB is 1e9 bytes."""
    settings = recipe.optimisation
    looks = math.ceil(settings.steps / settings.look_every) + 1
    return [
        f"optimisation: {settings.steps} steps of {settings.questions} questions with"
        f" {settings.answers} answers each, {looks} looks at {settings.held_pairs} held pairs",
        "memory of the accelerator, while the answers' gradient is made:",
        *(f"  {size / 1e9:9.3f} GB  {what}" for what, size in found.memory.items()),
        f"  {sum(found.memory.values()) / 1e9:9.3f} GB  together",
        f"tokens: {found.tokens:,.0f} a step, {found.drawn_tokens:,.0f} of them drawn",
        f"  {found.training_s / 3600:9.2f} h  at the same speed; drawing one token at a time is"
        " slower than that",
    ]
