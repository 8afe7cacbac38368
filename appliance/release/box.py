"""How fast this machine reads a picture: with which release, vision encoder and threads.

Tried on drawings within a time that is given. What is found is written beside the settings, with
the reason; which release answers better is not asked here.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from appliance.core.ports import Captioner, Images, Reading
from appliance.errors import ConfigError, ModelError, ModelFileError, ReleaseError
from appliance.release.drawings import draw, png
from appliance.release.gguf_header import read_gguf_header
from appliance.release.gguf_pair import quantization
from appliance.release.manifest import VISION_ENCODERS, Release

OpenCaptioner = Callable[[Release, int, str], AbstractContextManager[Captioner]]
"""Release, threads, vision encoder."""

FILE = "box.json"
EXACT_INT8 = "session.x64quantprecision"
"""What asks onnxruntime for exact products of eight bits, where there is no VNNI
(onnxruntime.ai/docs/performance/model-optimizations/quantization.html, U8S8)."""
MOST_READINGS = 4
"""Of one release with one number of threads; the first also warms the caches."""
PICTURE_PIXELS = 1024
SMALL_BYTES = 100_000_000
WITHIN_MEMORY = 0.9
"""Share of the memory a model's process may take: the rest is the system's and the screen's."""
AS_QUICK = 1.05
"""Within so much of the quickest, fewer threads are preferred: the cores have other work."""


@dataclass(frozen=True)
class Machine:
    cores: int
    memory_bytes: int


@dataclass(frozen=True)
class Run:
    """One release read drawings with one vision encoder and so many threads."""

    release: str
    quantization: str
    vision_encoder: str
    threads: int
    readings: int
    seconds: float
    """An image, opening its file included: the quickest reading."""
    spent_s: dict[str, float]
    """Of that reading, by step: open, encode, prefill, score, decode."""
    load_s: float
    """Before the first picture: checking the files, loading the model."""
    memory_bytes: int


@dataclass(frozen=True)
class BoxReport:
    date: str
    cores: int
    memory_bytes: int
    runs: list[Run]
    not_tried: list[str]
    chosen: Run
    why: str
    setting: dict[str, Any]
    """What settings.toml would say to use it."""


def suitable_threads(release: Release) -> int:
    """For a release on this machine, before `appliance release measure --box-only` has tried.

    All cores; one for a small model, whose threads would wait for each other longer than they work.
    """
    return 1 if _size_bytes(release) < SMALL_BYTES else this_machine().cores


def this_machine() -> Machine:
    """Cores this process may use; memory of the machine, or of the group it is confined to."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        confined = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        memory_bytes = min(memory_bytes, confined)
    except (OSError, ValueError):  # no such limit
        pass
    return Machine(cores or 1, memory_bytes)


def has_vnni() -> bool:
    """Whether the processor sums products of eight bits in 32; an x86 without it cuts a sum of two
    at 16 bits, unless it is asked not to."""
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as lines:
            return any(line.startswith("flags") and "_vnni" in line for line in lines)
    except OSError:  # not Linux
        return False


def measure_box(
    releases: Sequence[Release],
    open_captioner: OpenCaptioner,
    opener: Images,
    machine: Machine,
    budget_s: float,
    clock_s: Callable[[], float],
    today: str,
    say: Callable[[str], None],
) -> BoxReport:
    """Every release with all cores first, then with fewer, as long as there is time. Only the
    first picture may run over it.

    Raises: ConfigError when no release could be tried.
    """
    end_s = clock_s() + budget_s
    open_s = _open_seconds(opener, clock_s)
    runs: list[Run] = []
    not_tried: list[str] = []
    for threads in _thread_counts(machine.cores):
        for release, encoder in _ways(releases):
            about = f"{release.name} with {encoder} and {threads_in_words(threads)}"
            if _size_bytes(release) > WITHIN_MEMORY * machine.memory_bytes:
                reason = f"{release.name}: its files are larger than this machine's memory"
                not_tried += [reason] if reason not in not_tried else []
                continue
            if runs and _expected_s(release, encoder, threads, runs) > end_s - clock_s():
                not_tried.append(f"{about}: no time left")
                continue
            say(f"trying {about}")
            try:
                with open_captioner(release, threads, encoder) as captioner:
                    run = _run(release, encoder, captioner, threads, open_s, end_s, clock_s)
                runs.append(run)
            except (ModelError, ModelFileError, ReleaseError) as exc:
                not_tried.append(f"{about}: {exc.message}")
    fitting = [run for run in runs if run.memory_bytes <= WITHIN_MEMORY * machine.memory_bytes]
    if not fitting:
        raise ConfigError(
            "no release runs within this machine's memory: " + "; ".join(not_tried),
            "import a smaller quantization",
        )
    chosen = _choose(fitting)
    return BoxReport(
        date=today,
        cores=machine.cores,
        memory_bytes=machine.memory_bytes,
        runs=runs,
        not_tried=not_tried,
        chosen=chosen,
        why=_why(chosen, runs),
        setting={
            "release": chosen.release,
            "encoder": chosen.vision_encoder,
            "threads": chosen.threads,
        },
    )


def write_report(home: Path, report: BoxReport) -> Path:
    """Aside first, then renamed. Raises: ConfigError."""
    path = home / FILE
    aside = path.with_name(FILE + ".partial")
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
        aside.rename(path)
    except OSError as exc:
        raise ConfigError(
            f"what was measured cannot be written ({exc.strerror}): {path}",
            "make room, and check the folder's permissions",
        ) from exc
    return path


def threads_in_words(threads: int) -> str:
    return f"{threads} thread{'s' if threads > 1 else ''}"


def _ways(releases: Sequence[Release]) -> Iterator[tuple[Release, str]]:
    """Every release with every vision encoder it carries, the smallest first."""
    for release in sorted(releases, key=_size_bytes):
        for encoder, file in VISION_ENCODERS.items():
            if file in release.files:
                yield release, encoder


def _run(
    release: Release,
    encoder: str,
    captioner: Captioner,
    threads: int,
    open_s: float,
    end_s: float,
    clock_s: Callable[[], float],
) -> Run:
    readings: list[Reading] = []
    load_s = 0.0
    while len(readings) < MOST_READINGS:
        picture = draw("skin", len(readings), release.card.image_size)
        before_s = clock_s()
        readings.append(captioner.read(picture, anew=True))
        took_s = clock_s() - before_s
        if len(readings) == 1:
            load_s = max(0.0, took_s - _seconds(readings[0]))
        if clock_s() + took_s > end_s:
            break
    best = min(readings, key=_seconds)
    return Run(
        release=release.name,
        quantization=quantization(read_gguf_header(release.model)),
        vision_encoder=encoder,
        threads=threads,
        readings=len(readings),
        seconds=round(open_s + _seconds(best), 3),
        spent_s={"open": round(open_s, 3)} | {k: round(s, 3) for k, s in best.spent_s.items()},
        load_s=round(load_s, 2),
        memory_bytes=max(reading.memory_bytes for reading in readings),
    )


def _choose(runs: Sequence[Run]) -> Run:
    quickest = min(run.seconds for run in runs)
    as_quick = [run for run in runs if run.seconds <= quickest * AS_QUICK]
    return min(as_quick, key=lambda run: (run.threads, run.seconds))


def _why(chosen: Run, runs: Sequence[Run]) -> str:
    steps = ", ".join(f"{step} {seconds:.2f}" for step, seconds in chosen.spent_s.items())
    others = [run for run in runs if run is not chosen]
    said = (
        f"quickest within memory of {len(runs)} tried: {chosen.seconds:.2f} s an image ({steps}), "
        f"{chosen.memory_bytes / 1e9:.2f} GB"
    )
    if others:
        next_best = min(others, key=lambda run: run.seconds)
        said += (
            f"; next {next_best.release} with {next_best.vision_encoder} and "
            f"{threads_in_words(next_best.threads)}, {next_best.seconds:.2f} s"
        )
    return said


def _expected_s(release: Release, encoder: str, threads: int, runs: Sequence[Run]) -> float:
    """At worst, for one picture: as the nearest run so far, in proportion to size and threads."""
    same = [run for run in runs if (run.release, run.vision_encoder) == (release.name, encoder)]
    nearest = (same or runs)[-1]
    return nearest.load_s + nearest.seconds * max(1.0, nearest.threads / threads)


def _thread_counts(cores: int) -> Iterator[int]:
    """All, half, a quarter ... one."""
    while cores > 1:
        yield cores
        cores //= 2
    yield 1


def _open_seconds(opener: Images, clock_s: Callable[[], float]) -> float:
    """Of opening a picture file of a usual size."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drawing.png"
        path.write_bytes(png(draw("skin", 0, PICTURE_PIXELS)))
        started_s = clock_s()
        opener.open(str(path), 256)
        return clock_s() - started_s


def _seconds(reading: Reading) -> float:
    return sum(reading.spent_s.values())


def _size_bytes(release: Release) -> int:
    return sum(file.size_bytes for file in release.files.values())
