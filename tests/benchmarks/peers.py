"""llama.cpp's own llama-mtmd-cli, run as a person runs it, and what a process costs.

It comes with no package. Build it from the llama.cpp source inside the sdist of the pinned
llama-cpp-python, so that both sides run the same kernels:

    pip download --no-deps --no-binary :all: llama-cpp-python==0.3.36
    tar xf llama_cpp_python-0.3.36.tar.gz
    cmake -S llama_cpp_python-0.3.36/vendor/llama.cpp -B build -G "Unix Makefiles" \\
        -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF
    cmake --build build --target llama-mtmd-cli -j 2

and give --llama-mtmd-cli build/bin/llama-mtmd-cli.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.core.prompt import END_OF_TURN, IMAGE, render_prompt

MARKER = "<__media__>"
"""Where mtmd sets the picture in a message, between image marks that it writes itself."""
ENDS_OF_IMAGE = "<end_of_image>"
READY = b"\n> "
ENCODED = re.compile(rb"mtmd batch encoding done in (\d+) ms")
CONTEXT_TOKENS = 2048


@dataclass(frozen=True)
class Taken:
    """What one picture took: `wall_s` from the request to the last token."""

    text: str
    wall_s: float
    processor_s: float
    spent_s: Mapping[str, float]
    """By step: encode, prefill, decode; ours also score."""


def peer_reading(line: list[str], picture: Path) -> Taken:
    """One picture by llama-mtmd-cli in its chat mode: loading the model, its own warming up and
    opening the file come before the request.

    Its own clock counts loading in. A process reads one picture: at the second message with a
    picture the tool of llama-cpp-python 0.3.36 aborts ("invalid chunk type").
    """
    with tempfile.TemporaryFile() as log:  # a pipe that nobody reads would fill
        process = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
            start_new_session=True,  # without a terminal it echoes what it is told
        )
        try:
            _until_ready(process)
            _say(process, f"/image {picture}")
            _until_ready(process)
            began_s, began_processor_s = time.perf_counter(), processor_s(process.pid)
            _say(process, REQUEST)
            written, read_s = _until_ready(process, lines=2)  # its echo; the prompt is read
            ended_s = time.perf_counter()
            spent_s = processor_s(process.pid) - began_processor_s
        finally:
            process.kill()
            process.communicate()
        log.seek(0)
        (encoded_ms,) = ENCODED.findall(log.read())
    encode_s = int(encoded_ms) / 1000
    return Taken(
        text=written.strip().decode("utf-8", "replace"),
        wall_s=ended_s - began_s,
        processor_s=spent_s,
        spent_s={
            "encode": encode_s,  # as the tool says, in whole milliseconds
            "prefill": read_s - began_s - encode_s,
            "decode": ended_s - read_s,
        },
    )


def _say(process: subprocess.Popen[bytes], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line.encode() + b"\n")


def _until_ready(process: subprocess.Popen[bytes], lines: int = 0) -> tuple[bytes, float]:
    """What it wrote after so many line ends before it asks again, and when the last of these came.

    Raises: SystemExit when it stopped.
    """
    assert process.stdout is not None
    written, lines_s = b"", 0.0
    while not written.endswith(READY):
        piece = process.stdout.read(1 << 16)
        if not piece:
            raise SystemExit(f"{process.args!r} stopped; run it by hand to see why")
        written += piece
        if not lines_s and written.count(b"\n") >= lines:
            lines_s = time.perf_counter()
    return written[: -len(READY)].split(b"\n", lines)[-1], lines_s


REQUEST = render_prompt().split(IMAGE + ENDS_OF_IMAGE)[1].split(END_OF_TURN)[0].strip()


def template() -> str:
    """A chat template that renders our prompt around a picture and REQUEST."""
    before, after = render_prompt().split(IMAGE + ENDS_OF_IMAGE)
    between, end = after.split(REQUEST)
    quoted = [part.replace("\\", "\\\\").replace("\n", "\\n") for part in (before, between, end)]
    return (
        f"{{{{ '{quoted[0]}' }}}}{{{{ messages[-1]['content'] | replace('{MARKER}', "
        f"'{MARKER}{quoted[1]}') }}}}{{{{ '{quoted[2]}' }}}}"
    )


def command(tool: Path, model: Path, projector: Path, threads: int, tokens: int) -> list[str]:
    found = shutil.which(tool)
    if found is None:
        raise SystemExit(f"{tool}: not there, or not a program")
    line = [found, "-m", str(model), "--mmproj", str(projector), "-t", str(threads)]
    line += ["-c", str(CONTEXT_TOKENS), "--temp", "0", "--samplers", "top_k", "--top-k", "1"]
    line += ["--jinja", "--chat-template", template()]
    return line + (["-n", str(tokens), "--ignore-eos"] if tokens else ["-n", "320"])


def cold_line(
    tool: Path,
    model: Path,
    projector: Path,
    threads: int,
    tokens: int,
    picture: Path,
) -> list[str]:
    """A command that reads one picture and ends."""
    line = command(tool, model, projector, threads, tokens)
    return [*line, "--image", str(picture), "-p", MARKER + REQUEST]


def cost_of(line: list[str], env: dict[str, str], *, may_refuse: bool) -> tuple[float, float, str]:
    """Wall and processor seconds of a command and all its children, and what it printed; exit code
    1 is for it to say where it may refuse a picture."""
    before = os.times()
    began_s = time.perf_counter()
    done = subprocess.run(line, capture_output=True, env=env, check=False)
    wall_s, after = time.perf_counter() - began_s, os.times()
    if done.returncode > may_refuse:
        raise SystemExit(f"{line[0]} failed:\n{done.stderr.decode(errors='replace')[-2000:]}")
    spent_s = after.children_user - before.children_user
    spent_s += after.children_system - before.children_system
    return wall_s, spent_s, done.stdout.decode(errors="replace")


def processor_s(pid: int) -> float:
    """Seconds that the threads of a process which still live have run so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    files = (task / "schedstat" for task in tasks)
    return sum(int(file.read_text(encoding="ascii").split()[0]) for file in files) / 1e9


def children() -> set[int]:
    """Living processes that this one's main thread has started."""
    main = os.getpid()
    listed = Path(f"/proc/{main}/task/{main}/children").read_text(encoding="ascii")
    return set(map(int, listed.split()))
