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
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.edges.llama_decoder import Decoder
from appliance.edges.vision_encoders import ggml_encoder
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
from tests.benchmarks.model_4b import weights
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
    ggml_side = ggml(options.folder, size)
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
        write_folder(partial, TOWER_4B, weights)
        partial.rename(folder)
    return folder


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


def ggml(folder: Path, size: int) -> Callable[[Picture], tuple[Tokens, float]]:
    """The clinic's own call of llama.cpp's encoder."""
    decoder = Decoder(str(folder / "model.gguf"), threads=1, sequences=1)
    encode = ggml_encoder(str(folder / "mmproj.gguf"), decoder.model, size, threads=1)

    def run(rgb: Picture) -> tuple[Tokens, float]:
        started = time.process_time()
        tokens = encode(rgb.tobytes())
        return tokens, time.process_time() - started

    return run


if __name__ == "__main__":
    main()
