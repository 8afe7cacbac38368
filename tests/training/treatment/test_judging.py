"""The judge's prompt, one for both stages, and its likelihoods."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from training.adapted import Adapted
from training.conversation import text_ids
from training.treatment.asking import (
    Answer,
    answered,
    judge_ids,
    judge_lesson,
    label_and_verdict,
    label_opening,
    question,
)
from training.treatment.judging import Question, answer_shares, judge_questions, soft_tokens

WORDS = ("61-year-old, spot on the ear", "Freeze it this week")
LABELS = ("melanoma", "actinic keratosis", "basal cell carcinoma")
PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def judge(base: Path, tokenizer: Any) -> Adapted:
    from training.qlora.recipe import Quantization
    from training.qlora.train import load_base

    model = load_base(str(base), Quantization("none", False, "float32")).eval()
    return Adapted(model, tokenizer, made_of={})


def test_what_trl_asks_is_what_was_taught(judge: Adapted) -> None:
    from PIL import Image

    from training.adapted import chat_processor
    from training.treatment.optimise import messages

    prompt = messages(*WORDS)
    prompt[1]["content"] = [
        {"type": "image", "image": Image.fromarray(PICTURE)},
        {"type": "text", "text": question(*WORDS)},
    ]
    asked = chat_processor(judge).apply_chat_template(
        [prompt], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert asked["input_ids"][0].tolist() == judge_ids(judge.tokenizer, 4, *WORDS)
    seen = judge.model.get_image_features(asked["pixel_values"]).pooler_output[0]
    assert np.allclose(seen.detach(), soft_tokens(judge.model, PICTURE), atol=1e-6)


def test_answers_that_share_a_prompt_are_as_likely_as_alone(judge: Adapted) -> None:
    import torch

    from training.conversation import Conversation
    from training.qlora.packing import pack, pack_loss

    features = soft_tokens(judge.model, PICTURE)
    prompt, opening = judge_ids(judge.tokenizer, 4, *WORDS), label_opening(["cryotherapy"])
    answers = [label_and_verdict(label, word) for label in LABELS for word in get_args(Answer)]
    shares = answer_shares(judge, prompt, opening, answers, features)
    given = [*prompt, *text_ids(judge.tokenizer, opening)]
    alone = []
    for answer in answers:
        ids = text_ids(judge.tokenizer, answer)
        whole = (*given, *ids)
        soft = judge.model.config.image_token_id
        lesson = Conversation(
            whole, (0.0,) * len(given) + (1.0,) * len(ids), tuple(i == soft for i in whole)
        )
        with torch.no_grad():
            alone.append(-float(pack_loss(judge.model, pack([lesson], 512), features[None])[0]))
    expected = torch.softmax(torch.tensor(alone, dtype=torch.float64), 0)
    assert shares == pytest.approx(expected.tolist(), rel=1e-3)


def test_a_verdict_adds_up_over_the_labels(judge: Adapted) -> None:
    asked = Question(*WORDS, LABELS, PICTURE)
    longer = Question(WORDS[0] + ", itches", WORDS[1], LABELS, PICTURE)
    found, other = judge_questions(judge, [asked, longer])
    assert sum(found.labels.values()) == pytest.approx(1)
    assert 0 < found.error < 1
    assert found.verdict == ("ERROR" if found.error > 0.5 else "CORRECT")
    (alone,) = judge_questions(judge, [asked])
    assert alone.error == pytest.approx(found.error), "whatever else is asked with it"
    assert other.error != found.error


def test_of_other_labels_only_the_verdict_is_learnt(judge: Adapted) -> None:
    right: dict[str, Answer] = {"melanoma": "ERROR", "actinic keratosis": "CORRECT"}
    lesson = judge_lesson(judge.tokenizer, 4, *WORDS, ["cryotherapy"], right, "melanoma")

    def said(branch: int, least: float) -> str:
        ids = zip(lesson.ids, lesson.weights, lesson.branch, strict=True)
        kept = [token for token, weight, each in ids if each == branch and weight >= least]
        return str(judge.tokenizer.decode(kept))

    assert said(-1, 1.0) == label_opening(["cryotherapy"])
    assert answered(said(-1, 1.0) + said(0, 1.0)) == ("melanoma", "ERROR")
    assert said(1, 0.0) == 'actinic keratosis", "verdict": "CORRECT'
    assert said(1, 1.0) == "CORRECT"


WHOLE = label_opening(["cryotherapy"]) + label_and_verdict("melanoma", "ERROR")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ERROR",
        WHOLE.replace("ERROR", "MAYBE"),
        WHOLE.replace("label", "finding"),
        WHOLE[:-1],
    ],
)
def test_what_is_no_answer_is_none(text: str) -> None:
    assert answered(text) is None
    assert answered(WHOLE + "<end_of_turn>\n") == ("melanoma", "ERROR")
