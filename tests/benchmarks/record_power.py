"""Power cuts: every state that a disk could be left in while the real writer worked.

python -m tests.benchmarks.record_power [--states 1000]      (needs strace)

The writer's system calls are recorded once. For each moment the folder is then rebuilt as a disk
might hold it (after Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014): a write
is certain once its file was synced after it, a name once its folder was; what is not certain is
kept, lost or, a write, torn to its first 512 bytes, by chance. Every rebuilt log must hold every
answer that was printed before that moment, verify, and open again. Control: WAL with synchronous
NORMAL, which must lose answers.
"""

import argparse
import itertools
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.edges import clock
from appliance.edges.audit_db import AuditDatabase
from appliance.edges.audit_reader import AuditReader
from appliance.errors import AuditError, AuditMissingError
from tests.benchmarks.record_writer import allow_wal, shown

CALLS = "openat,mkdir,rename,link,unlink,write,pwrite64,ftruncate,fsync,fdatasync"
TORN_BYTES = 512


@dataclass(frozen=True)
class Op:
    kind: str
    """name, gone, moved, write, truncate, sync (a file), sync-folder, shown."""
    path: str = ""
    """Relative to the folder above the log; empty for that folder itself."""
    file: int = 0
    """Which file: names come and go."""
    at: int = 0
    data: bytes = b""
    target: str = ""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--states", type=int, default=1000)
    states = parser.parse_args().states
    with tempfile.TemporaryDirectory() as scratch:
        print("as shipped:", replay(Path(scratch), 6, states))
    allow_wal()
    with tempfile.TemporaryDirectory() as scratch:
        print("control:   ", replay(Path(scratch), 6, states, "wal-normal"))


def replay(scratch: Path, answers: int, states: int, fault: str | None = None) -> dict[str, int]:
    """How the rebuilt states came out: good, or what was bad."""
    ops = recorded_ops(scratch, answers, fault)
    chance = random.Random(3)
    trials = -(-states // len(ops))
    found: Counter[str] = Counter()
    for cut in range(1, len(ops) + 1):
        for _ in range(trials):
            rebuilt = scratch / "rebuilt"
            shutil.rmtree(rebuilt, ignore_errors=True)
            rebuild(ops[:cut], rebuilt, chance)
            answered = dict(shown(op.data.decode()) for op in ops[:cut] if op.kind == "shown")
            found[judged(rebuilt / "log", answered)] += 1
    return dict(found)


def judged(log_folder: Path, answered: dict[int, str]) -> str:
    try:
        with AuditReader(log_folder) as log:
            hashes = {entry.seq: entry.hash for entry in log.entries()}
            if any(hashes.get(seq) != value for seq, value in answered.items()):
                return "answers lost"
            if log.verify().fault:
                return "does not verify"
    except AuditMissingError:
        if answered:
            return "answers lost"
    except AuditError:
        return "cannot be read"
    try:
        with AuditDatabase(log_folder, clock.now) as again:
            again.append("act.done", {})
    except AuditError:
        return "cannot be written again"
    return "good"


def rebuild(ops: list[Op], folder: Path, chance: random.Random) -> None:
    """A folder as the disk might hold it after these operations and no more."""
    certain = _certain(ops)
    names: dict[str, int] = {}
    contents: dict[int, bytearray] = {}
    folders = {""}
    for op, is_certain in zip(ops, certain, strict=True):
        fate = 0.0 if is_certain else chance.random()
        if op.kind in ("write", "truncate") and fate < 0.6:
            _apply(contents.setdefault(op.file, bytearray()), op, is_torn=fate > 0.4)
        elif op.kind == "folder" and fate < 0.5:
            folders.add(op.path)
        elif op.kind in ("name", "gone", "moved") and fate < 0.5:
            if op.kind != "name":
                names.pop(op.path, None)
            if op.kind != "gone":
                names[op.target or op.path] = op.file
    folder.mkdir()
    for path in sorted(folders):
        if _above(path) in folders:
            (folder / path).mkdir(exist_ok=True)
    for path, file in names.items():
        if (folder / path).parent.is_dir():
            (folder / path).write_bytes(contents.get(file, b""))


def _certain(ops: list[Op]) -> list[bool]:
    certain = [False] * len(ops)
    synced_files: set[int] = set()
    synced_folders: set[str] = set()
    for number in range(len(ops) - 1, -1, -1):
        op = ops[number]
        if op.kind == "sync":
            synced_files.add(op.file)
        elif op.kind == "sync-folder":
            synced_folders.add(op.path)
        elif op.kind in ("write", "truncate"):
            certain[number] = op.file in synced_files
        else:
            certain[number] = _above(op.target or op.path) in synced_folders
    return certain


def _apply(content: bytearray, op: Op, *, is_torn: bool) -> None:
    if op.kind == "truncate":
        del content[op.at :]
        content.extend(bytes(op.at - len(content)))
        return
    data = op.data[:TORN_BYTES] if is_torn else op.data
    content.extend(bytes(max(0, op.at - len(content))))
    content[op.at : op.at + len(data)] = data


def _above(path: str) -> str:
    return path.rpartition("/")[0]


def recorded_ops(scratch: Path, answers: int, fault: str | None) -> list[Op]:
    live, trace = scratch / "live", scratch / "trace"
    live.mkdir()
    command = ["strace", "-f", "--seccomp-bpf", "-xx", "-y", "-s", "1000000", "-o", str(trace)]
    command += ["-e", f"trace={CALLS}", sys.executable, "-m", "tests.benchmarks.record_writer"]
    command += [str(live / "log"), str(answers), *(["--fault", fault] if fault else [])]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return list(_parsed(trace.read_text(errors="replace"), str(live)))


def _parsed(trace: str, live: str) -> Iterator[Op]:  # noqa: PLR0912, one branch a call
    files: dict[str, int] = {}
    positions: dict[int, int] = {}
    numbers = itertools.count()

    def inside(text: str) -> str | None:
        path = bytes.fromhex(text.replace("\\x", "")).decode() if "\\x" in text else text
        if path != live and not path.startswith(live + "/"):
            return None
        return path[len(live) + 1 :]

    for line in trace.splitlines():
        call = re.match(r"\d+ +(\w+)\((.*)\) += (\d+)", line)
        if not call:
            continue  # failed, or not a call
        name, arguments = call[1], call[2]
        texts = re.findall(r'"((?:\\x..)*)"', arguments)
        described = re.match(r"\d+<([^>]*)>", arguments)
        path = inside(described[1]) if described else None
        if name == "write" and arguments.startswith("1<"):
            data = bytes.fromhex(texts[0].replace("\\x", ""))
            yield Op("shown", data=data)
        elif name in ("fsync", "fdatasync") and path is not None:
            yield Op("sync", file=files[path]) if path in files else Op("sync-folder", path)
        elif name == "pwrite64" and path in files:
            data = bytes.fromhex(texts[0].replace("\\x", ""))
            yield Op("write", file=files[path], at=int(arguments.rpartition(", ")[2]), data=data)
        elif name == "write" and path in files:
            data = bytes.fromhex(texts[0].replace("\\x", ""))
            at = positions.get(files[path], 0)
            positions[files[path]] = at + len(data)
            yield Op("write", file=files[path], at=at, data=data)
        elif name == "ftruncate" and path in files:
            yield Op("truncate", file=files[path], at=int(arguments.rpartition(", ")[2]))
        elif texts and (first := inside(texts[0])) is not None:
            second = inside(texts[1]) if len(texts) > 1 else None
            if name == "openat" and "O_CREAT" in arguments and first not in files:
                files[first] = next(numbers)
                yield Op("name", first, file=files[first])
            elif name == "mkdir":
                yield Op("folder", first)
            elif name == "unlink":
                yield Op("gone", first, file=files.pop(first))
            elif name == "link" and second is not None:
                files[second] = files[first]
                yield Op("name", second, file=files[second])
            elif name == "rename" and second is not None:
                files[second] = files.pop(first)
                yield Op("moved", first, file=files[second], target=second)


if __name__ == "__main__":
    main()
