"""Embedder folders: made of a sentence-transformers model that brings its ONNX graph, and checked.

A model without a graph is first written as ONNX on a workstation (`python -m export embedder`),
whose folders need no `build`. It owns what a folder must hold; how texts are embedded is not its.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpg_store.embed import CARD, MODEL, TOKENIZER, Embedder
from cpg_store.errors import EmbedderMissing

_GRAPHS = ("onnx/model_quantized.onnx", "onnx/model.onnx", "model.onnx")
"""Where sentence-transformers and the hub keep a graph, the smallest first."""
_KINDS = (["Transformer", "Pooling", "Normalize"], ["Transformer", "Pooling"])
_LONGEST = 512
_NEAR = ("itchy burrows between the fingers", "scratching at night, tunnels in the finger webs")
_FAR = "the committee met on Tuesday to approve the budget"


@dataclass(frozen=True)
class CheckedEmbedder:
    """What is known of an embedder that works."""

    sha256: str
    """Its identity, as the manifest of an index names it."""
    dimensions: int
    max_tokens: int
    question_prefix: str
    passage_prefix: str


def build_embedder(folder: Path, out: Path) -> CheckedEmbedder:
    """Write model.onnx, tokenizer.json and embedder.json of the model in `folder` to `out`.

    The prefixes come from its `prompts` (config_sentence_transformers.json), as models of the E5
    kind have them. Raises: EmbedderMissing; then nothing is at `out`.
    """
    if out.exists():
        raise EmbedderMissing(f"it exists already: {out}", "give a folder that does not exist")
    graph = next((folder / name for name in _GRAPHS if (folder / name).is_file()), None)
    if graph is None:
        hint = "write it as ONNX on a workstation: `python -m export embedder FOLDER OUT`"
        raise EmbedderMissing(f"the model has no ONNX graph: {folder}", hint)
    if list(graph.parent.glob(f"{graph.name}_data")):
        hint = "save the graph in one file"
        raise EmbedderMissing(f"the graph keeps its weights in another file: {graph}", hint)
    card = _card(folder)
    aside = out.with_name(f"{out.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        shutil.copyfile(graph, aside / MODEL)
        shutil.copyfile(folder / TOKENIZER, aside / TOKENIZER)
        files = {name: {"sha256": _sha256(aside / name)} for name in (MODEL, TOKENIZER)}
        (aside / CARD).write_text(json.dumps({**card, "files": files}, indent=2) + "\n")
        checked = check_embedder(aside)
        aside.rename(out)
    except OSError as exc:
        hint = "copy the model again, and check the disk"
        raise EmbedderMissing(f"the embedder cannot be made ({exc}): {out}", hint) from exc
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return checked


def check_embedder(folder: Path) -> CheckedEmbedder:
    """Open the embedder in `folder` and embed with it.

    Raises: EmbedderMissing when a file is not the one its card names, or the vectors are no use.
    """
    _refuse_other_files(folder)
    embedder = Embedder.from_folder(folder)
    try:
        vectors = embedder.embed([*_NEAR, _FAR])
    except EmbedderMissing:
        raise
    except Exception as exc:  # onnxruntime's own errors share no base class
        raise EmbedderMissing(f"the embedder does not run ({exc}): {folder}", _OTHER) from exc
    if vectors.ndim != 2 or not (abs((vectors**2).sum(axis=1) - 1) < 1e-3).all():
        raise EmbedderMissing(f"its vectors have not the length one: {folder}", _OTHER)
    if not vectors[0] @ vectors[1] > vectors[0] @ vectors[2]:
        raise EmbedderMissing(f"texts of one meaning are not the nearer ones: {folder}", _OTHER)
    recipe = embedder.recipe
    return CheckedEmbedder(
        embedder.identity,
        vectors.shape[1],
        recipe.max_tokens,
        recipe.question_prefix,
        recipe.passage_prefix,
    )


_OTHER = "take another model, or build the folder again"


def _card(folder: Path) -> dict[str, Any]:
    """What embedder.json says. Raises: EmbedderMissing when it is not of the plain kind."""
    modules = _read(folder / "modules.json")
    try:
        kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
        pooling = (
            _read(folder / str(modules[1]["path"]) / "config.json") if len(modules) > 1 else {}
        )
    except (LookupError, TypeError) as exc:
        raise EmbedderMissing(f"no sentence-transformers model: {folder}", _OTHER) from exc
    mean = pooling.get("pooling_mode") == "mean" or pooling.get("pooling_mode_mean_tokens") is True
    if kinds not in _KINDS or not mean or pooling.get("include_prompt", True) is not True:
        hint = "take a model of one transformer with mean pooling over all its tokens"
        raise EmbedderMissing(f"a model of {', '.join(kinds)} is not opened: {folder}", hint)
    limits = _read(folder / "sentence_bert_config.json", {})
    prompts = _read(folder / "config_sentence_transformers.json", {}).get("prompts") or {}
    return {
        "format": 1,
        "longest_input_tokens": int(limits.get("max_seq_length") or _LONGEST),
        "pooling": "mean",
        "length_one": True,
        "prefixes": {str(kind): str(prefix) for kind, prefix in prompts.items() if prefix},
    }


def _refuse_other_files(folder: Path) -> None:
    """Raises: EmbedderMissing when a file is not the one that the card, if any, names."""
    files = _read(folder / CARD, {}).get("files") or {}
    for name, stated in files.items():
        if Path(name).name != name or not isinstance(stated, dict):
            raise EmbedderMissing(f"the embedder's card is damaged: {folder / CARD}", _OTHER)
        if (folder / name).is_file() and _sha256(folder / name) != stated.get("sha256"):
            hint = "copy the folder again"
            raise EmbedderMissing(f"it is not the file its card names: {folder / name}", hint)


def _read(file: Path, absent: Any = None) -> Any:
    if absent is not None and not file.exists():
        return absent
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise EmbedderMissing(f"it cannot be read ({exc}): {file}", "copy the model again") from exc


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
