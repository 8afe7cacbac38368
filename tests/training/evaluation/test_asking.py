"""Claims about asking; that a release answers as its model does is tested with the export."""

from pathlib import Path
from typing import Any

import pytest

from appliance.core.decision import UNMEASURED
from appliance.core.ports import Captioner, Picture, Reading, ReleaseCard
from training.evaluation.asking import (
    REPORT_EVERY,
    Answer,
    ask_model,
    ask_release,
    dtype_on,
    with_progress,
)
from training.evaluation.questions import read_questions
from training.labels import label_set

LABELS = label_set()


class Recording(Captioner):
    """Keeps the pictures it was shown and says the same of each."""

    def __init__(self) -> None:
        self.shown: list[Picture] = []

    @property
    def release(self) -> ReleaseCard:
        return ReleaseCard("recording", "", True, LABELS, UNMEASURED, 28, 1)

    def features(self, picture: Picture) -> tuple[float, ...]:
        raise AssertionError("nobody asks")

    def read(self, picture: Picture, *, anew: bool = False) -> Reading:
        self.shown.append(picture)
        return Reading("text", (0.0, -1.0))


def test_a_release_is_shown_the_questions_pixels_at_its_own_size(data: Path) -> None:
    questions = read_questions(data, "test")
    captioner = Recording()
    answers = list(ask_release(captioner, questions))
    assert answers == [Answer("text", (0.0, -1.0))] * len(questions)
    for question, picture in zip(questions, captioner.shown, strict=True):
        assert picture.size == 28
        assert picture.rgb == question.square(28).tobytes()


def test_a_model_answers_many_as_it_answers_one(data: Path, model: Path) -> None:
    questions = read_questions(data, "test")
    together = list(ask_model(model, LABELS, questions))
    for question, answer in list(zip(questions, together, strict=True))[-2:]:
        (alone,) = ask_model(model, LABELS, [question])
        assert alone.text == answer.text
        assert alone.label_scores == pytest.approx(answer.label_scores, abs=1e-4)
    assert len({answer.label_scores for answer in together}) == len(questions)


def test_a_gpu_asks_at_full_precision_where_that_is_wanted() -> None:
    import torch

    assert dtype_on("cuda", full_precision=True) == torch.float32
    assert dtype_on("cuda", full_precision=False) == torch.bfloat16
    assert dtype_on("cpu", full_precision=False) == torch.float32


def test_an_adapter_answers_as_the_model_it_is_merged_into(
    data: Path, model: Path, tokenizer: Any, tmp_path: Path
) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Gemma3ForConditionalGeneration

    torch.manual_seed(1)
    base: Any = Gemma3ForConditionalGeneration.from_pretrained(model)
    settings = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted: Any = get_peft_model(base, settings)
    adapted.save_pretrained(tmp_path / "adapter")
    merged = tmp_path / "merged"
    adapted.merge_and_unload().save_pretrained(merged)
    tokenizer.save_pretrained(merged)
    (merged / "tokenizer.model").write_bytes((model / "tokenizer.model").read_bytes())

    questions = read_questions(data, "test")
    (without, *_), (adapted_first, *_), (merged_first, *_) = (
        list(ask_model(folder, LABELS, questions, adapter=adapter, write=False))
        for folder, adapter in ((model, None), (model, tmp_path / "adapter"), (merged, None))
    )
    assert adapted_first.label_scores == pytest.approx(merged_first.label_scores, abs=1e-3)
    assert adapted_first.label_scores != pytest.approx(without.label_scores, abs=1e-1)


def test_progress_is_told_now_and_then_and_changes_no_answer() -> None:
    lines: list[str] = []
    answers = [Answer(str(number), ()) for number in range(REPORT_EVERY + 1)]
    assert list(with_progress(iter(answers), len(answers), lines.append)) == answers
    assert lines == [f"{REPORT_EVERY}/{REPORT_EVERY + 1} images"]
