"""The judge's prompt, one for both stages, and its likelihoods."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.treatment.asking import answered, judge_answer, judge_ids, judge_lesson, question
from training.treatment.judging import Judge, answer_shares, judge_question, soft_tokens

WORDS = ("61-year-old, spot on the ear", "Freeze it this week")
LABELS = ("melanoma", "actinic keratosis", "basal cell carcinoma")
PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def judge(base: Path, tokenizer: Any) -> Judge:
    from training.qlora.recipe import Quantization
    from training.qlora.train import load_base

    return Judge(load_base(str(base), Quantization("none", False, "float32")).eval(), tokenizer)


def test_what_trl_asks_is_what_was_taught(judge: Judge) -> None:
    from PIL import Image

    from training.treatment.optimise import judge_processor, messages

    prompt = messages(*WORDS)
    prompt[1]["content"] = [
        {"type": "image", "image": Image.fromarray(PICTURE)},
        {"type": "text", "text": question(*WORDS)},
    ]
    asked = judge_processor(judge).apply_chat_template(
        [prompt], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert asked["input_ids"][0].tolist() == judge_ids(judge.tokenizer, 4, *WORDS)
    seen = judge.model.get_image_features(asked["pixel_values"]).pooler_output[0]
    assert np.allclose(seen.detach(), soft_tokens(judge.model, PICTURE), atol=1e-6)


def test_answers_that_share_a_prompt_are_as_likely_as_alone(judge: Judge) -> None:
    import torch

    from training.conversation import Conversation
    from training.qlora.packing import pack, pack_loss

    features = soft_tokens(judge.model, PICTURE)
    prompt = judge_ids(judge.tokenizer, 4, *WORDS)
    answers = [judge_answer(label, word) for label in LABELS for word in ("ERROR", "CORRECT")]
    shares = answer_shares(judge, prompt, answers, features)
    alone = []
    for answer in answers:
        ids = judge.tokenizer(answer, add_special_tokens=False).input_ids
        whole = (*prompt, *ids)
        soft = judge.model.config.image_token_id
        lesson = Conversation(
            whole, (0.0,) * len(prompt) + (1.0,) * len(ids), tuple(i == soft for i in whole)
        )
        with torch.no_grad():
            alone.append(-float(pack_loss(judge.model, pack([lesson], 512), features[None])[0]))
    expected = torch.softmax(torch.tensor(alone, dtype=torch.float64), 0)
    assert shares == pytest.approx(expected.tolist(), rel=1e-3)


def test_a_verdict_adds_up_over_the_labels(judge: Judge) -> None:
    found = judge_question(judge, *WORDS, LABELS, soft_tokens(judge.model, PICTURE))
    assert sum(found.labels.values()) == pytest.approx(1)
    assert 0 < found.error < 1
    assert found.verdict == ("ERROR" if found.error > 0.5 else "CORRECT")


def test_of_other_labels_only_the_verdict_is_learnt(judge: Judge) -> None:
    right = {"melanoma": "ERROR", "actinic keratosis": "CORRECT"}
    lesson = judge_lesson(judge.tokenizer, 4, *WORDS, right, "melanoma")  # type: ignore[arg-type]
    for branch, label in enumerate(right):
        place = [p for p, each in enumerate(lesson.branch) if each == branch]
        said = judge.tokenizer.decode([lesson.ids[p] for p in place])
        assert answered(said) == (label, right[label])
        learnt = judge.tokenizer.decode([lesson.ids[p] for p in place if lesson.weights[p]])
        assert (label in learnt) == (label == "melanoma")
        assert right[label] in learnt


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ERROR",
        json.dumps({"label": "melanoma", "verdict": "MAYBE"}),
        json.dumps({"verdict": "ERROR", "label": "melanoma"}),
        judge_answer("melanoma", "ERROR")[:-1],
    ],
)
def test_what_is_no_answer_is_none(text: str) -> None:
    assert answered(text) is None
    assert answered(judge_answer("melanoma", "ERROR") + "<end_of_turn>\n") == ("melanoma", "ERROR")
