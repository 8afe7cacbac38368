"""How large a base is, without loading it: from its config.json, or from the table below.

Counts are those of transformers' Gemma3ForConditionalGeneration with tied embeddings.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class BaseGeometry:
    """Sizes of a Gemma 3 decoder with a SigLIP tower."""

    vocabulary: int
    width: int
    feed_forward: int
    depth: int
    heads: int
    key_value_heads: int
    head_width: int
    vision_width: int
    vision_feed_forward: int
    vision_depth: int
    vision_head: bool
    """Whether the tower ends in SigLIP's pooling head, which a captioner never uses."""
    image_size: int
    patch_size: int
    image_tokens: int
    """Soft tokens an image becomes in the decoder."""

    @property
    def decoder_layer(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of a decoder layer's linear layers: q, k, v, o, gate, up, down."""
        queries = self.heads * self.head_width
        keys = self.key_value_heads * self.head_width
        return (
            (self.width, queries),
            (self.width, keys),
            (self.width, keys),
            (queries, self.width),
            (self.width, self.feed_forward),
            (self.width, self.feed_forward),
            (self.feed_forward, self.width),
        )

    @property
    def vision_layer(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of a tower layer's linear layers: q, k, v, out, fc1, fc2."""
        square = (self.vision_width, self.vision_width)
        feed = (self.vision_width, self.vision_feed_forward)
        return (square, square, square, square, feed, feed[::-1])

    @property
    def patches(self) -> int:
        return (self.image_size // self.patch_size) ** 2

    @property
    def embedding_weights(self) -> int:
        """Of the embeddings, which are the head, too."""
        return self.vocabulary * self.width

    @property
    def linear_weights(self) -> int:
        """Of the decoder's linear layers: what is held in four bits."""
        return self.depth * _weights(self.decoder_layer)

    @property
    def norm_weights(self) -> int:
        """Four norms of a layer, two of its queries and keys, and the last one."""
        return self.depth * (4 * self.width + 2 * self.head_width) + self.width

    @property
    def vision_weights(self) -> int:
        """Tower and projector."""
        width, feed = self.vision_width, self.vision_feed_forward
        embeddings = width * (3 * self.patch_size**2 + 1) + self.patches * width
        layer = _weights(self.vision_layer) + sum(out for _, out in self.vision_layer) + 4 * width
        head = 0
        if self.vision_head:  # probe, attention, norm, two linear layers
            head = width + 4 * (width**2 + width) + 2 * width + 2 * width * feed + feed + width
        tower = embeddings + self.vision_depth * layer + 2 * width + head
        return tower + self.projector_weights

    @property
    def projector_weights(self) -> int:
        return self.vision_width * self.width + self.vision_width

    @property
    def weights(self) -> int:
        return (
            self.embedding_weights + self.linear_weights + self.norm_weights + self.vision_weights
        )

    def adapter_weights(self, rank: int, vision: bool) -> int:
        """Of LoRA's two matrices at every linear layer of the decoder, and of the tower's."""
        sides = self.depth * sum(map(sum, self.decoder_layer))
        if vision:
            sides += self.vision_depth * sum(map(sum, self.vision_layer))
        return rank * sides


def _weights(linear_layers: tuple[tuple[int, int], ...]) -> int:
    return sum(inputs * outputs for inputs, outputs in linear_layers)


_SIGLIP: dict[str, Any] = {
    "vision_width": 1152,
    "vision_feed_forward": 4304,
    "vision_depth": 27,
    "vision_head": False,
    "image_size": 896,
    "patch_size": 14,
    "image_tokens": 256,
}
_4B = BaseGeometry(262_208, 2560, 10_240, 34, 8, 4, 256, **_SIGLIP)
_27B = BaseGeometry(262_208, 5376, 21_504, 62, 32, 16, 128, **_SIGLIP)

KNOWN: dict[str, BaseGeometry] = {
    "google/medgemma-4b-it": _4B,
    "google/medgemma-1.5-4b-it": _4B,
    "google/medgemma-27b-it": _27B,
}
"""MedGemma is Gemma 3 (model card) with MedSigLIP. Sizes: transformers,
src/transformers/models/gemma3/convert_gemma3_weights.py, `_VARIANTS` and `_VISION_CONFIG`, commit
0d7e95d9; the vocabulary with the 64 rows that its converter adds for the image token."""


def read_geometry(folder: Path) -> BaseGeometry:
    """Of the model in `folder`, from its config.json with transformers' defaults."""
    from transformers import Gemma3Config

    config: Any = Gemma3Config.from_pretrained(folder)
    text, vision = config.text_config, config.vision_config
    return BaseGeometry(
        vocabulary=text.vocab_size,
        width=text.hidden_size,
        feed_forward=text.intermediate_size,
        depth=text.num_hidden_layers,
        heads=text.num_attention_heads,
        key_value_heads=text.num_key_value_heads,
        head_width=text.head_dim,
        vision_width=vision.hidden_size,
        vision_feed_forward=vision.intermediate_size,
        vision_depth=vision.num_hidden_layers,
        vision_head=bool(getattr(vision, "vision_use_head", True)),
        image_size=vision.image_size,
        patch_size=vision.patch_size,
        image_tokens=config.mm_tokens_per_image,
    )
