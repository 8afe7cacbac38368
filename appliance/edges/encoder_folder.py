"""A picture and a text encoder that share a space already, from a local folder, as ONNX.

BiomedCLIP, MedSigLIP and their like, in the layout that ONNX forms of such models are passed on in:

    vision_model.onnx        takes `pixel_values`; gives `image_embeds`, or else `pooler_output`
    text_model.onnx          takes `input_ids`; gives `text_embeds`, or else `pooler_output`
    tokenizer.json
    config.json              `model_type`, and how long a text may be
    preprocessor_config.json side of the picture, mean and spread of its colours

The first two may lie in a folder `onnx` beside the rest. Pictures come squashed to a square, as
everywhere here; an encoder trained on their middle sees a little more than it did.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from appliance.core.atlas import TowerId, Vector, refusal_of
from appliance.core.gate import UNFITTED, Refusal
from appliance.core.ports import Picture
from appliance.errors import AtlasError

VISION, TEXT = "vision_model.onnx", "text_model.onnx"
TOKENIZER, CONFIG, PREPROCESSOR = "tokenizer.json", "config.json", "preprocessor_config.json"
THREADS = 2
MOST_TOKENS = 256
"""Of a model that allows more: what BiomedCLIP was trained with (arXiv:2303.00915, section 3)."""
HINT = "give the folder of an ONNX picture and text encoder, whole; see the README"
EMBEDS = ("image_embeds", "text_embeds", "pooler_output")

Floats = NDArray[np.float32]


class EncoderFolder:
    """Its files are read and hashed at once; each encoder starts at its first use."""

    def __init__(self, folder: Path) -> None:
        """Raises: AtlasError."""
        self._folder = folder
        inner = folder / "onnx" if (folder / "onnx" / VISION).is_file() else folder
        self._vision_file, self._text_file = inner / VISION, inner / TEXT
        names = [
            inner / VISION,
            inner / TEXT,
            *(folder / n for n in (TOKENIZER, CONFIG, PREPROCESSOR)),
        ]
        names += [path for path in sorted(inner.glob("*.onnx*data")) if path.is_file()]
        digest = hashlib.sha256()
        try:
            for path in names:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            taken = json.loads((folder / PREPROCESSOR).read_text(encoding="utf-8"))
            self._read_settings(config, taken)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise AtlasError(f"no encoder can be read ({exc}): {folder}", HINT) from exc
        sha256 = digest.hexdigest()
        self.identity = TowerId("folder", folder.resolve().name, sha256, sha256, self._side)
        self._vision: Any = None
        self._text: tuple[Any, Any] | None = None

    def picture_features(self, picture: Picture) -> Vector:
        """A unit vector. Raises: AtlasError."""
        self._vision = self._vision or _session(self._vision_file)
        image = Image.frombytes("RGB", (picture.size, picture.size), picture.rgb)
        if picture.size != self._side:
            image = image.resize((self._side, self._side), Image.Resampling.BILINEAR)
        scaled = (np.asarray(image, np.float32) * self._rescale - self._mean) / self._std
        pixels = np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)
        return _embedded(self._vision, {"pixel_values": pixels})

    def text_features(self, text: str) -> Vector:
        """A unit vector. Raises: AtlasError."""
        if self._text is None:
            self._text = _session(self._text_file), self._tokenizer()
        session, tokenizer = self._text
        encoding = tokenizer.encode(text)
        return _embedded(
            session,
            {
                "input_ids": np.array([encoding.ids], np.int64),
                "attention_mask": np.array([encoding.attention_mask], np.int64),
                "token_type_ids": np.zeros((1, len(encoding.ids)), np.int64),
            },
        )

    def refusal(self, picture: Picture, features: Vector) -> Refusal | None:
        return refusal_of(UNFITTED, picture, None)

    def _read_settings(self, config: dict[str, Any], taken: dict[str, Any]) -> None:
        size = taken["size"]
        sides = size if isinstance(size, dict) else {"height": size}
        self._side = int(sides.get("height") or sides["shortest_edge"])
        self._mean, self._std = (
            np.array(taken[key], np.float32).reshape(3) for key in ("image_mean", "image_std")
        )
        self._rescale = float(taken.get("rescale_factor", 1 / 255))
        text = config.get("text_config", {})
        self._most_tokens = min(MOST_TOKENS, int(text.get("max_position_embeddings", 77)))
        # SigLIP reads the last place of a text of full length (transformers, SiglipTextModel).
        self._is_padded = str(config["model_type"]).startswith("siglip")
        if not 16 <= self._side <= 2048 or (self._std <= 0).any():
            raise ValueError("its picture settings are out of range")

    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer  # native; only texts need it

        try:
            tokenizer = Tokenizer.from_file(str(self._folder / TOKENIZER))
        except Exception as exc:  # tokenizers raises a bare Exception
            raise AtlasError(f"the tokenizer is damaged: {self._folder}", HINT) from exc
        padding = tokenizer.padding or {}
        tokenizer.no_padding()
        tokenizer.enable_truncation(self._most_tokens)
        if self._is_padded:
            token = padding.get("pad_token") or "</s>"
            number = padding.get("pad_id", tokenizer.token_to_id(token) or 0)
            tokenizer.enable_padding(length=self._most_tokens, pad_id=number, pad_token=token)
        return tokenizer


def _session(file: Path) -> Any:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # from 1.29 on it reports each run to its maker
    import onnxruntime  # a tenth of a second; only an open atlas needs it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # it has no error class of its own
        raise AtlasError(f"the encoder cannot be loaded: {file}", HINT) from exc


def _embedded(session: Any, feed: dict[str, NDArray[Any]]) -> Sequence[float]:
    wanted = {each.name for each in session.get_inputs()}
    given = [each.name for each in session.get_outputs()]
    name = next((name for name in EMBEDS if name in given), None)
    if name is None or not wanted <= set(feed):
        raise AtlasError(f"the encoder takes {sorted(wanted)} and gives {given}", HINT)
    try:
        row: Floats = session.run([name], {key: feed[key] for key in wanted})[0][0]
    except Exception as exc:  # as above
        raise AtlasError(f"the encoder failed ({type(exc).__name__})", HINT) from exc
    found: list[float] = (row / np.linalg.norm(row)).astype(np.float32).tolist()
    return found
