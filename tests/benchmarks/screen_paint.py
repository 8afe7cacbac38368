"""How long until the screen is first painted, beside an empty Textual app's, in one run.

    python -m tests.benchmarks.screen_paint [--runs 15]

Each is a process in a terminal of its own; the time ends when its first picture is written. Fails
when the median is more than 2.5 times the empty app's.
"""

import argparse
import os
import pty
import select
import statistics
import sys
import tempfile
import time

MOST = 2.5
EMPTY = "from textual.app import App; App().run()"
OURS = "from appliance.cli.main import entry_point; entry_point()"
PAINTED = {EMPTY: b"\x1b[?1049h", OURS: b"Choose a picture"}
"""What stands in the output by then. The empty app has no text: there it is the first line after
the screen was switched to."""
AFTER = b"\x1b[1;1H"
"""The cursor at the first line: where a picture begins."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    empty, ours = [], []
    with tempfile.TemporaryDirectory() as home:
        for _ in range(runs):
            empty.append(seconds(EMPTY, home))
            ours.append(seconds(OURS, home))
    base, found = statistics.median(empty), statistics.median(ours)
    ratio = found / base
    print(f"empty app {base:.3f} s; the screen {found:.3f} s; ratio {ratio:.2f}, {MOST} at most")
    sys.exit(found > MOST * base)


def seconds(code: str, home: str) -> float:
    started = time.perf_counter()
    process, terminal = pty.fork()
    if process == 0:
        os.environ |= {"APPLIANCE_HOME": home, "TERM": "xterm-256color", "COLUMNS": "80"}
        os.environ["LINES"] = "24"
        os.execv(sys.executable, [sys.executable, "-c", code])
    seen = b""
    while not is_painted(code, seen):
        if not select.select([terminal], [], [], 60)[0]:
            sys.exit(f"nothing was painted: {seen[-200:]!r}")
        seen += os.read(terminal, 1 << 16)
    spent = time.perf_counter() - started
    os.kill(process, 9)
    os.waitpid(process, 0)
    os.close(terminal)
    return spent


def is_painted(code: str, seen: bytes) -> bool:
    _, mark, after = seen.partition(PAINTED[code])
    return bool(mark) and (code == OURS or AFTER in after)


if __name__ == "__main__":
    main()
