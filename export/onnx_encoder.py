"""The vision tower and projector of a Gemma 3 checkpoint as ONNX, at float32 and at int8.

    python -m export onnx MODEL OUT --data DIR

OUT holds encoder.onnx, encoder.int8.onnx and encoder.json, which says what they take and give and
how well they agree with transformers. They give the soft tokens as the decoder's first layer takes
them, row by row from the picture's upper left: what transformers' get_image_features and
llama.cpp's mtmd_encode_chunk give. Gemma multiplies the embeddings of text by the root of its
width; soft tokens are not, and nobody may do it after.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from appliance.core.labels import LabelSet
from appliance.release.manifest import ENCODER, ENCODER_INT8, ENCODER_REPORT
from export.aside import refuse_existing, written_aside
from export.checkpoint import Checkpoint, read_checkpoint
from export.errors import ExportError
from export.onnx_file import (
    OPSET,
    files_in,
    made_with,
    open_session,
    weights_of,
    write_graph,
    write_json,
)
from export.vision_gguf import SIGLIP_MEAN, SIGLIP_STD, VISION
from training.checkpoint import weights_hash
from training.evaluation.asking import label_scorer
from training.evaluation.questions import Question, read_questions
from training.labels import label_set
from training.tokenizer import load_tokenizer

if TYPE_CHECKING:
    import torch

FORMAT = 1
PIXELS = "pixels"
SOFT_TOKENS = "soft_tokens"
REPORT_EVERY = 25
ATTENTION = "aten::scaled_dot_product_attention"
PROJECTOR_MODULE = "multi_modal_projector"
PATCHES_AT_ONCE = 512
"""Through a layer's perceptron, whose middle is four times as wide as the rest. Taking 4,096 so
costs a tenth less time at float32, a sixteenth less at int8, and 0.1 GB less memory."""

Encode = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Pixels (images, 3, N, N) to soft tokens (images, tokens, text width)."""


@dataclass(frozen=True)
class Margin:
    """What a file may differ by, and still be written."""

    largest_error: float
    same_label: float


MARGINS = {ENCODER: Margin(1e-3, 0.995), ENCODER_INT8: Margin(0.2, 0.98)}
"""Fixed beforehand. float32 is the same arithmetic in another order: of 200 labels one may turn at
a tie. int8 is chosen for speed and may cost one label in a hundred, measured on 200 images; a
picture squashed in another way comes out 0.8 from itself."""


@dataclass(frozen=True)
class Fidelity:
    """Of one file, with the tower and projector in transformers at float32."""

    largest_error: float
    """Of any image: Frobenius norm of the difference over that of the soft tokens."""
    mean_error: float
    same_label: float
    """Share of images whose likeliest label is the same when the decoder is given these."""
    largest_score_difference: float
    """Of any label's log-probability, in nats."""


def write_encoder(
    model: Path,
    out: Path,
    data: Path,
    images_per_domain: int,
    threads: int,
    say: Callable[[str], None],
) -> dict[str, Fidelity]:
    """Write both files to `out`, compared on test images; returns the figures of each.

    Raises: ExportError, also when a figure is outside its margin; then nothing is at `out`.
    """
    refuse_existing(out)
    checkpoint = read_checkpoint(model)
    questions = read_questions(data, "test", images_per_domain)
    with written_aside(out) as aside:
        say("writing the graphs")
        tower = load_tower(checkpoint)
        write_graphs(checkpoint, tower, aside)
        sides = {
            "": torch_encoder(tower),
            ENCODER: onnx_encoder(aside / ENCODER, threads),
            ENCODER_INT8: onnx_encoder(aside / ENCODER_INT8, threads),
        }
        say(f"encoding {len(questions)} images three times")
        tokens = _encoded(questions, checkpoint.vision["image_size"], sides, say)
        say("asking the decoder for labels")
        scores = label_scores(model, label_set(), tokens)
        found = {name: _fidelity(name, tokens, scores) for name in MARGINS}
        for name, figures in found.items():
            refuse_outside(name, figures)
        write_report(checkpoint, aside, len(questions), found)
    return found


def refuse_outside(name: str, found: Fidelity) -> None:
    """Raises: ExportError when a figure is outside the margin of the file `name`."""
    margin = MARGINS[name]
    if not found.largest_error <= margin.largest_error:  # so that NaN is outside
        raise ExportError(
            f"{name}: soft tokens of an image are {found.largest_error:.3g} from transformers', "
            f"more than {margin.largest_error:g}: not written"
        )
    if not found.same_label >= margin.same_label:
        raise ExportError(
            f"{name}: the label stays the same for {found.same_label:.1%} of the images, less "
            f"than {margin.same_label:.1%}: not written"
        )


def load_tower(checkpoint: Checkpoint) -> "torch.nn.Module":
    """Vision tower and projector at float32, without the decoder; forward takes pixels.

    Raises: ExportError.
    """
    import torch
    from transformers import Gemma3Config, SiglipVisionModel
    from transformers.models.gemma3.modeling_gemma3 import Gemma3MultiModalProjector

    config: Any = Gemma3Config.from_pretrained(checkpoint.folder, local_files_only=True)
    config.vision_config._attn_implementation = "sdpa"
    config.vision_config.vision_use_head = False  # Gemma takes the patches, not their pool
    shape = (-1, checkpoint.image_tokens, checkpoint.text["hidden_size"])

    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vision_tower = SiglipVisionModel(config.vision_config)
            self.multi_modal_projector = Gemma3MultiModalProjector(config)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            patches = self.vision_tower(pixel_values=pixels).last_hidden_state
            tokens: torch.Tensor = self.multi_modal_projector(patches)
            return tokens.reshape(shape)  # a fact for the graph, which would guess

    with torch.device("meta"):  # initial values of 417 million weights, for nothing
        tower = Tower()
    stored = {
        tensor.name.replace(".vision_model.", "."): torch.from_numpy(tensor.read())
        for tensor in checkpoint.tensors
        if tensor.name.startswith(VISION)
    }
    tower.load_state_dict(stored, assign=True)
    embeddings: Any = tower.vision_tower.embeddings
    embeddings.position_ids = torch.arange(embeddings.num_positions).expand((1, -1))
    return tower.eval()


@contextmanager
def fused_attention(heads: int) -> Iterator[None]:
    """Within it torch writes attention to ONNX as onnxruntime's own operator of `heads` heads, that
    goes over the keys a block at a time in the processor's cache (FlashAttention, Dao et al. 2022,
    arXiv:2205.14135).

    As plain products the weights of one layer's 16 heads take a gigabyte at 4,096 patches, and in
    pieces that fit they cost a seventh more time for the whole encoder.
    """
    import torch
    from torch.onnx import symbolic_helper
    from torch.onnx.utils import register_custom_op_symbolic, unregister_custom_op_symbolic

    def shaped(graph: Any, value: Any, shape: list[int]) -> Any:
        return graph.op("Reshape", value, graph.op("Constant", value_t=torch.tensor(shape)))

    def by_patch(graph: Any, value: Any) -> Any:
        """(images, heads, patches, head width) as (images, patches, width)."""
        return shaped(graph, graph.op("Transpose", value, perm_i=[0, 2, 1, 3]), [0, 0, -1])

    def attend(graph: Any, query: Any, key: Any, value: Any, *settings: Any) -> Any:
        scale = settings[3]  # after mask, dropout and causality
        found = graph.op(
            "com.microsoft::MultiHeadAttention",
            *(by_patch(graph, each) for each in (query, key, value)),
            num_heads_i=heads,
            scale_f=symbolic_helper._parse_arg(scale, "f"),
        ).setType(query.type().with_sizes([None, None, None]))
        by_head = shaped(graph, found, [0, 0, heads, -1])
        return graph.op("Transpose", by_head, perm_i=[0, 2, 1, 3]).setType(query.type())

    register_custom_op_symbolic(ATTENTION, attend, OPSET)
    try:
        yield
    finally:
        unregister_custom_op_symbolic(ATTENTION, OPSET)


@contextmanager
def perceptrons_in_pieces(tower: Any, patches: int) -> Iterator[None]:
    """Within it the perceptrons take at most `patches` at a time: each patch goes alone there."""
    import torch

    def in_pieces(whole: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        def forward(hidden_states: torch.Tensor) -> torch.Tensor:
            parts = [hidden_states[:, at : at + patches] for at in range(0, count, patches)]
            return torch.cat([whole(part) for part in parts], dim=1)

        return forward

    count = tower.vision_tower.embeddings.num_positions
    layers = tower.vision_tower.encoder.layers if count > patches else []
    perceptrons = [layer.mlp for layer in layers]
    for each in perceptrons:
        each.forward = in_pieces(each.forward)
    try:
        yield
    finally:
        for each in perceptrons:
            del each.forward


def write_graphs(checkpoint: Checkpoint, tower: "torch.nn.Module", folder: Path) -> None:
    """encoder.onnx and encoder.int8.onnx. Raises: OSError."""
    import torch

    size = checkpoint.vision["image_size"]
    with (
        fused_attention(checkpoint.vision["num_attention_heads"]),
        perceptrons_in_pieces(tower, PATCHES_AT_ONCE),
    ):
        write_graph(
            tower,
            {PIXELS: torch.zeros(1, 3, size, size)},
            SOFT_TOKENS,
            {PIXELS: {0: "images"}, SOFT_TOKENS: {0: "images"}},
            folder / ENCODER,
        )
    write_int8(folder / ENCODER, folder / ENCODER_INT8)


def torch_encoder(tower: "torch.nn.Module") -> Encode:
    import torch

    def encode(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            tokens: NDArray[np.float32] = tower(torch.from_numpy(pixels)).numpy()
        return tokens

    return encode


def onnx_encoder(file: Path, threads: int) -> Encode:
    session = open_session(file, threads)

    def encode(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        tokens: NDArray[np.float32] = session.run([SOFT_TOKENS], {PIXELS: pixels})[0]
        return tokens

    return encode


def as_pixels(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """One picture (N, N, 3) as the encoder takes it: (1, 3, N, N) in [-1, 1], SigLIP's scaling."""
    scaled = rgb.astype(np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
    pixels: NDArray[np.float32] = np.ascontiguousarray(scaled)
    return pixels


def relative_error(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each image: norm of the difference over that of `wanted`, (images, tokens, width)."""
    difference = np.linalg.norm(found - wanted, axis=(1, 2))
    error: NDArray[np.float32] = difference / np.linalg.norm(wanted, axis=(1, 2))
    return error


def _encoded(
    questions: Sequence[Question],
    size: int,
    sides: Mapping[str, Encode],
    say: Callable[[str], None],
) -> dict[str, NDArray[np.float32]]:
    """Soft tokens of every image by every side, (images, tokens, width)."""
    tokens: dict[str, list[NDArray[np.float32]]] = {name: [] for name in sides}
    for count, question in enumerate(questions, 1):
        pixels = as_pixels(question.square(size))
        for name, encode in sides.items():
            tokens[name].append(encode(pixels)[0])
        if count % REPORT_EVERY == 0:
            say(f"{count}/{len(questions)} images")
    return {name: np.stack(rows) for name, rows in tokens.items()}


def label_scores(
    model: Path, labels: LabelSet, tokens: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float64]]:
    """Log-probability of each label, (images, labels), when the decoder of `model` is given the
    soft tokens of each side instead of its own tower's."""
    import torch
    from transformers import Gemma3ForConditionalGeneration
    from transformers.utils import logging

    logging.disable_progress_bar()  # it shows in pipes too
    decoder: Any = Gemma3ForConditionalGeneration.from_pretrained(
        model, dtype=torch.float32, local_files_only=True
    )
    scores_of = label_scorer(decoder.eval(), load_tokenizer(model), labels)
    return {side: np.array(scores_of(torch.from_numpy(images))) for side, images in tokens.items()}


def _fidelity(
    name: str,
    tokens: Mapping[str, NDArray[np.float32]],
    scores: Mapping[str, NDArray[np.float64]],
) -> Fidelity:
    errors = relative_error(tokens[name], tokens[""])
    return Fidelity(
        largest_error=float(errors.max()),
        mean_error=float(errors.mean()),
        same_label=float(np.mean(scores[name].argmax(1) == scores[""].argmax(1))),
        largest_score_difference=float(np.abs(scores[name] - scores[""]).max()),
    )


def write_report(
    checkpoint: Checkpoint, folder: Path, images: int, found: Mapping[str, Fidelity]
) -> None:
    """encoder.json: what the files take and give, and how far they are from transformers."""
    size = checkpoint.vision["image_size"]
    report = {
        "format": FORMAT,
        "model_sha256": weights_hash(checkpoint.folder),
        "input": {
            "name": PIXELS,
            "shape": ["images", 3, size, size],
            "image_mean": SIGLIP_MEAN,
            "image_std": SIGLIP_STD,
        },
        "output": {
            "name": SOFT_TOKENS,
            "shape": ["images", checkpoint.image_tokens, checkpoint.text["hidden_size"]],
            "scaled_by_root_of_width": False,
        },
        "files": files_in(folder),
        "agreement": {
            "with": "transformers, float32",
            "images": images,
            "files": {
                name: {**asdict(figures), "margin": asdict(MARGINS[name])}
                for name, figures in found.items()
            },
        },
        "made_with": made_with(),
    }
    write_json(folder / ENCODER_REPORT, report)


def write_int8(file: Path, out: Path) -> None:
    """The graph in `file` with the tower's matrix products at int8, a scale a column.

    Activations are made eight bits as they come, a scale a product, so that the products are of
    integers. Weights are signed, with a zero point: the numbers that unsigned ones give, to the
    bit, in a quarter less time for the whole encoder where the processor has VNNI (896 pixels).
    Others must be asked for exact products (box.EXACT_INT8). The projector stays whole. On 501
    images of the demonstration the label stayed the same for 99.2 % so, for 98.8 % without zero
    points. Raises: OSError.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(file, load_external_data=False).graph
    products = [node.name for node in graph.node if node.op_type == "MatMul"]
    quantize_dynamic(
        file,
        out,
        op_types_to_quantize=["MatMul"],
        nodes_to_exclude=[name for name in products if PROJECTOR_MODULE in name],
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"WeightSymmetric": False},
        use_external_data_format=weights_of(file).exists(),
    )
