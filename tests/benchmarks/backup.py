"""Backups spoilt in every way are refused and change nothing; how long making and restoring takes.

    .venv/bin/python -m tests.benchmarks.backup [flips] [cases]

A home with a log and cases is backed up; then one bit at a time is flipped anywhere in the file,
or the file is cut, or pieces of it change places. Each must be refused, and the home it is restored
to must stay as it was. Restoring is killed at any moment: once more must put all in place, and the
set-aside logs must hold. The control reads the same spoilt content without its seal, as an archive
alone, and must take most of it. Small counts are in tests/appliance/test_backup.py.
"""

import hashlib
import io
import os
import random
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from appliance.config import Config
from appliance.core.ports import Picture
from appliance.edges import clock
from appliance.edges.audit_db import AuditDatabase
from appliance.edges.audit_reader import AuditReader
from appliance.edges.backup import make_backup
from appliance.edges.case_store import CaseStore
from appliance.edges.restore import restore_backup
from appliance.edges.sealed_file import CHUNK_BYTES, HEADER_BYTES, TAG_BYTES, Cost, SealedReader
from appliance.errors import BackupError

PASSPHRASE = "five plain words here"
CHEAP = Cost(memory_kib=64, passes=1, lanes=1)
"""Of the passphrase, which is tried for every flip; what is measured is not its cost."""
SIDE = 224
RENAMES = 4
"""Of one restore over such a home: two for the cases, two for the log."""
ANSWER = {
    "image": {"path": "/x/eye.png", "note": None, "text_regions": None},
    "caption": None,
    "domain": None,
    "decision": None,
    "error": {"code": "image-blank"},
}


def filled_home(home: Path, cases: int) -> Config:
    config, chance = Config(home), random.Random(0)
    with (
        AuditDatabase(config.log_folder, clock.now) as log,
        CaseStore(config.cases_folder) as store,
    ):
        for _ in range(cases):
            rgb = chance.randbytes(SIDE * SIDE * 3)
            picture = Picture(rgb, SIDE, "", "PNG", SIDE, SIDE, None)
            asked = log.append("caption.asked", {})
            case = store.keep(asked, ANSWER, picture)
            entry = log.append("caption.answered", {"case": case.case_id})
            store.prove(case.case_id, entry.seq, entry.hash)
    return config


def tree(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def is_refused(content: bytes, folder: Path, home: Path) -> bool:
    file = folder / "spoilt.backup"
    file.write_bytes(content)
    before = tree(home)
    try:
        restore_backup(file, PASSPHRASE, home, clock.now().at, replaces=True)
    except BackupError:
        return tree(home) == before
    return False


def is_taken_unsealed(plain: bytes) -> bool:
    """The control: whether an archive alone would be unpacked."""
    try:
        with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
            return len(tar.getmembers()) > 0
    except (tarfile.TarError, ValueError):
        return False


def flipped(content: bytes, place: int, bit: int) -> bytes:
    bad = bytearray(content)
    bad[place] ^= 1 << bit
    return bytes(bad)


def rearranged(content: bytes) -> list[bytes]:
    piece = CHUNK_BYTES + TAG_BYTES
    header, body = content[:HEADER_BYTES], content[HEADER_BYTES:]
    pieces = [body[start : start + piece] for start in range(0, len(body), piece)]
    last = len(pieces) - 1
    orders = [
        *([*range(keep)] for keep in range(last + 1)),
        *([*range(drop), *range(drop + 1, last + 1)] for drop in range(last)),
        *([*range(at), at + 1, at, *range(at + 2, last + 1)] for at in range(last)),
        *([*range(at + 1), at, *range(at + 1, last + 1)] for at in range(last + 1)),
    ]
    return [header + b"".join(pieces[place] for place in order) for order in orders]


def killed(file: Path, home: Path, traced: Sequence[str], longest_s: float | None) -> bool:
    """Restore over what is in `home`, killed after some time or by strace; whether restoring again
    is whole, and the logs that were set aside too."""
    restoring = (
        "import sys\n"
        "from pathlib import Path\n"
        "from appliance.edges.restore import restore_backup\n"
        "print('begun', flush=True)\n"
        "restore_backup(Path(sys.argv[1]), sys.argv[3], Path(sys.argv[2]), sys.argv[4],"
        " replaces=True)\n"
    )
    at = "2026-01-01T00:00:00"
    command = [*traced, sys.executable, "-c", restoring, str(file), str(home), PASSPHRASE, at]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None and child.stdout.readline()
        if longest_s is not None:
            time.sleep(longest_s)
            child.kill()
    restore_backup(file, PASSPHRASE, home, clock.now().at, replaces=True)
    asides = [*home.glob("before-restore-*"), *home.glob(".restore-*")]
    for folder in (home / "log", *(path / "log" for path in asides)):
        if folder.exists():
            with AuditReader(folder) as log:
                if log.verify().fault or log.size() < 3:
                    return False
    for leftover in asides:
        shutil.rmtree(leftover)
    with CaseStore(home / "cases") as store:
        return store.count() > 0


def at_each_rename(most: int) -> Iterator[list[str]]:
    """strace's command that kills at the k-th renaming: those are what the switch consists of."""
    for number in range(1, most + 1):
        inject = f"inject=/^rename:signal=KILL:when={number}"
        yield ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=/^rename", "-e", inject]


def main(flips: int, cases: int) -> int:
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = filled_home(folder / "home", cases)
        with AuditDatabase(config.log_folder, clock.now) as log:
            started_s = time.monotonic()
            made = make_backup(config, log, folder / "a.backup", PASSPHRASE, clock.now().at, [])
            make_s = time.monotonic() - started_s
            cheap = make_backup(
                config, log, folder / "b.backup", PASSPHRASE, clock.now().at, [], CHEAP
            )
        started_s = time.monotonic()
        restore_backup(made.file, PASSPHRASE, folder / "other", clock.now().at)
        restore_s = time.monotonic() - started_s
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(f"{made.size_bytes:,} bytes: made and read back in {make_s:.1f} s, restored in")
        print(f"{restore_s:.1f} s; most memory of this process {peak} MiB")

        content = cheap.file.read_bytes()
        # Past what the header asks of the machine: a flip there may make it dear, not unseen.
        places = [chance.randrange(HEADER_BYTES, len(content)) for _ in range(flips)]
        spoilt = [flipped(content, place, chance.randrange(8)) for place in places]
        cuts = [content[: chance.randrange(len(content))] for _ in range(20)]
        for what, files in (("flips", spoilt), ("cuts", cuts), ("moved", rearranged(content))):
            refused = sum(is_refused(one, folder, folder / "other") for one in files)
            print(f"{what}: {refused} of {len(files)} refused, the home as it was")
            if refused != len(files):
                return 1

        other = folder / "other"
        kills = [
            killed(cheap.file, other, [], chance.uniform(0, 2 * restore_s))
            for _ in range(flips // 5)
        ]
        if shutil.which("strace"):
            kills += [killed(cheap.file, other, traced, None) for traced in at_each_rename(RENAMES)]
        else:
            print("without strace the switch itself is not killed")
        print(f"kills while restoring: {sum(kills)} of {len(kills)} whole after once more")
        if not all(kills):
            return 1

        with cheap.file.open("rb") as file:
            reader = SealedReader(file, PASSPHRASE, "")
            plain = b"".join(iter(lambda: reader.read(1 << 20), b""))
        taken = sum(
            is_taken_unsealed(flipped(plain, chance.randrange(len(plain)), 3)) for _ in places
        )
        print(f"control, the archive without its seal: {taken} of {flips} flips go unseen")
        return 0 if taken else 1


if __name__ == "__main__":
    os.umask(0o077)
    given = [int(text) for text in sys.argv[1:]]
    sys.exit(main(*(given + [200, 40][len(given) :])))
