"""What a caption must cost on this machine, whoever computes it, and how near we are.

    python -m tests.benchmarks.machine_floor [--release DIR] [--threads 2]
        [--encode-s S] [--encode-int8-s S] [--prefill-s S] [--decode-s S --tokens N]

A token reads every weight of the decoder once: bytes over the rate at which the threads together
read memory. The encoder and the prompt multiply matrices: operations over the rate of onnxruntime's
products in the shape of MedGemma's tower, at float32 (a third quicker here than numpy's BLAS) and
of eight bits, which the prompt's weights and the int8 encoder's are; its attention is not. Every
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
from typing import Any

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
    parser.add_argument("--encode-int8-s", type=float)
    parser.add_argument("--prefill-s", type=float)
    parser.add_argument("--decode-s", type=float)
    parser.add_argument("--tokens", type=int, help="written in --decode-s, forced ones too")
    parser.add_argument("--prompt-tokens", type=int, default=360, help="read in --prefill-s")
    options = parser.parse_args()
    release = read_release(options.release)
    decoder, tower = read_gguf_header(release.model), read_gguf_header(release.projector)
    read_rate, float_rate, int8_rate = rates(options.threads)
    print(
        f"{release.name}, {options.threads} threads: memory read at {read_rate / 1e9:.1f} GB/s, "
        f"products of float32 at {float_rate / 1e9:.0f}, of eight bits at {int8_rate / 1e9:.0f} "
        "GFLOP/s"
    )
    weights = sum(tensor.size_bytes for tensor in decoder.tensors.values())
    attention, products = encoder_operations(tower)
    encoding = attention + products
    mixed_s = attention / float_rate + products / int8_rate
    reading = 2 * options.prompt_tokens * matrix_values(decoder)
    report("a token", f"{weights / 1e6:.0f} MB", weights / read_rate, per_token(options))
    report("encode", f"{encoding / 1e9:.0f} GFLOP", encoding / float_rate, options.encode_s)
    report("... int8", f"{encoding / 1e9:.0f} GFLOP", mixed_s, options.encode_int8_s)
    report("prefill", f"{reading / 1e9:.0f} GFLOP", reading / int8_rate, options.prefill_s)


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


def encoder_operations(tower: GgufHeader) -> tuple[int, int]:
    """Multiplications and additions from patches to soft tokens' width: of attention, and of the
    products with weights."""
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
    return layers * attention, layers * (projections + feed_forward) + embedding


def rates(threads: int) -> tuple[float, float, float]:
    """Bytes read, and operations of float32 and of eight bits done in a second, by all threads at
    once."""
    context = get_context("spawn")
    pipes = [context.Pipe() for _ in range(threads)]
    children = [context.Process(target=measure, args=(theirs,)) for _, theirs in pipes]
    for child in children:
        child.start()
    found = [ours.recv() for ours, _ in pipes]
    for child in children:
        child.join()
    read, floats, bytes_ = (sum(column) for column in zip(*found, strict=True))
    return read, floats, bytes_


def measure(pipe: Connection) -> None:
    """Sends the rates of one thread. Memory is read by the product of a large matrix with a vector
    that stays in the cache."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import numpy as np  # after the number of threads is said

    rows = READ_BYTES // 4 // PRODUCT[0]
    large, vector = np.ones((rows, PRODUCT[0]), np.float32), np.ones(PRODUCT[0], np.float32)
    floats = product("MatMul", np.float32, np.float32)
    integers = product("MatMulInteger", np.uint8, np.int8)
    read_s, float_s, int8_s = (
        min(seconds(work) for _ in range(RUNS))
        for work in (lambda: large @ vector, floats, integers)
    )
    operations = 2 * prod(PRODUCT)
    pipe.send((READ_BYTES / read_s, operations / float_s, operations / int8_s))


def product(operator: str, left: Any, right: Any) -> Callable[[], object]:
    """A product of PRODUCT's shape by onnxruntime on one thread, the right side prepared."""
    import numpy as np
    import onnxruntime
    from onnx import helper, numpy_helper

    kinds = [helper.np_dtype_to_tensor_dtype(np.dtype(kind)) for kind in (left, right)]
    found = kinds[0] if left == right else helper.np_dtype_to_tensor_dtype(np.dtype(np.int32))
    rows, inner, columns = PRODUCT
    graph = helper.make_graph(
        [helper.make_node(operator, ["left", "right"], ["found"])],
        "product",
        [helper.make_tensor_value_info("left", kinds[0], [rows, inner])],
        [helper.make_tensor_value_info("found", found, [rows, columns])],
        [numpy_helper.from_array(np.ones((inner, columns), right), "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {"left": np.ones((rows, inner), left)}
    return lambda: session.run(None, given)


def seconds(work: Callable[[], object]) -> float:
    began_s = process_time()
    work()
    return process_time() - began_s


if __name__ == "__main__":
    main()
