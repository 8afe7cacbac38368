"""The demonstration's drawing model: a small UNet of diffusers on squares of pixels.

It finds the picture itself, not the noise: a picture lies near few dimensions and noise in all of
them, which so narrow a net could not carry (Li and He 2025, arXiv:2511.13720). Imports torch and
diffusers at the top: import it where a model is at hand.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from diffusers.utils.torch_utils import randn_tensor
from numpy.typing import NDArray
from torch.optim.swa_utils import AveragedModel

from training.atlas.material import Floats
from training.checkpoint import Stateful
from training.labels import label_set
from training.pixels import plain
from training.synthetic.drawing import Wanted
from training.synthetic.material import Material
from training.synthetic.recipe import Drawing, PixelRecipe, Unet
from training.synthetic.train import denoising_loss, noised

TIMES = 1000
NO_LABEL = len(label_set())
"""The class that stands for none."""


def build_unet(sizes: Unet, dimensions: int) -> Any:
    """A UNet told of a label, as a class, and of a caption, as a vector of so many `dimensions`."""
    levels = len(sizes.widths)
    unet = UNet2DConditionModel(
        sample_size=sizes.side // sizes.patch,
        in_channels=3 * sizes.patch**2,
        out_channels=3 * sizes.patch**2,
        block_out_channels=tuple(sizes.widths),
        layers_per_block=sizes.layers,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * (levels - 1)),
        up_block_types=(*["CrossAttnUpBlock2D"] * (levels - 1), "UpBlock2D"),
        cross_attention_dim=dimensions,
        attention_head_dim=sizes.heads,  # diffusers means how many, by that name
        norm_num_groups=16,
        num_class_embeds=NO_LABEL + 1,
        resnet_time_scale_shift="scale_shift",
    )
    torch.nn.init.zeros_(unet.conv_out.weight)  # a grid of patches would take long to unlearn
    return unet


def build_scheduler() -> Any:
    """The cosine schedule (Nichol and Dhariwal 2021, arXiv:2102.09672), drawn from its very end
    (Lin et al. 2023, arXiv:2305.08891, section 3.3)."""
    return DDIMScheduler(
        num_train_timesteps=TIMES,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        timestep_spacing="trailing",
    )


class PixelLearner:
    """`vectors`: the caption of each row of `material` in the atlas's space, (rows, dimensions)."""

    def __init__(self, recipe: PixelRecipe, material: Material, vectors: Floats) -> None:
        torch.manual_seed(recipe.seed)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._sizes, self._steps = recipe.unet, recipe.steps
        self._material, self._vectors = material, torch.from_numpy(vectors)
        self._unet = build_unet(recipe.unet, vectors.shape[1]).to(self._device)
        self._scheduler = build_scheduler()
        self._average = AveragedModel(self._unet, avg_fn=young_average(recipe.average_decay))
        self.trained = self._unet.parameters()
        self.parts: dict[str, Stateful] = {"unet": self._unet, "average": self._average}

    def loss(
        self, rows: NDArray[np.int64], rng: np.random.Generator, *, held: bool = False
    ) -> torch.Tensor:
        material = self._material
        images = plain(material.pixels[material.places[rows]], self._sizes.side)
        labels = torch.from_numpy(material.labels[rows])
        vectors = self._vectors[torch.from_numpy(rows)]
        if not held:
            images = turned(images, material.upright[rows], rng)
            labels, vectors = some_left_out(labels, vectors, self._steps.blank, rng)
        clean = F.pixel_unshuffle(images, self._sizes.patch).to(self._device)
        noisy, times, noise = noised(self._scheduler, clean, rng)
        unet = self._average.module if held else self._unet
        with torch.autocast(self._device, torch.bfloat16):
            found = unet(
                noisy,
                times,
                vectors[:, None].to(self._device),
                class_labels=labels.to(self._device),
            ).sample
        return denoising_loss(self._scheduler, found.float(), clean, noise, times)

    def stepped(self) -> None:
        self._average.update_parameters(self._unet)

    def save(self, folder: Path) -> None:
        """The running average, as a pipeline of diffusers. Raises: OSError."""
        PixelPipeline(self._average.module, self._scheduler).save_pretrained(folder)


def young_average(decay: float) -> Callable[[torch.Tensor, torch.Tensor, Any], torch.Tensor]:
    """A running average that forgets its first, untrained weights: while it is young it is nearly
    the mean of all so far."""

    def averaged(old: torch.Tensor, new: torch.Tensor, count: Any) -> torch.Tensor:
        return old.lerp(new, max(1 - decay, 9 / (10 + int(count))))

    return averaged


def turned(
    images: torch.Tensor, upright: NDArray[np.bool_], rng: np.random.Generator
) -> torch.Tensor:
    """Mirrored and turned over at random where no caption could tell."""
    free = torch.from_numpy(~upright)
    for axis in (2, 3):
        chosen = torch.from_numpy(rng.random(len(images)) < 0.5) & free
        images = torch.where(chosen[:, None, None, None], images.flip(axis), images)
    return images


def some_left_out(
    labels: torch.Tensor, vectors: torch.Tensor, share: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """`share` of the rows without their label, as many without their caption, as many without
    either."""
    lot = torch.from_numpy(rng.random(len(labels)))
    neither = lot >= 1 - share
    no_label, no_caption = neither | (lot < share), neither | (share <= lot) & (lot < 2 * share)
    return labels.where(~no_label, NO_LABEL), vectors.where(~no_caption[:, None], 0.0)


class PixelPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Draws pictures from labels and captions' vectors."""

    def __init__(self, unet: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def __call__(
        self,
        labels: torch.Tensor,
        vectors: torch.Tensor,
        generators: list[torch.Generator],
        steps: int,
        guidance: float,
    ) -> torch.Tensor:
        """(pictures, 3, side, side) in [-1, 1], one of each generator's noise.

        `labels`: positions, (pictures,), or NO_LABEL; `vectors`: (pictures, dimensions), nought for
        no caption.
        """
        device, sizes = self.device, self.unet.config
        shape = (len(labels), sizes.in_channels, sizes.sample_size, sizes.sample_size)
        picture = randn_tensor(shape, generators).to(device)
        said = torch.cat([torch.zeros_like(vectors), vectors])[:, None].to(device)
        named = torch.cat([torch.full_like(labels, NO_LABEL), labels]).to(device)
        self.scheduler.set_timesteps(steps)
        for time in self.scheduler.timesteps:
            with torch.autocast(device.type, torch.bfloat16):
                both = torch.cat([picture, picture])
                found = self.unet(both, time, said, class_labels=named).sample.float()
            free, asked = found.chunk(2)
            guided = free + guidance * (asked - free)
            picture = self.scheduler.step(guided, time, picture).prev_sample
        return F.pixel_shuffle(picture, round((sizes.in_channels / 3) ** 0.5)).clamp(-1, 1)


class PixelPainter:
    """`vectors_of`: captions in the space that the model was trained in, (captions, dimensions)."""

    def __init__(
        self, folder: Path, drawing: Drawing, vectors_of: Callable[[Sequence[str]], Floats]
    ) -> None:
        unet = UNet2DConditionModel.from_pretrained(folder / "unet", local_files_only=True)
        scheduler = DDIMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
        self._pipeline = PixelPipeline(unet.eval(), scheduler)
        self._pipeline.to("cuda" if torch.cuda.is_available() else "cpu")
        self._drawing, self._vectors_of = drawing, vectors_of

    def paint(self, wanted: Sequence[Wanted]) -> NDArray[np.uint8]:
        names = label_set().names
        labels = [names.index(one.label) if one.label else NO_LABEL for one in wanted]
        vectors = np.zeros(
            (len(wanted), self._pipeline.unet.config.cross_attention_dim), np.float32
        )
        if said := [place for place, one in enumerate(wanted) if one.caption]:
            vectors[said] = self._vectors_of([wanted[place].caption or "" for place in said])
        drawn = self._pipeline(
            torch.tensor(labels),
            torch.from_numpy(vectors),
            [torch.Generator().manual_seed(one.seed) for one in wanted],
            self._drawing.steps,
            self._drawing.guidance,
        )
        pixels: NDArray[np.uint8] = ((drawn + 1) * 127.5).round().byte().cpu().numpy()
        return pixels.transpose(0, 2, 3, 1)
