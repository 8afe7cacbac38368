"""QLoRA: an adapter on a frozen base, trained on captions.

    accelerate launch -m training qlora --config training/configs/medgemma-4b-it.toml ...
    accelerate launch --config_file training/configs/accelerate/fsdp.yaml -m training qlora ...

Reads downward: captions, base, images, adapter, steps, save. A step is a pure function of seed and
number, so a run that was killed goes on to the same weights.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from training.adapted import write_made_of
from training.checkpoint import load_checkpoint, save_checkpoint, weights_hash
from training.conversation import Conversation
from training.processes import processes
from training.qlora.base import require_base
from training.qlora.packing import pack, plan_packs
from training.qlora.projected import forget_tower
from training.qlora.recipe import QloraRecipe, Quantization, Steps
from training.qlora.sharding import (
    cut_optimizer,
    is_sharded,
    require_supported,
    whole,
    whole_optimizer,
)
from training.sampling import draw
from training.tokenizer import load_tokenizer
from training.tower import warm_cosine

if TYPE_CHECKING:
    import torch

DECODER_LAYERS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
VISION_LAYERS = r".*vision_tower.*\.encoder\..*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"
KEPT_WHOLE = ["model.vision_tower", "model.multi_modal_projector", "lm_head"]
"""Never quantized. `model.` matters: a bare `vision_tower` leaves 18 of MedGemma's vision layers
in four bits."""


class ImageTokens(Protocol):
    """Soft tokens of some images, each in one of its views."""

    def __call__(
        self, model: Any, images: NDArray[np.int64], views: NDArray[np.int64]
    ) -> "torch.Tensor":
        """(images, image tokens, text width)."""


@dataclass(frozen=True)
class Material:
    """What a run learns from; `lessons` has one entry an image."""

    lessons: Sequence[Conversation]
    image_tokens: ImageTokens
    views: int
    """How many views an image has, the first as at the clinic."""
    train: NDArray[np.int64]
    """Images of the training split."""
    validation: NDArray[np.int64]
    """Images of the validation split that are measured, drawn as those of training are."""
    weights: NDArray[np.float64]
    """How likely each training image is drawn."""
    images_sha256: str
    """Over the images' files."""

    @property
    def sha256(self) -> str:
        """Over all that a step or a look at the validation loss may see."""
        seen = [
            [lesson.ids for lesson in self.lessons],
            self.train.tolist(),
            self.validation.tolist(),
            self.images_sha256,
        ]
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def tune_base(
    recipe: QloraRecipe,
    gather: Callable[[Any, Any], Material],
    run: Path,
    say: Callable[[str], None],
) -> Path:
    """Train an adapter on the recipe's base with what `gather` makes of the base and its
    tokenizer; returns the adapter's folder, as `train_adapter` does.

    Raises: BaseModelError, RecipeError, and what `gather` raises.
    """
    folder = require_base(recipe.base)
    base_sha256 = weights_hash(folder)
    base = load_base(recipe.base, recipe.quantization)
    material = gather(base, load_tokenizer(folder))
    if recipe.adapter.vision == "frozen":
        forget_tower(base)
    return train_adapter(add_adapter(base, recipe), recipe, material, base_sha256, run, say)


def load_base(base: str, quantization: Quantization) -> Any:
    """The frozen base model.

    Raises: BaseModelError when it is not on this machine, or too large for it.
    """
    import torch
    from transformers import BitsAndBytesConfig, Gemma3ForConditionalGeneration

    folder = require_base(base)
    dtype = getattr(torch, quantization.compute)
    settings: dict[str, Any] = {
        "dtype": dtype,
        # On a CPU plain attention is the faster (training/EXPERIMENTS.md).
        "attn_implementation": "sdpa" if torch.cuda.is_available() else "eager",
        "local_files_only": True,
    }
    if quantization.kind == "nf4":
        settings["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=quantization.double,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=KEPT_WHOLE,
            # FSDP cuts and casts floating tensors only, so four-bit weights must look like one
            # of the type computed in: no cast then touches them.
            bnb_4bit_quant_storage=dtype if is_sharded() else torch.uint8,
        )
        settings["device_map"] = {"": processes().device}
    model: Any = Gemma3ForConditionalGeneration.from_pretrained(folder, **settings)
    if quantization.kind == "none" and not is_sharded():  # FSDP puts each process's share there
        model.to(processes().device)
    for layer in model.modules():
        # bitsandbytes 0.50 rewrites four-bit weights at the first evaluation on a CPU with
        # AVX512-BF16, for a kernel without a gradient: the steps after it would learn nothing.
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    return model


def add_adapter(model: Any, recipe: QloraRecipe) -> Any:
    """The model with its adapter. The embeddings, tied to the head, stay as they are: training
    either alone would untie them and break the merge.

    peft's prepare_model_for_kbit_training is not called: it would hold embeddings and tower, a
    quarter of MedGemma 4B, in float32, and with them every activation. The adapter is float32.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(recipe.seed)
    if recipe.steps.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    targets = DECODER_LAYERS
    if recipe.adapter.vision == "tuned":
        targets = f"({DECODER_LAYERS})|({VISION_LAYERS})"
    return get_peft_model(
        model,
        LoraConfig(
            r=recipe.adapter.rank,
            lora_alpha=recipe.adapter.alpha,
            lora_dropout=recipe.adapter.dropout,
            target_modules=targets,
        ),
    )


def train_adapter(
    model: Any,
    recipe: QloraRecipe,
    material: Material,
    base_sha256: str,
    run: Path,
    say: Callable[[str], None],
) -> Path:
    """Train `model`'s adapter, resuming if there is a checkpoint; returns the adapter's folder,
    which holds the weights of the lowest validation loss.

    `base_sha256`: `weights_hash` of the base.
    Raises: RecipeError when the run was begun with another recipe, base or material, or FSDP cannot
    follow this one.
    """
    import torch
    from accelerate import Accelerator
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    from training.qlora.learner import PackLearner

    settings = recipe.steps
    processes()
    accelerator = Accelerator()
    require_supported(accelerator, recipe)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, settings.learning_rate, betas=(0.9, 0.999), weight_decay=settings.weight_decay
    )
    steps = math.ceil(settings.epochs * len(material.train) / settings.batch)
    checkpoint = run / "qlora.checkpoint"
    inputs = {"base_sha256": base_sha256, "material_sha256": material.sha256}
    followed = {**asdict(recipe), **inputs}
    first, lowest, waited = 0, math.inf, 0
    state = load_checkpoint(checkpoint, followed)
    if state:
        set_peft_model_state_dict(model, state["adapter"])
        first, lowest, waited = state["step"], state["lowest"], state["waited"]
    if waited >= settings.patience:
        say("stopped already: the validation loss had ceased to fall")
        return run / "adapter"
    learner = PackLearner(model, recipe.quantization.compute)
    learner, optimizer = accelerator.prepare(learner, optimizer)
    bare = accelerator.unwrap_model(learner).model
    learnt = {name: weight for name, weight in bare.named_parameters() if weight.requires_grad}
    trained = list(learnt.values())  # FSDP has put others in their place
    if state:
        optimizer.load_state_dict(cut_optimizer(state["optimizer"], trained))
    count = sum(parameter.numel() for parameter in trained)
    say(f"qlora: {count:,} weights, {steps} steps from {first}, {accelerator.device}")

    started, tokens = time.monotonic(), 0
    for step in range(first, steps):
        for group in optimizer.param_groups:
            share = warm_cosine(step, steps, max(1, round(settings.warm_up_share * steps)))
            group["lr"] = settings.learning_rate * share
        torch.manual_seed(hash((recipe.seed, step)))  # dropout, the same after a resume
        picked, rng = draw(material.weights, settings.batch, recipe.seed, step)
        views = rng.integers(0, material.views, len(picked))
        learner.train()
        tokens += learn(learner, material, material.train[picked], views, settings, accelerator)
        accelerator.clip_grad_norm_(trained, settings.largest_gradient_norm)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % settings.save_every == 0 or step + 1 == steps:
            loss = validation_loss(learner, material, settings, accelerator.device)
            rate = tokens / (time.monotonic() - started)
            say(f"step {step + 1}/{steps} validation loss {loss:.4f} {rate:.0f} tokens/s")
            waited = 0 if loss < lowest else waited + 1
            adapter, momenta = whole(learnt), whole_optimizer(optimizer.state_dict())
            if accelerator.is_main_process:
                if loss < lowest:
                    bare.save_pretrained(run / "adapter", state_dict=adapter)
                    reached = {"step": step + 1, "validation_loss": loss}
                    made_of = {"recipe": asdict(recipe), **inputs, **reached}
                    write_made_of(run / "adapter", made_of)
                save_checkpoint(
                    checkpoint,
                    followed,
                    {
                        "adapter": get_peft_model_state_dict(bare, adapter),
                        "optimizer": momenta,
                        "step": step + 1,
                        "lowest": min(loss, lowest),
                        "waited": waited,
                    },
                )
            lowest = min(loss, lowest)
            if waited >= settings.patience:
                say(f"stopped: no lower validation loss in {waited} checkpoints")
                break
    return run / "adapter"


def learn(
    learner: Any,
    material: Material,
    images: NDArray[np.int64],
    views: NDArray[np.int64],
    settings: Steps,
    accelerator: Any,
) -> int:
    """Add the gradient of these images' mean loss; returns how many tokens it took.

    The images are packed first and the packs then shared among the processes, so that the
    gradient is the same on one process and on many.
    """
    lengths = [len(material.lessons[image].ids) for image in images]
    packs = plan_packs(lengths, settings.pack_tokens)
    processes = accelerator.num_processes
    rounds = math.ceil(len(packs) / processes)
    for turn in range(rounds):
        place = turn * processes + accelerator.process_index
        members = packs[min(place, len(packs) - 1)]
        # Processes average their gradients; the whole must be the mean over all images. One that
        # has no pack left takes part with a gradient of nothing: the others wait for it.
        scale = processes / len(images) if place < len(packs) else 0.0
        waits = turn + 1 < rounds
        with accelerator.no_sync(learner) if waits else nullcontext():
            loss = pack_losses(
                learner, material, images[members], views[members], accelerator.device
            ).sum()
            accelerator.backward(loss * scale)
    return sum(lengths)


def pack_losses(
    learner: Any,
    material: Material,
    images: NDArray[np.int64],
    views: NDArray[np.int64],
    device: Any,
) -> "torch.Tensor":
    """The loss of each of these images, packed in one row; `learner` is a PackLearner."""
    base = getattr(learner, "module", learner).model
    window = base.config.text_config.sliding_window
    row = pack([material.lessons[image] for image in images], window, device)
    tokens = material.image_tokens(base, images, views)
    losses: torch.Tensor = learner(row, tokens.to(device, base.dtype))
    return losses


def validation_loss(learner: Any, material: Material, settings: Steps, device: Any) -> float:
    """Mean loss of the validation images' captions, the pictures as at the clinic."""
    import torch

    chosen = material.validation
    packs = plan_packs([len(material.lessons[i].ids) for i in chosen], settings.pack_tokens)
    learner.eval()
    total = 0.0
    with torch.no_grad():
        for members in packs:
            images = chosen[members]
            total += float(pack_losses(learner, material, images, images * 0, device).sum())
    return total / len(chosen)
