"""The demonstration's base: the trained tower with a new Gemma 3 decoder that learns to describe.

    python -m training captioner --data DIR --captions CAPTIONS.jsonl

It learns the form of a caption and the findings in the picture, but never which label is right: at
each step the label is drawn at random from the picture's domain. What the label is, QLoRA teaches.

Reads downward: captions, tokenizer, model, steps, save. The result is a Hugging Face folder.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from appliance.core.caption import Caption, caption_json
from training.checkpoint import Stateful, keep, load_checkpoint, resume
from training.conversation import Conversation, conversation
from training.datasets import read_examples
from training.labels import label_row, label_set
from training.pixels import augment, load_pixels
from training.qlora.material import read_captions
from training.recipe import Geometry, Recipe
from training.sampling import draw, sampling_weights
from training.tokenizer import load_tokenizer, train_tokenizer
from training.tower import TOWER, parameter_groups, vision_config, warm_cosine
from training.training_set import input_hashes

if TYPE_CHECKING:
    import torch

WARM_UP_STEPS = 80
SAVE_EVERY_STEPS = 100


def train_captioner(
    recipe: Recipe, data: Path, captions: Path, run: Path, say: Callable[[str], None]
) -> Path:
    """Train, resuming from the run's checkpoint if there is one; returns the model's folder.

    Raises: DatasetError, RecipeError, OSError.
    """
    import torch

    settings, geometry = recipe.captioner, recipe.geometry
    checkpoint = run / "captioner.checkpoint"
    followed = {
        "seed": recipe.seed,
        "geometry": asdict(geometry),
        "captioner": asdict(settings),
        **input_hashes(data, captions=captions, tower=run / TOWER),
    }
    # Refused, if it is, before the tokenizer of the earlier run is overwritten.
    load_checkpoint(checkpoint, followed)
    captioned = [each for each in read_captions(captions, data) if each.split == "train"]
    examples = [each.example for each in captioned]
    every, _ = read_examples(data)
    place = {example: index for index, example in enumerate(every)}
    pictures = np.array([place[example] for example in examples])
    pixels = load_pixels(data, every, run)
    upright = np.array([example.domain == "chest" for example in examples])
    weights = sampling_weights(examples, settings.domain_share, settings.balance)
    folder = run / "captioner"
    texts = [caption_json(each.caption) for each in captioned]
    train_tokenizer(texts, geometry.vocabulary, folder)
    tokenizer = load_tokenizer(folder)

    torch.manual_seed(recipe.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build_captioner(geometry, tokenizer, run / TOWER).to(device)
    tower = model.model.vision_tower.requires_grad_(False)
    decoder = torch.nn.ModuleList(
        [model.model.multi_modal_projector, model.model.language_model]  # the head is tied
    )
    optimizer = torch.optim.AdamW(
        parameter_groups(decoder, settings.weight_decay),
        betas=(0.9, 0.98),
        fused=True,
    )
    steps = math.ceil(settings.epochs * len(examples) / settings.batch_size)
    parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer}
    first = resume(checkpoint, followed, parts)
    say(f"captioner: {len(examples)} images, {steps} steps, from {first}, {device}")

    started = time.monotonic()
    model.train()
    for step in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * warm_cosine(step, steps, WARM_UP_STEPS)
        picked, rng = draw(weights, settings.batch_size, recipe.seed + 1, step)
        batch = np.sort(picked)
        images = augment(
            pixels[pictures[batch]], upright[batch], geometry.image_size, rng, gentle=True
        )
        lessons = [
            conversation(
                tokenizer, geometry.image_tokens, any_label(captioned[i].caption, rng), 1.0
            )
            for i in batch
        ]
        with torch.autocast(device, torch.bfloat16):
            loss = caption_loss(model, images, collate(lessons, device))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % SAVE_EVERY_STEPS == 0 or step + 1 == steps:
            keep(checkpoint, followed, parts, step + 1)
            rate = (step + 1 - first) * settings.batch_size / (time.monotonic() - started)
            say(f"step {step + 1}/{steps} loss {loss.item():.3f} {rate:.0f} image/s")
    tower.requires_grad_(True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def any_label(caption: Caption, rng: np.random.Generator) -> Caption:
    """`caption` with its findings, and a label of its domain drawn at random with what that one
    means."""
    labels = label_set()
    names = labels.in_domain(labels.domain_of(caption.label))
    name = names[int(rng.integers(len(names)))]
    return replace(label_row(name).caption, key_findings=caption.key_findings)


def build_captioner(geometry: Geometry, tokenizer: Any, tower_file: Path) -> Any:
    """Gemma3ForConditionalGeneration with the trained tower and a fresh decoder."""
    from safetensors.torch import load_file
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    end_of_turn = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    marks: dict[str, Any] = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": [tokenizer.eos_token_id, end_of_turn],
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = Gemma3Config(
        text_config={
            "vocab_size": math.ceil(len(tokenizer) / 64) * 64,
            "hidden_size": geometry.text_width,
            "intermediate_size": 2 * geometry.text_width,
            "num_hidden_layers": geometry.text_depth,
            "num_attention_heads": geometry.text_width // 64,
            "num_key_value_heads": geometry.text_width // 128,
            "head_dim": 64,
            "query_pre_attn_scalar": 64,  # GGUF does not carry it: it must equal head_dim
            "sliding_window": 512,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-6,
            "initializer_range": 0.04,
            "tie_word_embeddings": True,
        },
        vision_config=vision_config(geometry).to_dict(),
        mm_tokens_per_image=geometry.image_tokens,
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        tie_word_embeddings=True,
        **marks,
    )
    model = Gemma3ForConditionalGeneration(config)
    model.set_attn_implementation("eager")  # as in the tower
    torch_tower = {
        name.removeprefix("tower."): tensor
        for name, tensor in load_file(tower_file).items()
        if name.startswith("tower.")
    }
    model.model.vision_tower.load_state_dict(torch_tower)
    model.model.multi_modal_projector.mm_input_projection_weight.data.normal_(0, 0.05)
    return model


def collate(lessons: Sequence[Conversation], device: str) -> dict[str, "torch.Tensor"]:
    """Padded `input_ids`, `weights` and `token_type_ids` (1: image), each (batch, length)."""
    import torch

    longest = max(len(lesson.ids) for lesson in lessons)

    def padded(rows: Sequence[Sequence[float]], dtype: type[Any]) -> NDArray[Any]:
        array = np.zeros((len(rows), longest), dtype)
        for place, row in enumerate(rows):
            array[place, : len(row)] = row
        return array

    arrays = {
        "input_ids": padded([lesson.ids for lesson in lessons], np.int64),
        "weights": padded([lesson.weights for lesson in lessons], np.float32),
        "token_type_ids": padded([lesson.is_image for lesson in lessons], np.int64),
    }
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def caption_loss(
    model: Any, images: "torch.Tensor", inputs: dict[str, "torch.Tensor"]
) -> "torch.Tensor":
    """Weighted sum of the learnt tokens' cross-entropy over each caption, mean over the batch."""
    import torch.nn.functional as F

    logits = model(
        input_ids=inputs["input_ids"],
        pixel_values=images,
        token_type_ids=inputs["token_type_ids"],
    ).logits
    loss = F.cross_entropy(
        logits[:, :-1].float().flatten(0, 1),
        inputs["input_ids"][:, 1:].flatten(),
        reduction="none",
    ).view(len(images), -1)
    return (loss * inputs["weights"][:, 1:]).sum(1).mean()
