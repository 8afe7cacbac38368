"""Claims about what the model is trained on, token by token."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from appliance.core.caption import caption_json, label_prefix
from appliance.core.prompt import PERSONA, REQUEST, render_prompt
from training.captioner import collate
from training.conversation import Conversation, conversation, prompt_ids, text_ids
from training.labels import LabelRow, label_table
from training.tokenizer import CONTROL_MARKS, MARKS, train_tokenizer

IMAGE_TOKENS = 4
GEMMA_3_TEMPLATE = (
    "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}"
    "{%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}"
    "{%- set loop_messages = messages[1:] -%}{%- else -%}"
    "{%- set first_user_prefix = '' -%}{%- set loop_messages = messages -%}{%- endif -%}"
    "{%- for message in loop_messages -%}"
    "{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}"
    "{{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else '') }}"
    "{%- for item in message['content'] -%}"
    "{%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}"
    "{%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}"
    "{%- endfor -%}{{ '<end_of_turn>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
)
"""The template published with Gemma 3's instruction-tuned models, for lists of content."""


@pytest.fixture(scope="module")
def processor(tokenizer: Any) -> Any:
    from transformers import Gemma3Processor
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    images = Gemma3ImageProcessorPil(
        size={"height": 28, "width": 28}, image_seq_length=IMAGE_TOKENS
    )
    return Gemma3Processor(
        images, tokenizer, chat_template=GEMMA_3_TEMPLATE, image_seq_length=IMAGE_TOKENS
    )


def processed(processor: Any, *, answer: str | None) -> tuple[list[int], list[int]]:
    """Token ids and image marks that transformers makes of the same messages."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": [{"type": "text", "text": PERSONA}]},
        {
            "role": "user",
            "content": [
                {"type": "image", "image": Image.new("RGB", (28, 28))},
                {"type": "text", "text": REQUEST},
            ],
        },
    ]
    if answer is not None:
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    made = processor.apply_chat_template(
        messages,
        tokenize=True,
        return_dict=True,
        add_generation_prompt=answer is None,
        processor_kwargs={"return_mm_token_type_ids": True},
    )
    return list(made["input_ids"][0]), list(made["token_type_ids"][0])


def test_the_prompt_is_what_gemma_3s_processor_makes(tokenizer: Any, processor: Any) -> None:
    ids, _ = processed(processor, answer=None)
    assert prompt_ids(tokenizer, IMAGE_TOKENS) == ids


@pytest.mark.parametrize("row", label_table(), ids=lambda row: row.name)
def test_a_conversation_is_what_gemma_3s_processor_makes(
    tokenizer: Any, processor: Any, row: LabelRow
) -> None:
    ids, is_image = processed(processor, answer=caption_json(row.caption))
    lesson = conversation(tokenizer, IMAGE_TOKENS, row.caption, 1.0)
    assert list(lesson.ids) == ids
    assert list(map(int, lesson.is_image)) == is_image


def test_the_conversation_begins_once_and_holds_every_soft_token(tokenizer: Any) -> None:
    lesson = conversation(tokenizer, IMAGE_TOKENS, label_table()[0].caption, 1.0)
    assert [place for place, i in enumerate(lesson.ids) if i == tokenizer.bos_token_id] == [0]
    assert sum(lesson.is_image) == IMAGE_TOKENS


@pytest.mark.parametrize("row", label_table(), ids=lambda row: row.name)
def test_only_the_answer_is_learnt(tokenizer: Any, row: LabelRow) -> None:
    lesson = conversation(tokenizer, IMAGE_TOKENS, row.caption, 1.0)
    assert len(lesson.ids) == len(lesson.weights) == len(lesson.is_image)
    prompt = [i for i, weight in zip(lesson.ids, lesson.weights, strict=True) if not weight]
    answer = [i for i, weight in zip(lesson.ids, lesson.weights, strict=True) if weight]
    assert prompt == prompt_ids(tokenizer, IMAGE_TOKENS)
    assert list(lesson.weights) == sorted(lesson.weights)
    assert tokenizer.decode(answer) == caption_json(row.caption) + "<end_of_turn>\n"


@pytest.mark.parametrize("row", label_table(), ids=lambda row: row.name)
def test_an_answer_begins_with_the_labels_prefix(tokenizer: Any, row: LabelRow) -> None:
    lesson = conversation(tokenizer, IMAGE_TOKENS, row.caption, 1.0)
    start = lesson.weights.index(1.0)
    prefix = text_ids(tokenizer, label_prefix(row.name))
    assert list(lesson.ids[start : start + len(prefix)]) == prefix


def test_a_tokenizer_that_joins_the_label_to_what_follows_is_refused() -> None:
    class Joining:
        """One token a text: a prefix of the text is never a prefix of the tokens."""

        bos_token_id = 0

        def convert_tokens_to_ids(self, mark: str) -> int:
            return 1

        def __call__(self, text: str, *, add_special_tokens: bool) -> Any:
            return type("Encoding", (), {"input_ids": [hash(text)]})

    with pytest.raises(ValueError, match="joins the label to what follows it: 'melano"):
        conversation(Joining(), IMAGE_TOKENS, label_table()[0].caption, 1.0)


@pytest.mark.parametrize("mark", MARKS)
def test_every_mark_is_one_token_wherever_it_stands(tokenizer: Any, mark: str) -> None:
    (token,) = text_ids(tokenizer, mark)
    assert text_ids(tokenizer, f"a{mark}b").count(token) == 1


def test_control_marks_are_all_different_and_none_is_unknown(tokenizer: Any) -> None:
    ids = [text_ids(tokenizer, mark)[0] for mark in CONTROL_MARKS]
    assert len(set(ids)) == len(ids)
    assert tokenizer.unk_token_id not in ids


@pytest.mark.parametrize("text", [render_prompt(), "naïve  Ωmega\tü 漢字 \\ 42", " a", "a "])
def test_any_text_comes_back_from_its_tokens(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(text_ids(tokenizer, text)) == text


def test_the_tokenizers_file_does_not_name_the_folder_it_was_made_in(tmp_path: Path) -> None:
    folder = tmp_path / "somewhere"
    train_tokenizer(["a caption"], 400, folder)
    assert b"somewhere" not in (folder / "tokenizer.model").read_bytes()


def lesson(length: int) -> Conversation:
    """Ids 1, 2, 3 ...; the first is the prompt, the second an image."""
    return Conversation(
        ids=tuple(range(1, length + 1)),
        weights=tuple(float(place > 1) for place in range(length)),
        is_image=tuple(place == 1 for place in range(length)),
    )


def test_lessons_are_padded_to_the_longest_and_padding_is_not_learnt() -> None:
    batch = collate([lesson(5), lesson(7)], "cpu")
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 0, 0], [1, 2, 3, 4, 5, 6, 7]]
    assert batch["weights"].tolist() == [[0, 0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1, 1]]
    assert batch["token_type_ids"].tolist() == [[0, 1, 0, 0, 0, 0, 0]] * 2


def test_the_loss_is_the_learnt_tokens_sum_and_padding_changes_nothing() -> None:
    import torch

    from training.captioner import caption_loss

    class Guess:
        """Says every token with probability 1/8."""

        def __call__(self, input_ids: torch.Tensor, **others: Any) -> Any:
            logits = torch.zeros(*input_ids.shape, 8)
            return type("Output", (), {"logits": logits})

    images = torch.zeros(1, 3, 2, 2)
    short = collate([lesson(5)], "cpu")
    padded = {name: torch.nn.functional.pad(values, (0, 2)) for name, values in short.items()}
    for inputs in (short, padded):
        loss = caption_loss(Guess(), images, inputs)
        assert loss.item() == pytest.approx(3 * np.log(8))
