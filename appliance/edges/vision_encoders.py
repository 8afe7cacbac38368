"""From pixels to soft tokens: llama.cpp's ggml and ONNX Runtime, behind one call.

Runs only inside `llama_child`. Both give what the decoder's first layer takes, row by row from the
picture's upper left; text embeddings are scaled by the root of the width, soft tokens are not.
"""

import ctypes
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import mtmd_cpp
from numpy.typing import NDArray

from appliance.edges.llama_decoder import EngineError, discard_log, made
from appliance.release.box import EXACT_INT8, has_vnni

Encode = Callable[[bytes], NDArray[np.float32]]
"""RGB bytes, N x N x 3, to soft tokens, (tokens, text width). Raises: EngineError."""


def ggml_encoder(projector: str, model: Any, image_size: int, threads: int) -> Encode:
    """The mmproj file beside a loaded llama.cpp model. Raises: EngineError."""
    mtmd_cpp.mtmd_log_set(discard_log, ctypes.c_void_p(0))
    mtmd_cpp.mtmd_helper_log_set(discard_log, ctypes.c_void_p(0))
    params = mtmd_cpp.mtmd_context_params_default()
    params.use_gpu = True
    params.print_timings = False
    params.n_threads = threads
    params.warmup = False
    vision = made(
        mtmd_cpp.mtmd_init_from_file(os.fsencode(projector), model, params),
        "load the projector file (does it belong to this model?)",
    )
    width = llama_cpp.llama_model_n_embd(model)

    def encode(rgb: bytes) -> NDArray[np.float32]:
        pixels = (ctypes.c_uint8 * len(rgb)).from_buffer_copy(rgb)
        bitmap = made(mtmd_cpp.mtmd_bitmap_init(image_size, image_size, pixels), "take the picture")
        chunks = mtmd_cpp.mtmd_input_chunks_init()
        try:
            marker = mtmd_cpp.mtmd_default_marker()
            text = mtmd_cpp.mtmd_input_text(marker, len(marker or b""), False, True)
            bitmaps = (mtmd_cpp.mtmd_bitmap_p_ctypes * 1)(bitmap)
            if mtmd_cpp.mtmd_tokenize(vision, chunks, ctypes.byref(text), bitmaps, 1):
                raise EngineError("cannot take the picture (mtmd_tokenize)")
            chunk = _image_chunk(chunks)
            if status := mtmd_cpp.mtmd_encode_chunk(vision, chunk):
                raise EngineError(f"encoding the image failed ({status})")
            shape = (mtmd_cpp.mtmd_input_chunk_get_n_tokens(chunk), width)
            return np.ctypeslib.as_array(mtmd_cpp.mtmd_get_output_embd(vision), shape).copy()
        finally:
            mtmd_cpp.mtmd_input_chunks_free(chunks)
            mtmd_cpp.mtmd_bitmap_free(bitmap)

    return encode


def _image_chunk(chunks: Any) -> Any:
    for index in range(mtmd_cpp.mtmd_input_chunks_size(chunks)):
        chunk = mtmd_cpp.mtmd_input_chunks_get(chunks, index)
        if mtmd_cpp.mtmd_input_chunk_get_type(chunk) == mtmd_cpp.MTMD_INPUT_CHUNK_TYPE_IMAGE:
            return chunk
    raise EngineError("the projector makes no image of the picture")


def onnx_encoder(file: str, report: str, image_size: int, threads: int) -> Encode:
    """A file that `python -m export onnx` wrote, and its report. Raises: EngineError."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # from 1.29 on it reports each run to its maker
    import onnxruntime

    said = json.loads(Path(report).read_text(encoding="utf-8"))
    taken, given = said["input"], said["output"]
    mean, std = (np.array(taken[key], np.float32) for key in ("image_mean", "image_std"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.enable_mem_pattern = False  # 0.3 GB held over the weights for MedGemma, not 3 GB
    # Threads that wait by spinning take the other core from whoever works there.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not has_vnni():
        options.add_session_config_entry(EXACT_INT8, "1")
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # it has no error class of its own
        raise EngineError(f"cannot load the vision encoder ({type(exc).__name__})") from exc
    name = taken["name"]

    def encode(rgb: bytes) -> NDArray[np.float32]:
        square = np.frombuffer(rgb, np.uint8).reshape(image_size, image_size, 3)
        scaled = (square.astype(np.float32) / 255 - mean) / std
        pixels = np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])
        found: NDArray[np.float32] = session.run([given["name"]], {name: pixels})[0][0]
        return found

    return encode
