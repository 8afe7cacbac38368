"""What a caption must cost on this machine, whoever computes it, and how near we are.

    python -m tests.benchmarks.machine_floor [--release DIR] [--threads 2]
        [--encode-s S] [--prefill-s S] [--decode-s S --tokens N]

A token reads every weight of the decoder once: bytes over the rate at which the threads together
read memory. The encoder and the prompt multiply matrices: operations over the rate of float32
products by numpy's BLAS, in the shape of MedGemma's tower; integer products are quicker. Every
thread is a process of its own and counts its processor's seconds, so that other work on the
machine does not count; rates are the best of the runs. The seconds given are those that
`caption_engine` printed.
"""

import argparse
import os
from collections.abc import Callable
from math import prod
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from time import process_time

from appliance.release.gguf_header import GgufHeader, read_gguf_header
from appliance.release.manifest import read_release
from appliance.release.shelf import BUILT_IN

RUNS = 8
READ_BYTES = 512 << 20
"""By each thread: many times any cache."""
PRODUCT = (4096, 1152, 4304)
"""Patches, width, width of the feed-forward layers."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--release", type=Path, default=BUILT_IN)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--encode-s", type=float)
    parser.add_argument("--prefill-s", type=float)
    parser.add_argument("--decode-s", type=float)
    parser.add_argument("--tokens", type=int, help="written in --decode-s, forced ones too")
    parser.add_argument("--prompt-tokens", type=int, default=360, help="read in --prefill-s")
    options = parser.parse_args()
    release = read_release(options.release)
    decoder, tower = read_gguf_header(release.model), read_gguf_header(release.projector)
    read_rate, product_rate = rates(options.threads)
    print(
        f"{release.name}, {options.threads} threads: memory read at {read_rate / 1e9:.1f} GB/s, "
        f"float32 products at {product_rate / 1e9:.0f} GFLOP/s"
    )
    weights = sum(tensor.size_bytes for tensor in decoder.tensors.values())
    encoding = encoder_operations(tower)
    reading = 2 * options.prompt_tokens * matrix_values(decoder)
    report("a token", f"{weights / 1e6:.0f} MB", weights / read_rate, per_token(options))
    report("encode", f"{encoding / 1e9:.0f} GFLOP", encoding / product_rate, options.encode_s)
    report("prefill", f"{reading / 1e9:.0f} GFLOP", reading / product_rate, options.prefill_s)


def per_token(options: argparse.Namespace) -> float | None:
    if options.decode_s is None or not options.tokens:
        return None
    seconds: float = options.decode_s / options.tokens
    return seconds


def report(what: str, amount: str, floor_s: float, found_s: float | None) -> None:
    near = f"; found {found_s:.4f} s, {found_s / floor_s:.2f} times it" if found_s else ""
    print(f"{what:<8} {amount:>12}, at least {floor_s:.4f} s{near}")


def matrix_values(decoder: GgufHeader) -> int:
    """Of the matrices that every token of a prompt is multiplied by: not the embedding's, which
    only the last one meets."""
    return sum(
        prod(tensor.shape)
        for name, tensor in decoder.tensors.items()
        if len(tensor.shape) > 1 and name not in ("token_embd.weight", "output.weight")
    )


def encoder_operations(tower: GgufHeader) -> int:
    """Multiplications and additions from patches to soft tokens' width."""
    size, patch, width, ffn, layers = (
        tower.whole(f"clip.vision.{key}") or 0
        for key in (
            "image_size",
            "patch_size",
            "embedding_length",
            "feed_forward_length",
            "block_count",
        )
    )
    patches = (size // patch) ** 2
    projections = 4 * 2 * patches * width**2
    attention = 2 * 2 * patches**2 * width
    feed_forward = 2 * 2 * patches * width * ffn
    embedding = 2 * patches * width * 3 * patch**2
    return layers * (projections + attention + feed_forward) + embedding


def rates(threads: int) -> tuple[float, float]:
    """Bytes read and operations done in a second by all threads at once."""
    context = get_context("spawn")
    pipes = [context.Pipe() for _ in range(threads)]
    children = [context.Process(target=measure, args=(theirs,)) for _, theirs in pipes]
    for child in children:
        child.start()
    found = [ours.recv() for ours, _ in pipes]
    for child in children:
        child.join()
    return sum(read for read, _ in found), sum(done for _, done in found)


def measure(pipe: Connection) -> None:
    """Sends the rates of one thread. Memory is read by the product of a large matrix with a vector
    that stays in the cache."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import numpy as np  # after the number of threads is said

    rows = READ_BYTES // 4 // PRODUCT[0]
    large, vector = np.ones((rows, PRODUCT[0]), np.float32), np.ones(PRODUCT[0], np.float32)
    left, right = (np.ones(shape, np.float32) for shape in (PRODUCT[:2], PRODUCT[1:]))
    read_s, done_s = (
        min(seconds(work) for _ in range(RUNS))
        for work in (lambda: large @ vector, lambda: left @ right)
    )
    pipe.send((READ_BYTES / read_s, 2 * prod(PRODUCT) / done_s))


def seconds(work: Callable[[], object]) -> float:
    began_s = process_time()
    work()
    return process_time() - began_s


if __name__ == "__main__":
    main()
