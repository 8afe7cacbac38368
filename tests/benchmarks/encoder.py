"""Time and error of the vision encoder: llama.cpp's ggml, torch, ONNX at float32 and at int8.

    python -m tests.benchmarks.encoder --folder DIR --model MODEL [--data DIR] [--images 5]
    python -m tests.benchmarks.encoder --folder DIR --geometry 4b --images 1 --runs 1

Writes what is missing into DIR (for `4b` a checkpoint of random weights with MedGemma's tower and
one decoder layer, 1 GB, and 4 GB of files made of it), then encodes the same pictures with all four
on one thread each, turn about. Seconds are those of the processor, so that other work on the
machine does not count. The error of an image is the norm of the difference to torch's soft tokens
over their norm. Pictures are test images of --data, or noise.
"""

import argparse
import ctypes
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.release.manifest import ENCODER, ENCODER_INT8
from export.checkpoint import Checkpoint, read_checkpoint
from export.onnx_encoder import (
    Encode,
    as_pixels,
    load_tower,
    onnx_encoder,
    relative_error,
    torch_encoder,
    write_graphs,
)
from export.text_gguf import write_text_gguf
from export.vision_gguf import write_vision_gguf
from tests.export.published import MEDGEMMA_4B, write_folder
from training.evaluation.questions import read_questions

TOWER_4B = replace(
    MEDGEMMA_4B, text={**MEDGEMMA_4B.text, "num_hidden_layers": 1, "vocab_size": 1216}
)
Picture = NDArray[np.uint8]
Tokens = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", type=Path, help="a merged model's folder")
    source.add_argument("--geometry", choices=["4b"], help="random weights of this size")
    parser.add_argument("--data", type=Path, help="folder with the three data sets")
    parser.add_argument("--images", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    checkpoint = read_checkpoint(options.model or random_model(options.folder / "4b"))
    tower = load_tower(checkpoint)
    with_files(checkpoint, tower, options.folder)
    size = checkpoint.vision["image_size"]
    pictures = list(read_pictures(options.data, options.images, size))
    torch_side = torch_encoder(tower)
    wanted = [torch_side(as_pixels(rgb))[0] for rgb in pictures]
    ggml_side = ggml(options.folder, (checkpoint.image_tokens, checkpoint.text["hidden_size"]))
    sides: dict[str, Callable[[Picture], tuple[Tokens, float]]] = {
        "ggml, mmproj F16": ggml_side,
        "torch float32": timed(torch_side),
        "ONNX float32": timed(onnx_encoder(options.folder / ENCODER, threads=1)),
        "ONNX int8": timed(onnx_encoder(options.folder / ENCODER_INT8, threads=1)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    errors: dict[str, list[float]] = {name: [] for name in sides}
    for run in range(options.runs):
        for rgb, reference in zip(pictures, wanted, strict=True):
            for name, encode in sides.items():
                tokens, elapsed_s = encode(rgb)
                seconds[name].append(elapsed_s)
                if run == 0:
                    errors[name].append(float(relative_error(tokens[None], reference[None])[0]))
    slowest = statistics.median(seconds["ggml, mmproj F16"])
    print(f"{len(pictures)} pictures of {size} x {size}, {options.runs} runs, one thread")
    print(
        f"{'encoder':<17} {'median s':>9} {'best s':>9} {'ratio':>6} {'mean error':>11} {'most':>9}"
    )
    for name in sides:
        median = statistics.median(seconds[name])
        print(
            f"{name:<17} {median:9.4f} {min(seconds[name]):9.4f} {median / slowest:6.2f} "
            f"{statistics.mean(errors[name]):11.2e} {max(errors[name]):9.2e}"
        )


def random_model(folder: Path) -> Path:
    """Written once."""
    if not folder.exists():
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        write_folder(partial, TOWER_4B, initial_weights)
        partial.rename(folder)
    return folder


def initial_weights(name: str, shape: tuple[int, ...]) -> Iterator[bytes]:
    """As a layer begins its training: norms that change nothing, matrices that keep the spread."""
    rng = np.random.default_rng(abs(hash(shape)))
    if name.endswith(".bias"):
        values = np.zeros(shape, dtype=np.float32)
    elif "norm" in name:  # Gemma's own add one themselves
        values = np.full(shape, "vision_tower" in name, dtype=np.float32)
    else:
        fan_in = int(np.prod(shape[1:])) if "mm_input" not in name else shape[0]
        values = rng.standard_normal(shape, dtype=np.float32) / np.float32(fan_in**0.5)
    yield (values.view(np.uint32) >> 16).astype("<u2").tobytes()


def with_files(checkpoint: Checkpoint, tower: Any, folder: Path) -> None:
    """The GGUF pair and both ONNX files, unless they are there."""
    if not (folder / "model.gguf").exists():
        write_vision_gguf(checkpoint, folder / "mmproj.gguf", "encoder")
        write_text_gguf(checkpoint, folder / "model.gguf", "encoder")
    if not (folder / ENCODER_INT8).exists():
        (folder / ENCODER).unlink(missing_ok=True)
        write_graphs(checkpoint, tower, folder)


def read_pictures(data: Path | None, count: int, size: int) -> Iterator[Picture]:
    if data is None:
        rng = np.random.default_rng(0)
        for _ in range(count):
            yield rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        return
    questions = read_questions(data, "test", count)
    for question in questions[:: max(1, len(questions) // count)][:count]:
        yield question.square(size)


def timed(encode: Encode) -> Callable[[Picture], tuple[Tokens, float]]:
    def run(rgb: Picture) -> tuple[Tokens, float]:
        pixels = as_pixels(rgb)
        started = time.process_time()
        tokens = encode(pixels)
        return tokens[0], time.process_time() - started

    return run


@ctypes.CFUNCTYPE(  # type: ignore[untyped-decorator]
    None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p
)
def discard_log(level: int, text: bytes, user_data: Any) -> None:
    """llama.cpp's own log would go between the lines of the table."""


def ggml(folder: Path, shape: tuple[int, int]) -> Callable[[Picture], tuple[Tokens, float]]:
    """llama.cpp's encoder: mtmd_encode_chunk, the picture already cut and scaled."""
    import llama_cpp
    from llama_cpp import mtmd_cpp

    for quieten in (llama_cpp.llama_log_set, mtmd_cpp.mtmd_log_set, mtmd_cpp.mtmd_helper_log_set):
        quieten(discard_log, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(
        os.fsencode(folder / "model.gguf"), llama_cpp.llama_model_default_params()
    )
    params = mtmd_cpp.mtmd_context_params_default()
    params.use_gpu = False
    params.print_timings = False
    params.n_threads = 1
    params.warmup = False
    assert model
    vision = mtmd_cpp.mtmd_init_from_file(os.fsencode(folder / "mmproj.gguf"), model, params)
    assert vision

    def run(rgb: Picture) -> tuple[Tokens, float]:
        pixels = (ctypes.c_uint8 * rgb.size).from_buffer_copy(rgb.tobytes())
        bitmap = mtmd_cpp.mtmd_bitmap_init(rgb.shape[1], rgb.shape[0], pixels)
        marker = mtmd_cpp.mtmd_default_marker()
        text = mtmd_cpp.mtmd_input_text(marker, len(marker or b""), False, True)
        chunks = mtmd_cpp.mtmd_input_chunks_init()
        bitmaps = (mtmd_cpp.mtmd_bitmap_p_ctypes * 1)(bitmap)
        assert not mtmd_cpp.mtmd_tokenize(vision, chunks, ctypes.byref(text), bitmaps, 1)
        found = [
            mtmd_cpp.mtmd_input_chunks_get(chunks, place)
            for place in range(mtmd_cpp.mtmd_input_chunks_size(chunks))
        ]
        image = mtmd_cpp.MTMD_INPUT_CHUNK_TYPE_IMAGE
        (chunk,) = (one for one in found if mtmd_cpp.mtmd_input_chunk_get_type(one) == image)
        assert mtmd_cpp.mtmd_input_chunk_get_n_tokens(chunk) == shape[0]
        started = time.process_time()
        assert not mtmd_cpp.mtmd_encode_chunk(vision, chunk)
        elapsed_s = time.process_time() - started
        tokens = np.ctypeslib.as_array(mtmd_cpp.mtmd_get_output_embd(vision), shape).copy()
        mtmd_cpp.mtmd_input_chunks_free(chunks)
        mtmd_cpp.mtmd_bitmap_free(bitmap)
        return tokens, elapsed_s

    return run


if __name__ == "__main__":
    main()
