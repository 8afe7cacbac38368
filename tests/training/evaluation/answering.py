"""Answers made up by hand, a model under test that is a few lines, and one of random weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from appliance.core.caption import caption_json
from appliance.core.labels import DOMAINS, Domain
from appliance.core.prompt import PROMPT_VERSION
from training.evaluation.answered import AnsweredImage, Header, open_answers
from training.evaluation.asking import Answer
from training.evaluation.questions import Question
from training.evaluation.subject import Ask, Subject
from training.labels import label_set, label_table
from training.measured.caption import Checked

LABELS = label_set()


def scores(label: str) -> tuple[float, ...]:
    """Log-probabilities of which `label`'s is the highest."""
    return tuple(-0.1 if name == label else -5.0 for name in LABELS.names)


def caption_of(label: str) -> str:
    """The label table's caption, as a model writes it."""
    return next(caption_json(row.caption) for row in label_table() if row.name == label)


def answered(
    row: int,
    label: str,
    found: str,
    *,
    text: str | None = None,
    findings: Checked | None = None,
    strata: dict[str, str] | None = None,
    group: str | None = None,
) -> AnsweredImage:
    """Of a patient of its own, unless a `group` is named."""
    domain: Domain = LABELS.domain_of(label)
    return AnsweredImage(
        dataset={"skin": "ham10000", "fundus": "odir5k", "chest": "kermany_cxr"}[domain],
        row=row,
        group=str(row) if group is None else group,
        domain=domain,
        label=label,
        found=found,
        text=caption_of(found) if text is None else text,
        label_scores=scores(found),
        findings=findings or Checked(0, 0, 0),
        strata=strata or {},
    )


def header(images: int, model: str = "made-up") -> Header:
    return Header(
        model=model,
        model_sha256=f"hash of {model}",
        split="test",
        images=images,
        labels=LABELS.names,
        domains=tuple(label.domain for label in LABELS),
        temperatures=dict.fromkeys(DOMAINS, 1.0),
        prompt_version=PROMPT_VERSION,
    )


def write_evaluation(folder: Path, images: Sequence[AnsweredImage], model: str) -> Path:
    with open_answers(folder, header(len(images), model)) as answers:
        for image in images:
            answers.add(image)
    return folder


class TruthTeller:
    """Knows every label, counts what it is asked, and can be killed after so many answers."""

    def __init__(self, killed_after: int | None = None) -> None:
        self.asked = 0
        self.killed_after = killed_after

    def subject(self, sha256: str = "0" * 64, prompt_version: int = PROMPT_VERSION) -> Subject:
        temperatures = dict.fromkeys(DOMAINS, 1.0)
        return Subject("truth-teller", sha256, LABELS, temperatures, prompt_version, self._open)

    @contextmanager
    def _open(self) -> Iterator[Ask]:
        yield self._answers

    def _answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        for question in questions:
            if self.asked == self.killed_after:
                raise KeyboardInterrupt
            self.asked += 1
            yield Answer(caption_of(question.label), scores(question.label))


def write_model(folder: Path, tokenizer: Any, tokenizer_model: Path) -> Path:
    """A Hugging Face folder: Gemma 3 of a few thousand random weights, which babbles briefly."""
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    torch.manual_seed(0)
    token = tokenizer.convert_tokens_to_ids
    config = Gemma3Config(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "initializer_range": 0.2,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 40,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "image_size": 28,
            "patch_size": 14,
        },
        mm_tokens_per_image=4,
        boi_token_index=token("<start_of_image>"),
        eoi_token_index=token("<end_of_image>"),
        image_token_index=token("<image_soft_token>"),
    )
    model = Gemma3ForConditionalGeneration(config)
    model.model.multi_modal_projector.mm_input_projection_weight.data.normal_(0, 0.5)
    generation: Any = model.generation_config
    generation.bos_token_id, generation.pad_token_id = tokenizer.bos_token_id, 0
    generation.eos_token_id = list(range(1, len(tokenizer), 2))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "tokenizer.model").write_bytes(tokenizer_model.read_bytes())
    return folder
