"""A caption by the appliance beside one by llama.cpp's own llama-mtmd-cli, in one run.

    python -m tests.benchmarks.caption_engine caption encode again cold --llama-mtmd-cli PATH
    python -m tests.benchmarks.caption_engine caption encode again cold --llama-mtmd-cli PATH \\
        --release DIR/release --encoders onnx,onnx-int8 --count 3

`peers` says how the tool is built, `model_4b` writes a release of MedGemma's size. Without
--release it is the demonstration release; without --pictures they are drawings.

caption  Both sides are loaded before the first picture, and every picture is read by each in turn.
         Both have the same prompt. The demonstration release's caption ends by itself and is
         compared; random weights write as many tokens on both sides, and without a phrase bank
         nothing is guessed. Then the memory of our model's process.
encode   From pixels to soft tokens by every encoder, and how far from the first.
again    `appliance caption` on every picture twice: what the second time takes of the first,
         without and with opening the file.
cold     The whole command for one picture, process start to exit; files are in the page cache.
         What random weights write is no caption, so ours reads the picture a second time: `one try`
         is without what that reading takes a loaded model.

Times are medians in seconds of the wall clock, ratios those of the medians; beside them, for each
picture, the ratio of ours to the peer's, read one after the other: the middle eight of ten. Where
the machine has other work, look at those of the processor.
"""

import argparse
import contextlib
import ctypes
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from appliance.core.labels import DOMAINS
from appliance.core.ports import Picture
from appliance.edges.llama_decoder import discard_log
from appliance.errors import ModelError
from appliance.release.box import suitable_threads
from appliance.release.drawings import draw, png
from appliance.release.gguf_header import read_gguf_header
from appliance.release.manifest import VISION_ENCODERS, Release, read_release
from appliance.release.shelf import BUILT_IN
from appliance.wiring import open_captioner, open_images
from export.onnx_encoder import relative_error
from tests.benchmarks.peers import (
    CONTEXT_TOKENS,
    Taken,
    children,
    cold_line,
    command,
    cost_of,
    peer_reading,
    processor_s,
)

PEER = "llama-mtmd-cli"
STEPS = ("encode", "prefill", "score", "decode")
CAPTION_TARGET = {"ggml": "", "onnx": "0.55", "onnx-int8": "0.40"}
"""At MedGemma's size, without label scoring."""
ENCODE_TARGET = {"ggml": "", "onnx": "0.36", "onnx-int8": "0.20"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="+", choices=WHAT)
    parser.add_argument("--llama-mtmd-cli", type=Path, required=True)
    parser.add_argument("--release", type=Path, default=BUILT_IN)
    parser.add_argument("--encoders", default="ggml", help="of ggml,onnx,onnx-int8")
    parser.add_argument("--pictures", nargs="+", default=[], help="files; the first warms up")
    parser.add_argument("--count", type=int, default=5, help="of drawings, and of cold runs")
    parser.add_argument("--threads", type=int, default=0, help="ours; 0: as many as suit")
    parser.add_argument("--peer-threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    release = read_release(options.release)
    encoders = options.encoders.split(",")
    threads = options.threads or suitable_threads(release)
    print(f"{release.name}; threads: ours {threads}, {PEER} {options.peer_threads}", flush=True)
    for what in options.what:
        WHAT[what](release, encoders, options)
        print(flush=True)


class Ours:
    """Our model's process, loaded before the first picture."""

    def __init__(self, release: Release, encoder: str, threads: int) -> None:
        before = children()
        self._captioner = open_captioner(release, threads, encoder)
        with contextlib.suppress(ModelError):  # refused, after all else is loaded
            self._captioner.read(Picture(b"", 0, "", "", 0, 0, None))
        (self._pid,) = children() - before
        self.memory_bytes = 0

    def read(self, picture: Picture) -> Taken:
        began_s, began_processor_s = perf_counter(), processor_s(self._pid)
        reading = self._captioner.read(picture)
        wall_s, spent_s = perf_counter() - began_s, processor_s(self._pid) - began_processor_s
        self.memory_bytes = reading.memory_bytes
        return Taken(reading.text, wall_s, spent_s, reading.spent_s)

    def embed(self, picture: Picture) -> tuple[NDArray[np.float32], float, float]:
        """Soft tokens, and seconds of the wall clock and the processor."""
        began_s, began_processor_s = perf_counter(), processor_s(self._pid)
        found = self._captioner.embed(picture)
        return found, perf_counter() - began_s, processor_s(self._pid) - began_processor_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._captioner.close()


def caption(release: Release, encoders: Sequence[str], options: Any) -> None:
    count = token_counter(release.model)
    first, *pictures = pictures_of(release, options)
    tool = (options.llama_mtmd_cli, release.model, release.projector)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = {
            encoder: stack.enter_context(Ours(release, encoder, options.threads))
            for encoder in encoders
        }
        if release.card.demonstration:  # larger ones take no time to warm up beside their reading
            for side in ours.values():
                side.read(first)
        else:
            pictures.insert(0, first)
        taken: dict[str, list[Taken]] = {who: [] for who in (PEER, *ours)}
        for picture in pictures:
            for encoder, side in ours.items():
                taken[encoder].append(side.read(picture))
            wanted = count(taken[encoders[0]][-1].text)
            told = 0 if release.card.demonstration else wanted
            line = command(*tool, options.peer_threads, told)
            taken[PEER].append(peer_reading(line, written(picture, folder)))
        memory = {encoder: side.memory_bytes for encoder, side in ours.items()}
    heads = "".join(f"{step:>9}" for step in (*STEPS, "whole"))
    print(f"{'caption, warm':<16}{heads}  ratio  no score  target  {'processor':>9}  ratio  tokens")
    for who, rows in taken.items():
        target = ("0.50" if who == encoders[0] else "") if release.card.demonstration else ""
        target = target or CAPTION_TARGET.get(who, "")
        whole, unscored, busy = (
            median(map(of, rows)) / median(map(of, taken[PEER]))
            for of in (lambda row: row.wall_s, without_scoring, lambda row: row.processor_s)
        )
        counted = taken[encoders[0]] if who == PEER else rows  # the peer's own may be line ends
        tokens = sorted({count(row.text) for row in counted})
        print(
            f"{who:<16}{described(rows)}{whole:7.2f}{unscored:10.2f}  {target:>6}  "
            f"{median(row.processor_s for row in rows):9.3f}{busy:7.2f}  "
            f"{tokens[0]}{'' if len(tokens) == 1 else f' to {tokens[-1]}'}"
        )
    for encoder in ours:
        spreads = [
            spread([of(a) / of(b) for a, b in zip(taken[encoder], taken[PEER], strict=True)])
            for of in (lambda row: row.wall_s, without_scoring, lambda row: row.processor_s)
        ]
        print(
            f"{encoder}: each picture's ratio {spreads[0]}, without scoring {spreads[1]}, "
            f"processor {spreads[2]}"
        )
        same = sum(
            ours_row.text == row.text
            for ours_row, row in zip(taken[encoder], taken[PEER], strict=True)
        )
        files, cache = files_bytes(release, encoder), cache_bytes(release)
        over = memory[encoder] - files - cache
        print(
            f"{encoder}: text as the peer's {same} of {len(taken[PEER])}; memory "
            f"{memory[encoder] / 1e6:.0f} MB: files {files / 1e6:.0f}, KV cache "
            f"{cache / 1e6:.0f}, over {over / 1e6:+.0f}, target +300"
        )


def encode(release: Release, encoders: Sequence[str], options: Any) -> None:
    first, *pictures = pictures_of(release, options)
    seconds: dict[str, list[tuple[float, float]]] = {encoder: [] for encoder in encoders}
    errors: dict[str, list[float]] = {encoder: [] for encoder in encoders}
    with ExitStack() as stack:
        ours = {
            encoder: stack.enter_context(Ours(release, encoder, options.threads))
            for encoder in encoders
        }
        for side in ours.values():
            side.embed(first)
        for picture in pictures:
            wanted = None
            for encoder, side in ours.items():
                found, wall_s, spent_s = side.embed(picture)
                wanted = found if wanted is None else wanted
                seconds[encoder].append((wall_s, spent_s))
                errors[encoder].append(float(relative_error(found[None], wanted[None])[0]))
    print(f"{'encoding':<16}{'wall':>9}  ratio  target  {'processor':>9}  ratio  largest error")
    walls, busy = (
        {encoder: median(row[part] for row in rows) for encoder, rows in seconds.items()}
        for part in (0, 1)
    )
    for encoder in encoders:
        target = "" if release.card.demonstration else ENCODE_TARGET[encoder]
        print(
            f"{encoder:<16}{walls[encoder]:9.3f}{walls[encoder] / walls[encoders[0]]:7.2f}  "
            f"{target:>6}  {busy[encoder]:9.3f}{busy[encoder] / busy[encoders[0]]:7.2f}  "
            f"{max(errors[encoder]):.1e} from {encoders[0]}"
        )


def cold(release: Release, encoders: Sequence[str], options: Any) -> None:
    count = token_counter(release.model)
    picture, *_ = pictures_of(release, options)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file = written(picture, folder)
        wanted, second_s = 0, dict.fromkeys(encoders, 0.0)
        if not release.card.demonstration:
            for encoder in encoders:
                with Ours(release, encoder, options.threads) as side:
                    taken = side.read(picture)
                    wanted, second_s[encoder] = count(taken.text), taken.wall_s
        lines = {encoder: [*OURS, str(file)] for encoder in encoders}
        pair = (release.model, release.projector)
        tool = (options.llama_mtmd_cli, *pair, options.peer_threads, wanted)
        lines[PEER] = cold_line(*tool, file)
        costs: dict[str, list[tuple[float, float]]] = {who: [] for who in lines}
        for _ in range(options.count):
            for who, line in lines.items():
                home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                env = settings(release, who, home, options.threads)
                wall_s, spent_s, _ = cost_of(line, env, may_refuse=who != PEER)
                costs[who].append((wall_s, spent_s))
    heads = f"{'wall':>9}  ratio   more  {'processor':>9}  one try  ratio  target"
    print(f"{'caption, cold':<16}{heads}")
    most = "1.5 s more" if release.card.demonstration else "1.30"
    walls = {who: median(row[0] for row in rows) for who, rows in costs.items()}
    for who, rows in costs.items():
        one_try_s = walls[who] - second_s.get(who, 0)
        print(
            f"{who:<16}{walls[who]:9.2f}{walls[who] / walls[PEER]:7.2f}"
            f"{walls[who] - walls[PEER]:7.2f}  {median(row[1] for row in rows):9.2f}  "
            f"{one_try_s:7.2f}{one_try_s / walls[PEER]:7.2f}  {'' if who == PEER else most}"
        )


def again(release: Release, encoders: Sequence[str], options: Any) -> None:
    pictures = pictures_of(release, options)
    print(
        f"{'again':<16}{'opened':>9}{'first':>9}{'reopened':>11}{'again':>9}  ratio  target  "
        "of the whole"
    )
    for encoder in encoders:
        with tempfile.TemporaryDirectory() as name:
            home = Path(name)
            files = [str(written(picture, home)) for picture in pictures for _ in range(2)]
            env = settings(release, encoder, home, options.threads)
            *_, said = cost_of([*OURS, *files], env, may_refuse=True)
        found = [json.loads(line) for line in said.splitlines()]
        refused = [row["error"]["code"] for row in found if row["error"]]
        both = [
            [row["timings_ms"] for row in pair]
            for pair in zip(found[::2], found[1::2], strict=True)
            if not any(row["error"] for row in pair)
        ]
        if len(both) > 1:
            both.pop(0)  # the first loads the model
        opened, first, reopened, second = (
            median(seconds) / 1000
            for seconds in zip(
                *((part for row in pair for part in (row["open"], unopened(row))) for pair in both),
                strict=True,
            )
        )
        of_whole = [sum(other.values()) / sum(one.values()) for one, other in both]
        print(
            f"{encoder:<16}{opened:9.3f}{first:9.3f}{reopened:11.3f}{second:9.3f}"
            f"{second / first:7.2f}    0.15  {median(of_whole):12.2f}, {spread(of_whole)}"
            f"  {' '.join(refused)}"
        )


def unopened(timings_ms: Mapping[str, float]) -> float:
    return sum(timings_ms.values()) - timings_ms["open"]


WHAT = {"caption": caption, "encode": encode, "again": again, "cold": cold}
OURS = (sys.executable, "-m", "appliance", "caption", "--json", "--no-lookup")


def settings(release: Release, who: str, home: Path, threads: int) -> dict[str, str]:
    """The environment of a fresh home that has only this release."""
    shelf = home / "releases"
    shelf.mkdir()
    if release.directory != BUILT_IN:
        (shelf / release.name).symlink_to(release.directory.resolve())
    said = {"HOME": home, "RELEASE": release.name, "THREADS": threads}
    if who != PEER:
        said["ENCODER"] = who
    return os.environ | {f"APPLIANCE_{key}": str(value) for key, value in said.items()}


def pictures_of(release: Release, options: Any) -> list[Picture]:
    """The files given, or drawings of every kind in turn; the first is to warm up with."""
    size = release.card.image_size
    if options.pictures:
        images = open_images()
        return [images.open(file, size) for file in options.pictures]
    drawings = [draw(DOMAINS[n % len(DOMAINS)], n, size) for n in range(options.count + 1)]
    return [
        replace(drawing, sha256=hashlib.sha256(drawing.rgb).hexdigest()) for drawing in drawings
    ]


def written(picture: Picture, folder: Path) -> Path:
    file = folder / f"{picture.sha256}.png"
    file.write_bytes(png(picture))
    return file


def token_counter(model: Path) -> Callable[[str], int]:
    """How many tokens of the model a text has."""
    import llama_cpp

    llama_cpp.llama_log_set(discard_log, ctypes.c_void_p(0))
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    loaded = llama_cpp.llama_model_load_from_file(os.fsencode(model), params)
    assert loaded
    vocabulary = llama_cpp.llama_model_get_vocab(loaded)

    def count(text: str) -> int:
        encoded = text.encode()
        room: Any = None
        missing: int = llama_cpp.llama_tokenize(
            vocabulary, encoded, len(encoded), room, 0, False, False
        )
        return -missing

    return count


def files_bytes(release: Release, encoder: str) -> int:
    names = [file for file in release.files if file.startswith(VISION_ENCODERS[encoder])]
    return release.model.stat().st_size + sum(release.files[name].size_bytes for name in names)


def cache_bytes(release: Release) -> int:
    """Of keys and values at 16 bits, every layer as long as the context."""
    header = read_gguf_header(release.model)
    layers, heads, keys, values = (
        header.whole(f"gemma3.{key}") or 0
        for key in (
            "block_count",
            "attention.head_count_kv",
            "attention.key_length",
            "attention.value_length",
        )
    )
    return 2 * CONTEXT_TOKENS * layers * heads * (keys + values)


def spread(ratios: Sequence[float]) -> str:
    """From the tenth to the ninetieth in a hundred."""
    low, high = np.quantile(ratios, [0.1, 0.9])
    return f"{low:.2f} to {high:.2f}"


def without_scoring(row: Taken) -> float:
    """Seconds; the peer scores no labels."""
    return row.wall_s - row.spent_s.get("score", 0.0)


def described(rows: Sequence[Taken]) -> str:
    steps = "".join(f"{median(row.spent_s.get(step, 0.0) for row in rows):9.3f}" for step in STEPS)
    return steps + f"{median(row.wall_s for row in rows):9.3f}"


if __name__ == "__main__":
    main()
