"""Memory, tokens and time of a QLoRA run, before anything is downloaded or loaded.

Counts of weights, and their bytes, are exact. Activations are counted operation by operation and
agree with what a small model allocates within a factor of 1.5 (tests). Time is operations over an
assumed speed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.core.caption import caption_json
from appliance.core.prompt import split_prompt
from training.labels import label_table
from training.qlora.geometry import BaseGeometry
from training.qlora.packing import LOGITS_AT_ONCE
from training.qlora.projected import images_at_once
from training.qlora.recipe import QloraRecipe, Quantization

CHARACTERS_PER_TOKEN = 4.0
"""Assumed where the base's tokenizer is not on this machine; Google's figure for its models
(ai.google.dev/gemini-api/docs/tokens)."""
ASSUMED_IMAGES = 1676
"""Assumed where no captions are given: what the reference run kept, split 70/20/10 (issue 3)."""
OTHER_SHARE = 0.1
"""Assumed on top, for what an allocator cannot use."""
CONTEXT_BYTES = 500_000_000
"""Assumed for CUDA's context and kernels."""


@dataclass(frozen=True)
class Lessons:
    """How many conversations there are, and how long they are on average."""

    images: int
    train: int
    tokens: float
    """Of a conversation: image, prompt and caption."""
    learnt: float
    """Those of the caption, and the end of its turn."""
    source: str
    """Where these numbers are from, in words."""


@dataclass(frozen=True)
class Estimate:
    weights: int
    adapter_weights: int
    memory: dict[str, int]
    """Bytes on the accelerator at the worst moment of a step, by what holds them."""
    projecting: int
    """Bytes on the accelerator, base included, while images become tokens; 0 if they do not."""
    kept: int
    """Bytes on disk of the images' tokens."""
    steps: int
    tokens_per_step: float
    tokens_per_epoch: float
    tokens: float
    projecting_s: float
    training_s: float


def assumed_lessons(
    geometry: BaseGeometry, captions: Sequence[str] = (), train: int | None = None
) -> Lessons:
    """From the characters of these captions (their JSON), or of the label table's if there are
    none; `train` of them are of the training split."""
    images = len(captions) or ASSUMED_IMAGES
    source = f"{images} captions" if captions else f"assumed {images} captions like labels.toml's"
    texts = captions or [caption_json(row.caption) for row in label_table()]
    learnt = sum(map(len, texts)) / len(texts) / CHARACTERS_PER_TOKEN + 2  # end of turn, newline
    prompt = len("".join(split_prompt())) / CHARACTERS_PER_TOKEN
    return Lessons(
        images=images,
        train=round(0.7 * images) if train is None else train,
        tokens=1 + prompt + geometry.image_tokens + learnt,
        learnt=learnt,
        source=f"{source}, {CHARACTERS_PER_TOKEN:.0f} characters a token assumed",
    )


def estimate(
    geometry: BaseGeometry,
    recipe: QloraRecipe,
    lessons: Lessons,
    tera_flops: float,
    utilisation: float,
) -> Estimate:
    """`tera_flops`: the accelerator's peak at the recipe's compute type, in 1e12 a second."""
    steps = recipe.steps
    in_pack = max(1.0, min(steps.batch, steps.pack_tokens / lessons.tokens))
    adapter = geometry.adapter_weights(recipe.adapter.rank, recipe.adapter.vision == "tuned")
    frozen = recipe.adapter.vision == "frozen"
    base = base_bytes(geometry, recipe.quantization, tower=not frozen)
    memory = base | {
        "adapter, gradients and Adam's two moments": 16 * adapter,  # four float32 each
        **activation_bytes(
            geometry, recipe, row=in_pack * lessons.tokens, learnt=in_pack * lessons.learnt,
            images=in_pack,
        ),
    }  # fmt: skip
    memory["not usable, and CUDA itself (assumed)"] = (
        round(OTHER_SHARE * sum(memory.values())) + CONTEXT_BYTES
    )
    row = geometry.image_tokens * geometry.width
    count = math.ceil(steps.epochs * lessons.train / steps.batch)
    speed = tera_flops * 1e12 * utilisation
    tokens_per_step = steps.batch * lessons.tokens
    step_flops = (steps.batch / in_pack) * row_flops(
        geometry, steps.gradient_checkpointing, in_pack * lessons.tokens, in_pack * lessons.learnt
    )
    images_seen = lessons.images * steps.views
    if not frozen:  # forward, backward, and once more with gradient checkpointing
        step_flops += steps.batch * tower_flops(geometry) * (2 + steps.gradient_checkpointing)
    return Estimate(
        weights=geometry.weights,
        adapter_weights=adapter,
        memory=memory,
        projecting=projecting_bytes(geometry, recipe) if frozen else 0,
        kept=2 * row * images_seen if frozen else 0,
        steps=count,
        tokens_per_step=tokens_per_step,
        tokens_per_epoch=lessons.train * lessons.tokens,
        tokens=count * tokens_per_step,
        projecting_s=images_seen * tower_flops(geometry) / speed if frozen else 0.0,
        training_s=count * step_flops / speed,
    )


def base_bytes(geometry: BaseGeometry, quantization: Quantization, tower: bool) -> dict[str, int]:
    """The frozen weights: linear layers of the decoder in four bits, all else in the compute type;
    a frozen `tower` is gone once the images are projected.

    NF4 keeps a scale for each block of 64 weights; double quantization keeps that scale in eight
    bits, with a float32 for each 256 of them (arXiv:2305.14314, section 3).
    """
    size = _bytes(quantization)
    whole = geometry.weights - geometry.linear_weights
    if not tower:
        whole -= geometry.vision_weights - geometry.projector_weights
    kept = {f"base kept whole ({quantization.compute})": size * whole}
    if quantization.kind == "none":
        return {"base, linear layers": size * geometry.linear_weights, **kept}
    four_bits = constants = 0
    for inputs, outputs in geometry.decoder_layer:
        blocks = -(-inputs * outputs // 64)
        four_bits += inputs * outputs // 2
        constants += blocks + 4 * -(-blocks // 256) if quantization.double else 4 * blocks
    return {
        "base in four bits": geometry.depth * four_bits,
        "its quantization constants": geometry.depth * constants,
        **kept,
    }


def activation_bytes(
    geometry: BaseGeometry, recipe: QloraRecipe, row: float, learnt: float, images: float
) -> dict[str, int]:
    """What a step holds for its gradient, for one row of `row` tokens, `learnt` of them learnt,
    and `images`."""
    size = _bytes(recipe.quantization)
    layers = geometry.depth
    queries = geometry.heads * geometry.head_width
    keys = geometry.key_value_heads * geometry.head_width
    width, feed = geometry.width, geometry.feed_forward
    # Of one layer: norms in float32; a linear layer's input and its dropout's mask, for LoRA;
    # queries, keys, values and their result; gate, its activation and the other half; the mask.
    masked = recipe.adapter.dropout > 0
    layer = row * (
        16 * width + 4 * (queries + keys)
        + (size + masked) * (5 * width + queries + feed)
        + size * 2 * (queries + keys)
        + size * 3 * feed
        + size * row
    )  # fmt: skip
    gradients = row * size * (3 * feed + width)
    if recipe.quantization.kind == "nf4":
        gradients += size * width * feed  # a linear layer's weights in the compute type
    # Logits, their softmax and its gradient, in float32. Gone before the layers' turn comes.
    logits = min(learnt * geometry.vocabulary, max(LOGITS_AT_ONCE, geometry.vocabulary))
    worked_on = {"logits where a token is learnt": 12 * logits}
    if recipe.steps.gradient_checkpointing:
        held = {"inputs of the decoder's layers": round(layers * size * row * width)}
        worked_on["one layer at a time, forward and back"] = layer + gradients
    else:
        held = {"activations of the decoder's layers": round(layers * layer)}
        worked_on["one layer at a time, back"] = gradients
    held["attention masks"] = round(2 * row**2)
    most = max(worked_on, key=lambda what: worked_on[what])
    held[most] = round(worked_on[most])
    if recipe.adapter.vision == "tuned":
        vision, hidden = geometry.vision_width, geometry.vision_feed_forward
        places = images * geometry.patches
        tower_layer = places * ((8 + 4 * size) * vision + 2 * size * hidden)
        tower_layer += places * (size + masked) * (5 * vision + hidden)
        depth = geometry.vision_depth
        if recipe.steps.gradient_checkpointing:
            held["tower"] = round(depth * size * places * vision + 1.5 * tower_layer)
        else:
            held["tower"] = round(depth * tower_layer)
    return held


def projecting_bytes(geometry: BaseGeometry, recipe: QloraRecipe) -> int:
    """The base, and what its tower holds for one layer over the images it is given at once."""
    size = _bytes(recipe.quantization)
    base = sum(base_bytes(geometry, recipe.quantization, tower=True).values())
    places = images_at_once(geometry.patches) * geometry.patches
    return base + places * size * (6 * geometry.vision_width + 2 * geometry.vision_feed_forward)


def row_flops(geometry: BaseGeometry, recomputed: bool, row: float, learnt: float) -> float:
    """Of one row of packed conversations. Frozen weights get no gradient, so a pass back costs
    as much as one forward, and gradient checkpointing one more: 6 operations a weight and token."""
    queries = geometry.heads * geometry.head_width
    forward = 2 * geometry.linear_weights * row + 4 * geometry.depth * queries * row**2
    head = 2 * geometry.embedding_weights * learnt
    return (2 + recomputed) * forward + 2 * head


def tower_flops(geometry: BaseGeometry) -> float:
    """Of one image, forward."""
    places, width = geometry.patches, geometry.vision_width
    linear = 4 * width**2 + 2 * width * geometry.vision_feed_forward
    return geometry.vision_depth * (2 * linear * places + 4 * places**2 * width)


def report(found: Estimate, lessons: Lessons, tera_flops: float, utilisation: float) -> list[str]:
    """The estimate in lines to be read; GB is 1e9 bytes."""

    def amount(size: float) -> str:
        return f"{size / 1e9:9.3f} GB"

    def hours(seconds: float) -> str:
        return f"{seconds / 3600:9.2f} h"

    lines = [
        f"weights: {found.weights:,} in the base, {found.adapter_weights:,} learnt",
        "memory of the accelerator, at the worst moment of a step:",
        *(f"  {amount(size)}  {what}" for what, size in found.memory.items()),
        f"  {amount(sum(found.memory.values()))}  together",
    ]
    if found.projecting:
        lines += [
            f"  {amount(found.projecting)}  before that, while images become tokens",
            f"disk: {amount(found.kept).strip()} for the images' tokens, in the run's folder",
        ]
    return [
        *lines,
        f"tokens: {lessons.tokens:.0f} a conversation, {lessons.learnt:.0f} of them learnt "
        f"({lessons.source})",
        f"  {found.tokens_per_step:,.0f} a step, {found.tokens_per_epoch:,.0f} an epoch, "
        f"{found.tokens:,.0f} in {found.steps:,} steps",
        f"time, if the accelerator does {utilisation:.0%} of {tera_flops:g} TFLOP/s (assumed; "
        "--tflops, --utilisation):",
        *([f"  {hours(found.projecting_s)}  images to tokens, once"] if found.projecting else []),
        f"  {hours(found.training_s)}  training, "
        f"{found.tokens / max(found.training_s, 1e-9):,.0f} tokens/s",
    ]


def _bytes(quantization: Quantization) -> int:
    return 2 if quantization.compute == "bfloat16" else 4
