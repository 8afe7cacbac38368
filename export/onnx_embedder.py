"""A sentence-transformers model as ONNX, in folders that the guideline index opens.

    python -m export embedder FOLDER OUT

OUT/fp32 and OUT/int8 each hold model.onnx, tokenizer.json and embedder.json; either can be the
`embedder` of the appliance's settings. The graph ends at the last hidden state, (texts, tokens,
dimension): its reader takes the mean over a text's tokens and scales that to length one. Takes the
plain kind only, one transformer and mean pooling.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.aside import refuse_existing, written_aside
from export.errors import ExportError
from export.onnx_file import files_in, made_with, open_session, write_graph, write_json
from export.stored_tensor import weight_files
from training.checkpoint import weights_hash
from training.labels import label_table

FP32 = "fp32"
INT8 = "int8"
MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
REPORT = "embedder.json"
FORMAT = 1
MODULES = ("Transformer", "Pooling", "Normalize")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""What the index gives to a graph that asks for it."""
HIDDEN = "last_hidden_state"
SCALED_AXIS = {"MatMul": 1, "Gather": 0}
"""Where a product's matrix and a look-up's table stand among the inputs, and of it the axis that
has a scale for each place."""

LOWEST_COSINE = {FP32: 0.9999, INT8: 0.99}
"""That of int8 was set when all-MiniLM-L6-v2 had been measured (0.9987). Activations at int8 too
would take half the time, but turn its vectors to a cosine of 0.98: one text in six then had
another nearest neighbour."""


@dataclass(frozen=True)
class Fidelity:
    """Of one graph, with sentence-transformers at float32."""

    lowest_cosine: float
    mean_cosine: float
    same_nearest: float
    """Share of the texts whose nearest other text is the same."""


def write_embedder(
    folder: Path, out: Path, texts: Sequence[str], threads: int, say: Callable[[str], None]
) -> dict[str, Fidelity]:
    """Write both folders, compared on `texts`; returns the figures of each.

    Raises: ExportError, also when a cosine is under its margin; then nothing is at `out`.
    """
    refuse_existing(out)
    if len(texts) < 2:
        raise ExportError(f"{len(texts)} texts to compare on; give at least two")
    model = _open(folder)
    with written_aside(out) as aside:
        for precision in LOWEST_COSINE:
            (aside / precision).mkdir(parents=True)
            shutil.copy2(folder / TOKENIZER, aside / precision / TOKENIZER)
        say("writing the graphs")
        _write_fp32(model, aside / FP32 / MODEL)
        write_int8_weights(aside / FP32 / MODEL, aside / INT8 / MODEL)
        say(f"embedding {len(texts)} texts three times")
        wanted = model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        longest = _longest(model)
        found = {
            precision: fidelity(embed(aside / precision, longest, texts, threads), wanted)
            for precision in LOWEST_COSINE
        }
        for precision, figures in found.items():
            refuse_outside(precision, figures)
            _write_report(folder, model, aside / precision, len(texts), figures)
    return found


def refuse_outside(precision: str, found: Fidelity) -> None:
    """Raises: ExportError when the lowest cosine is under the margin."""
    if not found.lowest_cosine >= LOWEST_COSINE[precision]:  # so that NaN is outside
        raise ExportError(
            f"{precision}: a vector has the cosine {found.lowest_cosine:.4f} to that of "
            f"sentence-transformers, less than {LOWEST_COSINE[precision]}: not written"
        )


def caption_texts() -> list[str]:
    """What the clinic looks up: findings, significance and whole captions of every label."""
    captions = [row.caption for row in label_table()]
    return [
        text
        for caption in captions
        for text in (
            caption.key_findings,
            caption.clinical_significance,
            f"{caption.label}, {caption.image_type}, {caption.anatomical_region}: "
            f"{caption.key_findings}. {caption.clinical_significance}",
        )
    ]


def read_texts(file: Path) -> list[str]:
    """The lines of a file that are not empty. Raises: ExportError."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as exc:
        raise ExportError(f"{file}: no text can be read ({exc}); give UTF-8 lines") from exc
    return [line.strip() for line in lines if line.strip()]


def embed(folder: Path, longest: int, texts: Sequence[str], threads: int) -> NDArray[np.float32]:
    """Unit vectors of the model in `folder`, (texts, dimension), one text a run."""
    from tokenizers import Tokenizer

    session = open_session(folder / MODEL, threads)
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    wanted = {each.name for each in session.get_inputs()}
    rows = []
    for text in texts:
        ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        feed = dict(zip(INPUTS, (ids, np.ones_like(ids), np.zeros_like(ids)), strict=True))
        hidden = session.run([HIDDEN], {name: feed[name] for name in wanted})[0]
        rows.append(hidden[0].mean(0))
    vectors = np.stack(rows)
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def fidelity(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> Fidelity:
    """Both (texts, dimension), of length one."""
    cosines = (found * wanted).sum(1)
    return Fidelity(
        lowest_cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
        same_nearest=float(np.mean(_nearest(found) == _nearest(wanted))),
    )


def _nearest(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Of each vector, the place of the nearest other one."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    nearest: NDArray[np.int64] = cosines.argmax(1)
    return nearest


def _open(folder: Path) -> Any:
    """The model at float32. Raises: ExportError when it is not of the plain kind."""
    import torch
    from transformers.utils import logging

    weight_files(folder)  # refuses pickles
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        kinds = [str(module["type"]) for module in modules]
    except (OSError, ValueError, LookupError, TypeError) as exc:
        raise ExportError(
            f"{folder}: no sentence-transformers model ({exc}); save it with sentence-transformers"
        ) from exc
    names = tuple(kind.rpartition(".")[2] for kind in kinds)
    own = all(kind.startswith("sentence_transformers.") for kind in kinds)
    if not own or names not in (MODULES, MODULES[:2]):
        raise ExportError(
            f"{folder}: made of {', '.join(kinds)}; "
            "only a transformer with mean pooling is exported"
        )
    if not (folder / TOKENIZER).is_file():
        raise ExportError(f"{folder}: no {TOKENIZER}; save its fast tokenizer there")
    from sentence_transformers import SentenceTransformer

    logging.disable_progress_bar()
    try:
        model = SentenceTransformer(
            str(folder),
            device="cpu",
            local_files_only=True,
            model_kwargs={"attn_implementation": "eager", "dtype": torch.float32},
        )
    except Exception as exc:  # the loaders' errors share no base class
        raise ExportError(f"{folder}: cannot be loaded ({exc}); copy it again") from exc
    pooling: Any = model[1]
    if pooling.pooling_mode != "mean" or not pooling.include_prompt:
        raise ExportError(
            f"{folder}: pools by {pooling.pooling_mode}"
            + ("" if pooling.include_prompt else " without the prefix")
            + "; only the mean over all tokens is exported"
        )
    if others := set(model.tokenizer.model_input_names) - set(INPUTS):
        raise ExportError(f"{folder}: asks for {', '.join(sorted(others))}, which no index gives")
    return model


def _write_fp32(model: Any, file: Path) -> None:
    """Raises: OSError."""
    import torch

    names = list(model.tokenizer.model_input_names)
    transformer = model[0].auto_model

    class Hidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer = transformer

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            given = dict(zip(names, inputs, strict=True))
            hidden: torch.Tensor = self.transformer(**given).last_hidden_state
            return hidden

    tokens = model.tokenizer(["two texts", "of unequal length"], padding=True, return_tensors="pt")
    write_graph(
        Hidden().eval(),
        {name: tokens[name] for name in names},
        HIDDEN,
        {name: {0: "texts", 1: "tokens"} for name in (*names, HIDDEN)},
        file,
    )


def write_int8_weights(file: Path, out: Path) -> None:
    """The graph in `file` with matrices and embedding tables stored at int8.

    One scale a column of a matrix and a row of a table; the session that loads them computes in
    float32. Raises: OSError.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(file)
    graph = model.graph
    stored = {weight.name: weight for weight in graph.initializer}
    restored = []
    for node in graph.node:
        if node.op_type not in SCALED_AXIS:
            continue
        axis = SCALED_AXIS[node.op_type]
        weight = stored.get(node.input[axis])
        if weight is None or len(weight.dims) != 2 or weight.data_type != onnx.TensorProto.FLOAT:
            continue
        del stored[weight.name]
        values = numpy_helper.to_array(weight)
        largest = np.abs(values).max(1 - axis)
        scale = np.where(largest > 0, largest, 1) / 127
        rounded = np.rint(values / np.expand_dims(scale, 1 - axis)).astype(np.int8)
        parts = (f"{weight.name}.int8", f"{weight.name}.scale")
        graph.initializer.extend(
            [
                numpy_helper.from_array(rounded, parts[0]),
                numpy_helper.from_array(scale.astype(np.float32), parts[1]),
            ]
        )
        restored.append(helper.make_node("DequantizeLinear", parts, [weight.name], axis=axis))
    names = {node.output[0] for node in restored}
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name in names:
            del graph.initializer[place]
    for node in reversed(restored):
        graph.node.insert(0, node)
    onnx.save_model(model, out)


def _longest(model: Any) -> int:
    return int(model.max_seq_length or model[0].auto_model.config.max_position_embeddings)


def _write_report(folder: Path, model: Any, out: Path, texts: int, found: Fidelity) -> None:
    report = {
        "format": FORMAT,
        "model_sha256": weights_hash(folder),
        "dimension": model.get_embedding_dimension(),
        "longest_input_tokens": _longest(model),
        "pooling": "mean",
        "length_one": True,
        "prefixes": {kind: prefix for kind, prefix in model.prompts.items() if prefix},
        "files": files_in(out),
        "agreement": {
            "with": "sentence-transformers, float32",
            "texts": texts,
            **asdict(found),
            "margin": {"lowest_cosine": LOWEST_COSINE[out.name]},
        },
        "made_with": made_with("sentence-transformers"),
    }
    write_json(out / REPORT, report)
