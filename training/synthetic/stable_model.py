"""A Stable Diffusion pipeline from a local folder, with an adapter on its denoiser.

Its own text encoder reads the caption, which begins with the label. Imports torch and diffusers at
the top: import it where a model is at hand.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict

from training.checkpoint import Stateful
from training.pixels import plain
from training.recipe import RecipeError
from training.synthetic.drawing import Wanted
from training.synthetic.material import Material
from training.synthetic.pixel_model import turned
from training.synthetic.recipe import StableRecipe
from training.synthetic.train import denoising_loss, noised

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


def load_pipeline(base: str) -> Any:
    """Without its safety checker, which blanks medical pictures: what is drawn stays here.

    Raises: RecipeError when there is no such folder.
    """
    if not (Path(base) / "model_index.json").is_file():
        raise RecipeError(f"`base`: no StableDiffusionPipeline in the folder {base}")
    pipeline = StableDiffusionPipeline.from_pretrained(
        base, safety_checker=None, requires_safety_checker=False, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda" if torch.cuda.is_available() else "cpu")


def words(pipeline: Any, texts: Sequence[str]) -> torch.Tensor:
    """What the text encoder makes of them, (texts, tokens, width); CLIP reads 77 tokens of each."""
    tokenizer = pipeline.tokenizer
    ids = tokenizer(
        list(texts),
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids
    with torch.no_grad():
        encoded: torch.Tensor = pipeline.text_encoder(ids.to(pipeline.device))[0]
    return encoded


class Adapter:
    """The adapter's weights alone, of a denoiser that has one."""

    def __init__(self, unet: Any) -> None:
        self._unet = unet

    def state_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = get_peft_model_state_dict(self._unet)
        return found

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        set_peft_model_state_dict(self._unet, state)


class StableLearner:
    """Raises: RecipeError when the base is not there."""

    def __init__(self, recipe: StableRecipe, material: Material) -> None:
        self._pipeline = load_pipeline(recipe.base)
        self._recipe, self._material = recipe, material
        unet = self._pipeline.unet
        for part in (unet, self._pipeline.vae, self._pipeline.text_encoder):
            part.requires_grad_(False)
        torch.manual_seed(recipe.seed)
        lora = recipe.lora
        unet.add_adapter(LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=ATTENTION))
        self._scheduler = DDPMScheduler.from_config(self._pipeline.scheduler.config)
        self._adapter = Adapter(unet)
        self.trained = [weight for weight in unet.parameters() if weight.requires_grad]
        self.parts: dict[str, Stateful] = {"adapter": self._adapter}

    def loss(
        self, rows: NDArray[np.int64], rng: np.random.Generator, *, held: bool = False
    ) -> torch.Tensor:
        material, pipeline = self._material, self._pipeline
        device = pipeline.device
        images = plain(material.pixels[material.places[rows]], self._recipe.lora.side)
        texts = [material.texts[row] for row in rows]
        if not held:
            images = turned(images, material.upright[rows], rng)
            blank = rng.random(len(rows)) < self._recipe.steps.blank
            texts = ["" if left_out else text for left_out, text in zip(blank, texts, strict=True)]
        with torch.no_grad():
            clean = pipeline.vae.encode(images.to(device)).latent_dist.mode()
            clean = clean * pipeline.vae.config.scaling_factor
            said = words(pipeline, texts)
        noisy, times, noise = noised(self._scheduler, clean, rng)
        with torch.autocast(device.type, torch.bfloat16):
            found = pipeline.unet(noisy, times, said).sample
        return denoising_loss(self._scheduler, found.float(), clean, noise, times)

    def stepped(self) -> None:
        pass

    def save(self, folder: Path) -> None:
        """The adapter alone, as diffusers reads it. Raises: OSError."""
        weights = convert_state_dict_to_diffusers(self._adapter.state_dict())
        StableDiffusionPipeline.save_lora_weights(folder, weights)


class StablePainter:
    """Raises: RecipeError when the base is not there."""

    def __init__(self, folder: Path, recipe: StableRecipe) -> None:
        self._pipeline, self._recipe = load_pipeline(recipe.base), recipe
        self._pipeline.load_lora_weights(folder, local_files_only=True)
        self._pipeline.scheduler = DDIMScheduler.from_config(self._pipeline.scheduler.config)

    def paint(self, wanted: Sequence[Wanted]) -> NDArray[np.uint8]:
        side, drawing = self._recipe.lora.side, self._recipe.drawing
        drawn = self._pipeline(
            prompt_embeds=words(self._pipeline, [one.caption or one.label or "" for one in wanted]),
            negative_prompt_embeds=words(self._pipeline, [""] * len(wanted)),
            height=side,
            width=side,
            num_inference_steps=drawing.steps,
            guidance_scale=drawing.guidance,
            generator=[torch.Generator().manual_seed(one.seed) for one in wanted],
            output_type="np",
        ).images
        pixels: NDArray[np.uint8] = (drawn * 255).round().astype(np.uint8)
        return pixels
