"""Time and memory of writing the F16 pair, beside llama.cpp's own converter.

    LLAMA_CPP_SOURCE=.../vendor/llama.cpp \\
        python -m tests.benchmarks.gguf_export --folder DIR [--geometry small|4b|27b] [--runs 2]

Writes a checkpoint of random bfloat16 weights into DIR once (4b: 8.6 GB, and as much again for the
pair), shard by shard, then runs both, turn about, each in a process of its own. Peak memory is the
largest resident set of the process; of it, anonymous is what the process itself asked for, without
the pages of files that it has mapped.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.export.llama_converter import VARIABLE, llama_cpp_source
from tests.export.published import (
    MEDGEMMA_4B,
    MEDGEMMA_27B,
    Published,
    published_tensors,
    random_weights,
    write_folder,
)

SMALL = replace(
    MEDGEMMA_4B,
    text={**MEDGEMMA_4B.text, "num_hidden_layers": 2, "vocab_size": 32768},
    vision={**MEDGEMMA_4B.vision, "num_hidden_layers": 3},
)
GEOMETRY = {"small": SMALL, "4b": MEDGEMMA_4B, "27b": MEDGEMMA_27B}
OURS = """
import sys
from pathlib import Path
from export.checkpoint import read_checkpoint
from export.text_gguf import write_text_gguf
from export.vision_gguf import write_vision_gguf
checkpoint, out = read_checkpoint(Path(sys.argv[1])), Path(sys.argv[2])
write_text_gguf(checkpoint, out / "model.gguf", "random")
write_vision_gguf(checkpoint, out / "mmproj.gguf", "random")
"""
MIB = 2**20


@dataclass(frozen=True)
class Cost:
    elapsed_s: float
    peak_bytes: int
    anonymous_bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--geometry", choices=GEOMETRY, default="small")
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    source = llama_cpp_source()
    if source is None:
        sys.exit(f"set {VARIABLE} to llama.cpp's source tree")
    model = checkpoint(options.folder / options.geometry, GEOMETRY[options.geometry])
    out = options.folder / "pair"
    costs: dict[str, list[Cost]] = {"ours": [], "converter": []}
    for _ in range(options.runs):
        for who, run in (("ours", ours), ("converter", converter(source))):
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            cost = run(model, out)
            costs[who].append(cost)
            size = sum(file.stat().st_size for file in out.iterdir())
            print(f"{who:<9} {described(cost)}  wrote {size / 1e9:.3f} GB", flush=True)
    shutil.rmtree(out)
    best = {who: min(rows, key=lambda cost: cost.elapsed_s) for who, rows in costs.items()}
    time_ratio = best["ours"].elapsed_s / best["converter"].elapsed_s
    middle = {who: statistics.median(cost.elapsed_s for cost in costs[who]) for who in costs}
    print(f"time {time_ratio:.2f} (best), {middle['ours'] / middle['converter']:.2f} (median)")
    for kind in ("peak_bytes", "anonymous_bytes"):
        ours_most, theirs_most = (
            max(getattr(cost, kind) for cost in costs[who]) for who in ("ours", "converter")
        )
        print(f"{kind} {ours_most / theirs_most:.2f}")


def checkpoint(folder: Path, model: Published) -> Path:
    """Written once; asks for room for itself and for one pair."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        shapes = published_tensors(model).values()
        wanted = 2 * 2 * sum(product(shape) for shape in shapes)
        free = shutil.disk_usage(folder.parent).free
        if wanted * 1.1 > free:
            sys.exit(
                f"{folder.parent} has {free / 1e9:.1f} GB free, {wanted * 1.1 / 1e9:.1f} needed"
            )
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        write_folder(partial, model, random_weights())
        partial.rename(folder)
    return folder


def product(shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


def ours(model: Path, out: Path) -> Cost:
    return cost_of([sys.executable, "-c", OURS, str(model), str(out)])


def converter(source: Path) -> Callable[[Path, Path], Cost]:
    def run(model: Path, out: Path) -> Cost:
        command = [sys.executable, str(source / "convert_hf_to_gguf.py"), str(model)]
        command += ["--outtype", "f16", "--model-name", "random", "--outfile"]
        text = cost_of([*command, str(out / "model.gguf")])
        vision = cost_of([*command, str(out / "mmproj.gguf"), "--mmproj"])
        return Cost(
            text.elapsed_s + vision.elapsed_s,
            max(text.peak_bytes, vision.peak_bytes),
            max(text.anonymous_bytes, vision.anonymous_bytes),
        )

    return run


def cost_of(command: list[str]) -> Cost:
    """Peaks as the kernel counts them, read every 20 ms while the process lives."""
    peak = anonymous = 0
    with tempfile.TemporaryFile() as log:  # a pipe that nobody reads would fill
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log)
        while process.poll() is None:
            found = memory(process.pid)
            peak = max(peak, found.get("VmHWM", 0))
            anonymous = max(anonymous, found.get("RssAnon", 0))
            time.sleep(0.02)
        elapsed_s = time.perf_counter() - started
        log.seek(0)
        if process.returncode:
            sys.exit(f"{command}: {log.read().decode(errors='replace')[-2000:]}")
    return Cost(elapsed_s, peak, anonymous)


def memory(pid: int) -> dict[str, int]:
    """Bytes by name from /proc; empty when the process has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return {}
    fields = [line.split() for line in lines if line.startswith(("VmHWM", "RssAnon"))]
    return {name.rstrip(":"): int(amount) * 1024 for name, amount, *_ in fields}


def described(cost: Cost) -> str:
    return (
        f"{cost.elapsed_s:7.1f} s  peak {cost.peak_bytes / MIB:7.0f} MiB  "
        f"anonymous {cost.anonymous_bytes / MIB:7.0f} MiB"
    )


if __name__ == "__main__":
    main()
