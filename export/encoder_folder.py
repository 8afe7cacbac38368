"""A CLIP or SigLIP checkpoint (MedSigLIP, say) as the ONNX folder that the clinic opens.

    python -m export encoder MODEL OUT

Reads downward: load, write the two graphs, copy tokenizer and settings, compare with transformers
on drawn pictures and on the captions of every label.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from appliance.core.atlas import caption_text
from appliance.core.labels import DOMAINS
from appliance.release.drawings import draw
from appliance.wiring import open_encoder_folder
from export.aside import refuse_existing, written_aside
from export.errors import ExportError
from export.onnx_file import write_graph
from training.labels import label_table

if TYPE_CHECKING:
    import torch

LEAST_COSINE = 0.9999
"""Of each vector with the one that transformers makes; less, and nothing is written."""
COPIED = ("tokenizer.json", "config.json", "preprocessor_config.json")


@dataclass(frozen=True)
class Parity:
    """Least cosine with transformers' own vectors."""

    pictures: float
    texts: float


def write_encoder_folder(model: Path, out: Path, say: Callable[[str], None]) -> Parity:
    """Raises: ExportError; then nothing is at `out`."""
    import torch
    from transformers import AutoModel

    refuse_existing(out)
    if missing := [name for name in COPIED if not (model / name).is_file()]:
        raise ExportError(f"{model}: has no {missing[0]}; give the whole folder of the checkpoint")
    kind = json.loads((model / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind not in ("clip", "siglip"):
        raise ExportError(f"{model}: is a {kind}, not a clip or siglip checkpoint")
    encoder: Any = AutoModel.from_pretrained(model, dtype=torch.float32, local_files_only=True)
    encoder.eval().set_attn_implementation("eager")
    with written_aside(out) as aside:
        for name in COPIED:
            shutil.copyfile(model / name, aside / name)
        say("writing the graphs")
        side = int(encoder.config.vision_config.image_size)
        length = int(encoder.config.text_config.max_position_embeddings)
        write_graph(
            _as_module(encoder, encoder.get_image_features),
            {"pixel_values": torch.zeros(1, 3, side, side)},
            "image_embeds",
            {"pixel_values": {0: "pictures"}, "image_embeds": {0: "pictures"}},
            aside / "vision_model.onnx",
        )
        write_graph(
            _as_module(encoder, encoder.get_text_features),
            {"input_ids": torch.ones(1, length, dtype=torch.long)},
            "text_embeds",
            {"input_ids": {0: "texts", 1: "tokens"}, "text_embeds": {0: "texts"}},
            aside / "text_model.onnx",
        )
        say("comparing with transformers")
        found = _compare(encoder, model, aside)
        if min(found.pictures, found.texts) < LEAST_COSINE:
            raise ExportError(f"{model}: the graphs differ from transformers ({found})")
    return found


def _as_module(encoder: Any, features: Callable[..., Any]) -> "torch.nn.Module":
    """What gives the projected, pooled features alone."""
    from torch import nn

    class Side(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, given: "torch.Tensor") -> "torch.Tensor":
            found: torch.Tensor = features(given).pooler_output
            return found

    return Side().eval()


def _compare(encoder: Any, model: Path, folder: Path) -> Parity:
    import torch
    from transformers import AutoImageProcessor, AutoTokenizer

    towers = open_encoder_folder(folder)
    process = AutoImageProcessor.from_pretrained(model, local_files_only=True, use_fast=False)
    tokenize = AutoTokenizer.from_pretrained(model, local_files_only=True)
    pictures = [draw(domain, 0, towers.identity.image_size) for domain in DOMAINS]
    texts = [caption_text(row.caption) for row in label_table()]
    seen, said = [], []
    with torch.inference_mode():
        for picture in pictures:
            rgb = np.frombuffer(picture.rgb, np.uint8).reshape(picture.size, picture.size, 3)
            wanted = encoder.get_image_features(
                **process(images=rgb.copy(), return_tensors="pt")
            ).pooler_output
            seen.append(_cosine(towers.picture_features(picture), wanted))
        length = int(encoder.config.text_config.max_position_embeddings)
        pads = encoder.config.model_type == "siglip"
        for text in texts:
            ids = tokenize(
                text,
                padding="max_length" if pads else False,
                max_length=length,
                truncation=True,
                return_tensors="pt",
            ).input_ids
            wanted = encoder.get_text_features(input_ids=ids).pooler_output
            said.append(_cosine(towers.text_features(text), wanted))
    return Parity(min(seen), min(said))


def _cosine(found: Any, wanted: "torch.Tensor") -> float:
    row = wanted[0].numpy()
    return float(np.dot(found, row) / np.linalg.norm(row))
