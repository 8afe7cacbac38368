"""Folders spelled as Gemma 3 and MedGemma are published, with weights and vocabulary of our own.

Sizes and settings are those of the config.json that transformers 4.50 to 4.53 wrote for them. The
weights are random, or a hole in the file where only names and shapes matter.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.gemma3_config import expected_tensors
from export.stored_tensor import INDEX

Settings = dict[str, Any]
Fill = Callable[[str, tuple[int, ...]], Iterator[bytes]]

LINEAR = {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}}
VISION_896 = {
    "hidden_size": 1152,
    "image_size": 896,
    "intermediate_size": 4304,
    "model_type": "siglip_vision_model",
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "patch_size": 14,
    "vision_use_head": False,
}
TEXT_4B: Settings = {
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "model_type": "gemma3_text",
    "num_hidden_layers": 34,
    **LINEAR,
    "sliding_window": 1024,
}
"""As Gemma 3 4B has it: the rest is left to transformers' defaults."""
TEXT_MEDGEMMA_4B: Settings = {
    **TEXT_4B,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attn_logit_softcapping": None,
    "cache_implementation": "hybrid",
    "final_logit_softcapping": None,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "initializer_range": 0.02,
    "max_position_embeddings": 131072,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-06,
    "rope_local_base_freq": 10000.0,
    "rope_theta": 1000000.0,
    "sliding_window_pattern": 6,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": 262208,
}
TEXT_MEDGEMMA_27B: Settings = {
    **TEXT_MEDGEMMA_4B,
    "head_dim": 128,
    "hidden_size": 5376,
    "intermediate_size": 21504,
    "num_attention_heads": 32,
    "num_hidden_layers": 62,
    "num_key_value_heads": 16,
    "query_pre_attn_scalar": 168,
}
TEXT_TINY: Settings = {
    **TEXT_MEDGEMMA_4B,
    "head_dim": 32,
    "hidden_size": 64,
    "intermediate_size": 96,
    "max_position_embeddings": 2048,
    "num_attention_heads": 2,
    "num_hidden_layers": 7,
    "num_key_value_heads": 1,
    "query_pre_attn_scalar": 32,
    "sliding_window": 16,
    "vocab_size": 1216,
}
VISION_TINY: Settings = {
    **VISION_896,
    "hidden_size": 48,
    "image_size": 56,
    "intermediate_size": 80,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
}


@dataclass(frozen=True)
class Published:
    """One model: `text` and `vision` as in config.json, and how the picture is pooled."""

    text: Settings
    vision: Settings
    image_tokens: int = 256

    def config(self) -> Settings:
        return {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "boi_token_index": 255999,
            "eoi_token_index": 256000,
            "eos_token_id": [1, 106],
            "image_token_index": 262144,
            "initializer_range": 0.02,
            "mm_tokens_per_image": self.image_tokens,
            "model_type": "gemma3",
            "text_config": dict(self.text),
            "torch_dtype": "bfloat16",
            "transformers_version": "4.51.3",
            "vision_config": dict(self.vision),
        }


TINY = Published(TEXT_TINY, VISION_TINY, image_tokens=4)
GEMMA_4B = Published(TEXT_4B, VISION_896)
MEDGEMMA_4B = Published(TEXT_MEDGEMMA_4B, VISION_896)
MEDGEMMA_27B = Published(TEXT_MEDGEMMA_27B, VISION_896)

PREPROCESSOR: Settings = {
    "do_convert_rgb": None,
    "do_normalize": True,
    "do_pan_and_scan": None,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "Gemma3ImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "Gemma3Processor",
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
}
GENERATION: Settings = {
    "bos_token_id": 2,
    "cache_implementation": "hybrid",
    "do_sample": True,
    "eos_token_id": [1, 106],
    "pad_token_id": 0,
    "top_k": 64,
    "top_p": 0.95,
}
MODEL_CARD = """---
license: other
license_name: health-ai-developer-foundations
license_link: https://developers.google.com/health-ai-developer-foundations/terms
library_name: transformers
pipeline_tag: image-text-to-text
base_model: google/medgemma-4b-pt
tags:
- medical
- radiology
---
# A model card
"""
IMAGE = "<image_soft_token>"
EXTRA = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": IMAGE}
SPECIAL = {
    *("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
    *("<start_of_image>", "<end_of_image>", "<image_soft_token>"),
}


def write_folder(folder: Path, model: Published, fill: Fill | None, shards: int = 2) -> Path:
    """Everything that a published folder holds; weights of holes where `fill` is None."""
    folder.mkdir(parents=True)
    write_tokenizer(folder)
    for name, settings in (
        ("config.json", model.config()),
        ("generation_config.json", GENERATION),
        (
            "preprocessor_config.json",
            {
                **PREPROCESSOR,
                "image_seq_length": model.image_tokens,
                "size": {"height": model.vision["image_size"], "width": model.vision["image_size"]},
            },
        ),
    ):
        (folder / name).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(MODEL_CARD, encoding="utf-8")
    write_shards(folder, published_tensors(model), fill, shards)
    return folder


def published_tensors(model: Published) -> dict[str, tuple[int, ...]]:
    """Published name and shape of every tensor, in the order of the files: the tower last."""
    from transformers import Gemma3Config

    whole = Gemma3Config.from_dict(model.config()).to_dict()
    shapes = expected_tensors(whole["text_config"], whole["vision_config"])
    return {
        name.replace("language_model.", "language_model.model."): shapes[name] for name in shapes
    }


def write_shards(
    folder: Path, shapes: dict[str, tuple[int, ...]], fill: Fill | None, shards: int
) -> None:
    """bfloat16 safetensors with their index, no shard held whole."""
    names, places = list(shapes), {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = names[len(names) * number // shards : len(names) * (number + 1) // shards]
        write_safetensors(folder / file, {name: shapes[name] for name in part}, fill)
        places.update(dict.fromkeys(part, file))
    size = 2 * sum(int(np.prod(shape)) for shape in shapes.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")


def write_safetensors(file: Path, shapes: dict[str, tuple[int, ...]], fill: Fill | None) -> None:
    header: Settings = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        if fill is None:
            opened.truncate(8 + len(text) + end)
            return
        for name, shape in shapes.items():
            for piece in fill(name, shape):
                opened.write(piece)


def respell(folder: Path, name: Callable[[str], str]) -> None:
    """Give every tensor another name, in its file and in the index."""
    from safetensors.torch import load_file, save_file

    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    for file in folder.glob("*.safetensors"):
        save_file({name(key): value for key, value in load_file(file).items()}, file)
    index["weight_map"] = {name(key): file for key, file in index["weight_map"].items()}
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")


def add_head(folder: Path, of_embedding: Callable[[Any], Any]) -> None:
    """Store an output head beside the embedding, in the last shard."""
    from safetensors.torch import load_file, save_file

    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    key = "language_model.model.embed_tokens.weight"
    embedding = load_file(folder / index["weight_map"][key])[key]
    last = max(index["weight_map"].values())
    head = "language_model.lm_head.weight"
    save_file({**load_file(folder / last), head: of_embedding(embedding)}, folder / last)
    index["weight_map"][head] = last
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")


def random_weights(seed: int = 0) -> Fill:
    """Normal values of the spread of trained weights, rounded to bfloat16, 4 Mi at a time."""
    rng = np.random.default_rng(seed)

    def fill(name: str, shape: tuple[int, ...]) -> Iterator[bytes]:
        left = int(np.prod(shape))
        while left:
            count = min(left, 4 << 20)
            values = rng.standard_normal(count, dtype=np.float32) * np.float32(0.04)
            yield (values.view(np.uint32) >> 16).astype("<u2").tobytes()
            left -= count

    return fill


def write_tokenizer(folder: Path, words: str | None = None) -> None:
    """A vocabulary in Gemma's layout, and what transformers 4 wrote beside it."""
    from transformers import GemmaTokenizer

    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.model").write_bytes(sentencepiece_model(words or WORDS))
    tokenizer: Any = GemmaTokenizer.from_pretrained(folder, extra_special_tokens=EXTRA)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text("{{ bos_token }}{{ messages }}", encoding="utf-8")
    described = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    config: Settings = {
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": {
            str(token.pop("id")): {**token, "special": token["content"] in SPECIAL}
            for token in described["added_tokens"]
        },
        "bos_token": "<bos>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<eos>",
        "extra_special_tokens": EXTRA,
        **EXTRA,
        "model_max_length": int(1e30),
        "pad_token": "<pad>",
        "processor_class": "Gemma3Processor",
        "sp_model_kwargs": None,
        "spaces_between_special_tokens": False,
        "tokenizer_class": "GemmaTokenizer",
        "unk_token": "<unk>",
        "use_default_system_prompt": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    soft = next(i for i, one in config["added_tokens_decoder"].items() if one["content"] == IMAGE)
    (folder / "added_tokens.json").write_text(json.dumps({IMAGE: int(soft)}), encoding="utf-8")


WORDS = (
    "The image shows a lesion of the skin. A chest radiograph with no acute finding; heart size is "
    "normal. What is in this picture? Answer with JSON: label, findings, recommendation. Fundus of "
    "the left eye with drusen and a pale optic disc. melanoma nevus keratosis cataract glaucoma "
    "pneumonia hypertension diabetes normal abnormal follow-up refer patient biopsy dermatoscopy "
    "für läsión é ñ 皮膚 の 病変 поражение кожи"
)


def sentencepiece_model(words: str) -> bytes:
    """Gemma's layout in little: marks, runs of newlines and of spaces, bytes, then pieces by rank.

    Every beginning of every word is a piece, so that merging finds the word from the left.
    """
    from sentencepiece import sentencepiece_model_pb2

    proto: Any = sentencepiece_model_pb2
    model = proto.ModelProto()
    kind = proto.ModelProto.SentencePiece

    def add(piece: str, score: float, of: int) -> None:
        model.pieces.add(piece=piece, score=score, type=of)

    for piece in ("<pad>", "<eos>", "<bos>"):
        add(piece, 0.0, kind.CONTROL)
    add("<unk>", 0.0, kind.UNKNOWN)
    marks = ["<mask>", "[multimodal]", *(f"<unused{number}>" for number in range(9))]
    marks += ["<start_of_turn>", "<end_of_turn>", *("\n" * count for count in range(1, 32))]
    marks += ["\u2581" * count for count in range(2, 32)]
    marks += ["<table>", "</table>", "<br>", *("\t" * count for count in range(1, 8))]
    marks += ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
    for mark in marks:
        add(mark, 0.0, kind.USER_DEFINED)
    for byte in range(256):
        add(f"<0x{byte:02X}>", 0.0, kind.BYTE)
    starts = ["\u2581" + word for word in words.split()] + words.split()
    merged = [word[:length] for word in starts for length in range(2, len(word) + 1)]
    letters = ["\u2581", *map(chr, range(33, 127)), *words]
    ranked = [piece for piece in dict.fromkeys([*merged, *letters]) if piece != " "]
    for rank, piece in enumerate(ranked):
        add(piece, -float(rank), kind.NORMAL)
    model.trainer_spec.model_type = 2  # BPE
    model.trainer_spec.vocab_size = len(model.pieces)
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.split_digits = True
    ids = {"pad": 0, "eos": 1, "bos": 2, "unk": 3}
    for name, number in ids.items():
        setattr(model.trainer_spec, f"{name}_id", number)
        setattr(model.trainer_spec, f"{name}_piece", f"<{name}>")
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = True
    return bytes(model.SerializeToString())
