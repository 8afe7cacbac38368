"""Which inputs of the decoder's weights matter, measured on our own captions and images.

    python -m export importance MODEL OUT.gguf --data DIR --captions captions.jsonl

For each linear layer the mean of its squared inputs, column by column, over whole conversations:
prompt, image and caption. Quantization then rounds a column the more carefully the more it is
multiplied with. Method and file are llama.cpp's (tools/imatrix/imatrix.cpp and
common/imatrix-loader.cpp as carried by llama-cpp-python 0.3.36), so that its own tools read it.
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from appliance.core.labels import DOMAINS
from appliance.release.manifest import hash_file
from export.aside import refuse_existing, unwritable
from export.checkpoint import read_checkpoint
from export.errors import ExportError
from training.checkpoint import weights_hash
from training.conversation import conversation
from training.datasets import encoded_images
from training.evaluation.questions import Question
from training.qlora.material import CaptionedImage, read_captions

if TYPE_CHECKING:
    import torch

SEED = 0
"""Draws the captions."""
REPORT_EVERY = 50
SUMS, COUNTS = ".in_sum2", ".counts"
WEIGHTS = "importance.weights_sha256"
"""A key of our own; files of llama.cpp's tool are without it."""


@dataclass(frozen=True)
class Importance:
    """An importance matrix as it was read from a file."""

    sha256: str
    """Of the file."""
    columns: dict[str, NDArray[np.float32]]
    """Mean squared input of each column, by the weight's name in GGUF."""
    dataset: str
    """What it was measured on, in words."""
    chunks: int
    """Conversations, or whatever llama.cpp's tool counts."""
    weights_sha256: str | None
    """Of the model it was measured in, where the file says."""


@dataclass
class Inputs:
    """Sum over all tokens so far of a layer's squared inputs, (columns,) in float64."""

    squares: "torch.Tensor"
    tokens: int = 0


def write_importance(
    model: Path, out: Path, data: Path, captions: Path, images: int, say: Callable[[str], None]
) -> None:
    """Measure on `images` captions of the training split, as many of each domain, and write `out`.

    Raises: ExportError, DatasetError; then there is nothing at `out`.
    """
    refuse_existing(out)
    read_checkpoint(model)
    drawn = draw_captions(read_captions(captions, data), images)
    say(f"measuring on {len(drawn)} conversations")
    measured = measure(model, _questions(drawn, data), drawn, say)
    dataset = f"{captions.name} {hash_file(captions)[:12]}, training split, seed {SEED}"
    write_matrix(out, measured, dataset, len(drawn), weights_hash(model))


def draw_captions(captioned: Sequence[CaptionedImage], images: int) -> list[CaptionedImage]:
    """At most `images` of the training split, equally many of every domain that has enough."""
    rng = np.random.default_rng(SEED)
    train = [row for row in captioned if row.split == "train"]
    pools = [[row for row in train if row.example.domain == domain] for domain in DOMAINS]
    pools = sorted((pool for pool in pools if pool), key=len)  # what one lacks, the others give
    drawn: list[CaptionedImage] = []
    for place, pool in enumerate(pools):
        wanted = math.ceil((images - len(drawn)) / (len(pools) - place))
        chosen = rng.choice(len(pool), min(wanted, len(pool)), replace=False)
        drawn += [pool[index] for index in sorted(chosen)]
    return drawn


def measure(
    model: Path,
    questions: Sequence[Question],
    captioned: Sequence[CaptionedImage],
    say: Callable[[str], None],
) -> dict[str, Inputs]:
    """By weight name in GGUF, in the model of `model`: float32 on a CPU, bfloat16 on a GPU.

    Raises: DatasetError for an image that cannot be read.
    """
    import torch
    from transformers import Gemma3ForConditionalGeneration

    from training.tokenizer import load_tokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    whole: Any = Gemma3ForConditionalGeneration.from_pretrained(
        model,
        dtype=torch.float32 if device == "cpu" else torch.bfloat16,
        local_files_only=True,
    )
    whole = whole.to(device).eval()
    tokenizer, config = load_tokenizer(model), whole.config
    found = _listen(whole.model.language_model)
    for count, (question, row) in enumerate(zip(questions, captioned, strict=True), 1):
        said = conversation(tokenizer, config.mm_tokens_per_image, row.caption, 1.0)
        rgb = torch.from_numpy(question.square(config.vision_config.image_size).copy())
        pixels = (rgb.permute(2, 0, 1)[None].float() / 127.5 - 1).to(device, whole.dtype)
        with torch.no_grad():
            whole.model(  # without the head: nobody reads the logits
                input_ids=torch.tensor([said.ids], device=device),
                token_type_ids=torch.tensor([said.is_image], device=device).long(),
                pixel_values=pixels,
            )
        if count % REPORT_EVERY == 0:
            say(f"{count}/{len(captioned)} conversations")
    return found


def write_matrix(
    out: Path, measured: dict[str, Inputs], dataset: str, images: int, weights_sha256: str
) -> None:
    """As llama.cpp's imatrix tool writes it. Raises: ExportError."""
    import gguf

    class Writer(gguf.GGUFWriter):
        def add_architecture(self) -> None:
            """An imatrix file names none."""

    partial = out.with_name(out.name + ".partial")
    writer = Writer(None, "")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", [dataset])
    writer.add_uint32("imatrix.chunk_count", images)
    longest = max(inputs.tokens for inputs in measured.values())
    writer.add_uint32("imatrix.chunk_size", longest // images)
    writer.add_string(WEIGHTS, weights_sha256)
    for name, inputs in sorted(measured.items()):
        squares = inputs.squares.cpu().numpy().astype(np.float32)
        if not np.isfinite(squares).all():
            raise ExportError(f"{name}: its inputs are infinite or no numbers; check the model")
        writer.add_tensor(name + SUMS, squares)
        writer.add_tensor(name + COUNTS, np.array([inputs.tokens], np.float32))
    try:
        writer.write_header_to_file(partial)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        partial.rename(out)
    except OSError as exc:
        with contextlib.suppress(OSError):  # what a full disk would not take is still to be flushed
            writer.close()
        raise unwritable(out, exc) from exc
    finally:
        partial.unlink(missing_ok=True)


def read_importance(file: Path) -> Importance:
    """Raises: ExportError when it is none, damaged, or holds what is no mean of squares."""
    import gguf

    try:
        reader = gguf.GGUFReader(file)
        tensors = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
        fields = {name: field.contents() for name, field in reader.fields.items()}
        names = sorted(name.removesuffix(SUMS) for name in tensors if name.endswith(SUMS))
        columns = {name: _mean(tensors[name + SUMS], tensors[name + COUNTS]) for name in names}
        dataset, chunks = fields["imatrix.datasets"], int(fields["imatrix.chunk_count"])
    except (OSError, ValueError, KeyError, IndexError, TypeError) as exc:
        raise ExportError(
            f"{file}: no importance matrix can be read ({type(exc).__name__}: {exc}); make it "
            "with `python -m export importance`"
        ) from exc
    for name, values in columns.items():
        if not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
            raise ExportError(f"{file}: {name} holds no mean of squares; make the file again")
    if not columns:
        raise ExportError(f"{file}: an importance matrix without entries; make it again")
    return Importance(hash_file(file), columns, ", ".join(dataset), chunks, fields.get(WEIGHTS))


def _questions(captioned: Sequence[CaptionedImage], data: Path) -> list[Question]:
    datasets = {row.example.dataset for row in captioned}
    images = {dataset: encoded_images(data, dataset) for dataset in sorted(datasets)}
    return [
        Question(row.example, images[row.example.dataset][row.example.row], {}) for row in captioned
    ]


def _listen(decoder: Any) -> dict[str, Inputs]:
    """Have every linear layer of the decoder add up its squared inputs from now on."""
    import gguf
    import torch

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, len(decoder.layers))
    found = {}
    for path, layer in decoder.named_modules():
        if isinstance(layer, torch.nn.Linear):
            name = names.get_name(f"model.{path}.weight", try_suffixes=(".weight",))
            if name is None:
                raise ExportError(f"no place in GGUF for the layer {path}")
            squares = torch.zeros(layer.in_features, dtype=torch.float64)
            found[name] = Inputs(squares.to(layer.weight.device))
            layer.register_forward_pre_hook(_adding_to(found[name]))
    return found


def _adding_to(inputs: Inputs) -> Callable[[Any, tuple["torch.Tensor"]], None]:
    def add(layer: Any, given: tuple["torch.Tensor"]) -> None:
        rows = given[0].flatten(0, -2).double()
        inputs.squares += rows.square().sum(0)
        inputs.tokens += len(rows)

    return add


def _mean(sums: NDArray[np.float32], counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """(columns,) for a weight that is one matrix; `counts` is then one number."""
    if counts.size != 1 or not counts.flat[0] > 0:
        raise ValueError(f"counts {counts.tolist()} of one matrix")
    mean: NDArray[np.float32] = (sums.reshape(-1) / counts.flat[0]).astype(np.float32)
    return mean
