"""Are these two GGUF files a Gemma 3 model and its projector, as this appliance runs them?

Answered from their headers alone, before llama.cpp sees a byte. Refuses what llama.cpp refuses,
and what it takes otherwise than the model was made, saying nothing (src/models/gemma3.cpp,
src/llama-vocab.cpp, tools/mtmd/clip.cpp of llama-cpp-python 0.3.36).
"""

import array
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from appliance.core.prompt import END_OF_TURN, IMAGE
from appliance.errors import ModelFileError
from appliance.release.gguf_header import GgufHeader

TEXT, VISION = "gemma3", "clip"
CONTROL_TOKENS = ("<start_of_turn>", END_OF_TURN, IMAGE, "<end_of_image>")
CONTROL, USER_DEFINED = 3, 4
"""llama.h, llama_token_type: either is one token where the prompt's marks are parsed."""
MOST_BLOCKS = 512
MOST_IMAGE_TOKENS = 256
"""The engine decodes an image's tokens as one batch of at most so many."""
DEFAULT_SCALE = 4
"""clip.cpp: how many patches a side make one token, where the file does not say."""
TEXT_ONLY = {(18, 640): "Gemma 3 270M", (26, 1152): "Gemma 3 1B"}
"""Layers and width of the Gemma 3 models that were never taught to see."""
SCALED_POSITIONS = {(34, 2560), (48, 3840), (62, 5376)}
"""Layers and width of Gemma 3 4B, 12B and 27B: config.json scales their positions by 8."""

ARCHITECTURES = {
    "llama": "Llama (or Mistral, SmolLM)",
    "llama4": "Llama 4",
    "gemma": "Gemma 1 or PaliGemma",
    "gemma2": "Gemma 2 or PaliGemma 2",
    "gemma3n": "Gemma 3n",
    "gemma4": "Gemma 4",
    "gemma-embedding": "EmbeddingGemma",
    "qwen2": "Qwen 2",
    "qwen2vl": "Qwen 2 VL",
    "qwen3": "Qwen 3",
    "qwen3vl": "Qwen 3 VL",
    "phi3": "Phi 3",
    "bert": "BERT",
}
FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
}
"""llama.h, llama_ftype."""
PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
GET_PAIR = "get the model (GGUF) and its mmproj (GGUF) from the same place"
GENERAL = (
    *("name", "basename", "finetune", "version", "organization", "size_label", "license"),
    *("license.link", "base_model.0.name", "base_model.0.repo_url", "quantized_by", "source.url"),
)
"""The `general.` texts that are kept in a release."""


Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class PairFacts:
    """What a sound pair says of itself."""

    layers: int
    width: int
    context_tokens: int
    vocabulary: int
    image_size: int
    patch_size: int
    image_tokens: int
    quantization: str
    """Of the text model: what most of its bytes are, or what the file calls the mixture."""
    projector_quantization: str
    general: Mapping[str, str]
    """`general.` texts of the text model."""
    projector_general: Mapping[str, str]
    notes: tuple[str, ...]
    """What a careful person should know; none stops the pair from running."""

    def as_manifest(self) -> dict[str, Any]:
        return {
            **vars(self),
            "general": dict(self.general),
            "projector_general": dict(self.projector_general),
            "notes": list(self.notes),
        }


def check_pair(model: GgufHeader, projector: GgufHeader) -> PairFacts:
    """Raises: ModelFileError naming the file and what it is instead."""
    for header in (model, projector):
        _refuse_part(header)
    if _architecture(model) == VISION and _architecture(projector) == TEXT:
        raise ModelFileError(
            f"the two files are swapped: {model.path} is the projector, {projector.path} the model",
            "give the model first and the mmproj second",
        )
    _refuse_other_model(model)
    _refuse_other_projector(projector)
    vocabulary = _check_tokenizer(model)
    layers, width = _check_text(model, vocabulary)
    image_size, patch_size, image_tokens = _check_vision(projector, width)
    _refuse_other_family(model, projector)
    return PairFacts(
        layers=layers,
        width=width,
        context_tokens=_positive(model, f"{TEXT}.context_length"),
        vocabulary=vocabulary,
        image_size=image_size,
        patch_size=patch_size,
        image_tokens=image_tokens,
        quantization=quantization(model),
        projector_quantization=quantization(projector),
        general=_general(model),
        projector_general=_general(projector),
        notes=tuple(_notes(model, layers, width)),
    )


def quantization(header: GgufHeader) -> str:
    """The mixture's name, where the tensors bear it out; else the type of most bytes."""
    sizes: Counter[str] = Counter()
    for tensor in header.tensors.values():
        sizes[tensor.type] += tensor.size_bytes
    largest = sizes.most_common(1)[0][0]
    declared = FILE_TYPES.get(header.whole("general.file_type") or 0, "")
    return declared if declared.startswith(largest) else largest


def family(header: GgufHeader) -> str | None:
    """`medgemma1.5`, `medgemma` or `gemma`, as the file names itself; None where it does not."""
    said = " ".join(
        header.text(f"general.{key}") for key in ("name", "basename", "base_model.0.name")
    )
    said = re.sub(r"[\s_-]+", "", said.lower())
    if "medgemma1.5" in said:
        return "medgemma1.5"
    return next((name for name in ("medgemma", "gemma") if name in said), None)


def is_text_only_medgemma(header: GgufHeader) -> bool:
    said = re.sub(r"[\s_-]+", "", header.text("general.name").lower())
    return "medgemma27btext" in said


def _architecture(header: GgufHeader) -> str:
    return header.text("general.architecture")


def _refuse(header: GgufHeader, reason: str, hint: str = GET_PAIR) -> NoReturn:
    raise ModelFileError(f"{reason}: {header.path}", hint)


def _refuse_part(header: GgufHeader) -> None:
    parts = header.whole("split.count") or 0
    if parts > 1 or PART.search(header.path.name):
        _refuse(
            header,
            "the file is one part of several",
            "join the parts first with `llama-gguf-split --merge FIRST_PART WHOLE.gguf`, or get "
            "the model in one file",
        )
    if (kind := header.text("general.type")) in ("adapter", "imatrix"):
        _refuse(header, f"the file is an {kind}, no whole model")


def _refuse_other_model(model: GgufHeader) -> None:
    found = _architecture(model)
    if found == VISION:
        _refuse(model, "the file is a projector; a model is wanted first, then its projector")
    if "paligemma" in model.text("general.name").lower() or found == "paligemma":
        _refuse(model, "the model is a PaliGemma; this appliance runs Gemma 3 (MedGemma)")
    if found != TEXT:
        name = ARCHITECTURES.get(found, repr(found[:40]))
        _refuse(model, f"the model is {name}; this appliance runs Gemma 3 (MedGemma)")
    if f"{TEXT}.vision.block_count" in model.metadata or any(
        name.startswith(("v.", "mm.")) for name in model.tensors
    ):
        _refuse(
            model,
            "the file holds model and vision tower in one, as Ollama's own library has it, and "
            "llama.cpp takes two",
        )
    size = (model.whole(f"{TEXT}.block_count"), model.whole(f"{TEXT}.embedding_length"))
    if size in TEXT_ONLY:
        _refuse(model, f"the model is {TEXT_ONLY[size]}, which was never taught to see")
    if is_text_only_medgemma(model):
        _refuse(
            model,
            "the model is the text-only MedGemma 27B, which was never taught to see",
            "get medgemma-27b-it and its mmproj",
        )
    if not model.tensors:
        _refuse(model, "the file holds no weights")


def _refuse_other_projector(projector: GgufHeader) -> None:
    found = _architecture(projector)
    if found == TEXT:
        _refuse(projector, "the second file is a model too; its projector (mmproj) is wanted")
    if found != VISION:
        _refuse(projector, f"the second file is no projector but {found[:40]!r}")
    kind = projector.text("clip.projector_type") or projector.text("clip.vision.projector_type")
    if kind != "gemma3":
        _refuse(projector, f"the projector is of the kind {kind[:40]!r}, Gemma 3's is 'gemma3'")


def _check_tokenizer(model: GgufHeader) -> int:
    """How many tokens there are."""
    if (kind := model.text("tokenizer.ggml.model")) != "llama":
        _refuse(model, f"its tokenizer is of the kind {kind[:40]!r}, Gemma 3's is SPM ('llama')")
    tokens = model.metadata.get("tokenizer.ggml.tokens")
    types = model.metadata.get("tokenizer.ggml.token_type")
    scores = model.metadata.get("tokenizer.ggml.scores")
    if not isinstance(tokens, list) or not tokens:
        _refuse(model, "it has no list of tokens")
    for name, column in (("token_type", types), ("scores", scores)):
        if not isinstance(column, array.array) or len(column) != len(tokens):
            _refuse(model, f"its tokenizer's {name} does not fit its tokens")
    assert isinstance(types, array.array)
    counts = Counter(token for token in tokens if token in CONTROL_TOKENS)
    for token in CONTROL_TOKENS:
        if counts[token] != 1:
            _refuse(model, f"its tokenizer has {counts[token]} tokens {token}, not one")
        if types[tokens.index(token)] not in (CONTROL, USER_DEFINED):
            _refuse(
                model,
                f"its tokenizer has {token} as a plain word, so that the prompt would fall apart",
                "get a file converted with llama.cpp's own converter",
            )
    bos = model.whole("tokenizer.ggml.bos_token_id")
    if bos is None or not 0 <= bos < len(tokens) or tokens[bos] != "<bos>":
        _refuse(model, "its tokenizer does not say which token begins a text")
    if model.metadata.get("tokenizer.ggml.add_bos_token", True) is not True:
        _refuse(model, "its tokenizer would leave out the beginning of the text, which Gemma needs")
    if model.metadata.get("tokenizer.ggml.add_space_prefix", True) is not False:
        _refuse(model, "its tokenizer would put a space before every text, which Gemma's does not")
    return len(tokens)


def _check_text(model: GgufHeader, vocabulary: int) -> tuple[int, int]:
    """Layers and width."""
    layers, width, inner, heads, key_heads, head = (
        _positive(model, f"{TEXT}.{key}")
        for key in (
            *("block_count", "embedding_length", "feed_forward_length", "attention.head_count"),
            *("attention.head_count_kv", "attention.key_length"),
        )
    )
    _refuse_blocks(model, layers)
    _positive(model, f"{TEXT}.attention.sliding_window")  # without it every layer attends to all
    for key in ("rope.freq_base", "attention.layer_norm_rms_epsilon"):
        value = model.metadata.get(f"{TEXT}.{key}")
        if not isinstance(value, float) or not 0 < value < math.inf:
            _refuse(model, f"it does not say its {key}")
    if _positive(model, f"{TEXT}.attention.value_length") != head:
        _refuse(model, "its keys and values differ in length")
    layer = {
        **dict.fromkeys(
            ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"), (width,)
        ),
        **dict.fromkeys(("attn_q_norm", "attn_k_norm"), (head,)),
        "attn_q": (width, heads * head),
        "attn_k": (width, key_heads * head),
        "attn_v": (width, key_heads * head),
        "attn_output": (heads * head, width),
        "ffn_gate": (width, inner),
        "ffn_up": (width, inner),
        "ffn_down": (inner, width),
    }
    expected = {"token_embd.weight": (width, vocabulary), "output_norm.weight": (width,)}
    for number in range(layers):
        expected |= {f"blk.{number}.{name}.weight": shape for name, shape in layer.items()}
    _check_tensors(model, expected, {"output.weight": (width, vocabulary)})
    return layers, width


def _check_vision(projector: GgufHeader, text_width: int) -> tuple[int, int, int]:
    """Image size, patch size, and tokens an image."""
    layers, width, inner, image, patch, heads, out = (
        _positive(projector, f"clip.vision.{key}")
        for key in (
            *("block_count", "embedding_length", "feed_forward_length", "image_size"),
            *("patch_size", "attention.head_count", "projection_dim"),
        )
    )
    _refuse_blocks(projector, layers)
    if out != text_width:
        _refuse(
            projector,
            f"the projector belongs to another model: it writes {out} values a token, the model "
            f"reads {text_width}",
        )
    scale = projector.metadata.get("clip.vision.projector.scale_factor", DEFAULT_SCALE)
    if not isinstance(scale, int) or scale < 1 or image % patch or image // patch % scale:
        _refuse(projector, f"images of {image} in patches of {patch} do not pool by {scale!r}")
    tokens = (image // patch // scale) ** 2
    if tokens > MOST_IMAGE_TOKENS:
        _refuse(projector, f"it makes {tokens:,} tokens of an image, more than {MOST_IMAGE_TOKENS}")
    if width % heads:
        _refuse(projector, f"its width {width} does not divide into {heads} heads")
    if inner == width:
        _refuse(projector, "its tower is as wide as its feed-forward: llama.cpp mixes them up")
    for key in ("clip.has_vision_encoder", "clip.use_gelu"):
        if projector.metadata.get(key) is not True:
            _refuse(projector, f"it does not say {key}, so that llama.cpp takes another tower")
    for key in ("image_mean", "image_std"):
        values = projector.metadata.get(f"clip.vision.{key}")
        if not isinstance(values, array.array) or list(values) != [0.5, 0.5, 0.5]:
            _refuse(projector, f"its {key} is not Gemma 3's 0.5, 0.5, 0.5")
    square = ("attn_q", "attn_k", "attn_v", "attn_out")
    widen, narrow = "ffn_up", "ffn_down"
    first = projector.tensors.get("v.blk.0.ffn_down.weight")
    if first is not None and first.shape == (width, inner):  # as files of spring 2025 have it
        widen, narrow = narrow, widen
    layer = {
        **{f"{name}.weight": (width, width) for name in square},
        **{f"{name}.bias": (width,) for name in (*square, narrow)},
        **{f"{name}.{part}": (width,) for name in ("ln1", "ln2") for part in ("weight", "bias")},
        f"{widen}.weight": (width, inner),
        f"{widen}.bias": (inner,),
        f"{narrow}.weight": (inner, width),
    }
    expected: dict[str, tuple[int, ...]] = {
        "mm.input_projection.weight": (text_width, width),
        "mm.soft_emb_norm.weight": (width,),
        "v.patch_embd.weight": (patch, patch, 3, width),
        "v.patch_embd.bias": (width,),
        "v.position_embd.weight": (width, (image // patch) ** 2),
        "v.post_ln.weight": (width,),
        "v.post_ln.bias": (width,),
    }
    for number in range(layers):
        expected |= {f"v.blk.{number}.{name}": shape for name, shape in layer.items()}
    _check_tensors(projector, expected, {})
    return image, patch, tokens


def _refuse_other_family(model: GgufHeader, projector: GgufHeader) -> None:
    """As far as the files' own names tell."""
    ours, theirs = family(model), family(projector)
    if ours and theirs and ours != theirs:
        _refuse(
            projector,
            f"the projector belongs to another model: it calls itself {theirs}, the model {ours}",
        )


def _notes(model: GgufHeader, layers: int, width: int) -> list[str]:
    notes = []
    factor = model.metadata.get(f"{TEXT}.rope.scaling.factor")
    if (layers, width) in SCALED_POSITIONS and factor != 8.0:
        notes.append(
            f"the file scales positions by {factor!r} and not by 8, as Gemma 3 of this size does: "
            "an old or faulty conversion"
        )
    if f"{TEXT}.final_logit_softcapping" in model.metadata:
        notes.append("the file caps the model's scores, which Gemma 3 does not")
    if "Q2" in (kind := quantization(model)) or "IQ1" in kind or "IQ2" in kind:
        notes.append(f"{kind} loses much of a small model: measure it before anything else")
    return notes


def _refuse_blocks(header: GgufHeader, layers: int) -> None:
    if layers > MOST_BLOCKS:
        _refuse(header, f"it is said to have {layers:,} layers")


def _positive(header: GgufHeader, key: str) -> int:
    value = header.whole(key)
    if value is None or value < 1:
        _refuse(header, f"it does not say its {key}")
    return value


def _check_tensors(
    header: GgufHeader,
    expected: Mapping[str, tuple[int, ...]],
    optional: Mapping[str, tuple[int, ...]],
) -> None:
    for name, shape in expected.items():
        if name not in header.tensors:
            _refuse(header, f"the tensor {name} is missing")
        if header.tensors[name].shape != shape:
            _refuse(header, f"{name} has the shape {header.tensors[name].shape}, expected {shape}")
    for name, tensor in header.tensors.items():
        if name not in expected and optional.get(name) != tensor.shape:
            _refuse(header, f"it has a tensor that Gemma 3 does not: {name}")


def _general(header: GgufHeader) -> dict[str, str]:
    found = {key: header.text(f"general.{key}")[:200] for key in GENERAL}
    return {key: text for key, text in found.items() if text}
