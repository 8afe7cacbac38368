"""The doctor: looks at this machine as the appliance needs it, and mends nothing.

Each check is a function that yields findings; one that fails is itself a finding. The log, which
is looked at through an opening of its own, and what is recorded are the wiring's business.
"""

import os
import pwd
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path

from appliance.config import SETTINGS, Config
from appliance.core.cases import Wanted
from appliance.core.entry import Moment
from appliance.core.gate import NOT_FITTED
from appliance.core.health import Finding
from appliance.core.merkle import HASH_BYTES
from appliance.edges.audit_aside import LOG_FILE, UNPACKING
from appliance.edges.audit_reader import AuditReader
from appliance.edges.audit_runs import live_runs
from appliance.edges.audit_sqlite import FIRST_SOUND_WAL, is_wal
from appliance.edges.backup import STAGING
from appliance.edges.case_store import CASES_FILE, CaseStore
from appliance.edges.guideline_sets import newer_sets, open_index, set_in_use
from appliance.edges.images import limited_command
from appliance.edges.llama import LlamaCaptioner
from appliance.edges.restore import SET_ASIDE
from appliance.edges.users_db import UserDatabase
from appliance.errors import (
    ApplianceError,
    AuditError,
    AuditMissingError,
    GuidelineIndexError,
    ReleaseError,
)
from appliance.release.box import suitable_threads, this_machine
from appliance.release.manifest import verify
from appliance.release.shelf import find_release

FIRST_YEAR = 2026
"""Of this program: a clock that says less is wrong."""
LEAST_FREE, LITTLE_FREE = 200 << 20, 2 << 30
"""Bytes."""
LONG_UNWITNESSED = timedelta(days=31)
FIRST_PERSON, LAST_PERSON = 1000, 60_000
"""Numbers of people's accounts of the system (Debian Policy 9.2.2)."""
IN_USE = 0.9
"""Share of the memory that a model's process may take."""
LONGEST_S = 30
"""For a process to start and try what it may not do."""
ATTEMPTS = """
import socket
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
    try: socket.socket(family)
    except OSError: continue
    raise SystemExit(str(family))
print("silent")
"""


def look(config: Config, now: Moment, *, full: bool, quick: bool = False) -> list[Finding]:
    """With `full`, every entry of the log is proved; that may take a minute. With `quick` the
    release's files are not hashed nor its model started, for a program that has them at work.
    """
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("clock", lambda: _clock(config, now)),
        ("disk", lambda: _disk(config)),
        ("permissions", lambda: _permissions(config)),
        ("leftovers", lambda: _leftovers(config)),
        ("sqlite", lambda: _sqlite(config)),
        ("log", lambda: _log(config, now, full=full)),
        ("cases", lambda: _cases(config)),
        ("guidelines", lambda: _index(config, quick=quick)),
        ("release", lambda: _release(config, quick=quick)),
        *([] if quick else [("model", lambda: _model(config))]),
        ("network", _network),
        ("access", lambda: _access(config, now)),
        ("settings", lambda: _settings(config)),
    ]
    return [finding for name, check in checks for finding in _found(name, check)]


def _found(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except ApplianceError as exc:
        yield Finding(name, "bad", exc.message, exc.hint, exc.exit_code)
    except (OSError, sqlite3.Error, subprocess.TimeoutExpired) as exc:
        hint = "check the disk and the folder's permissions"
        yield Finding(name, "bad", f"it cannot be looked at ({exc})", hint)


def _clock(config: Config, now: Moment) -> Iterator[Finding]:
    at = datetime.fromisoformat(now.at)
    newest = _newest(config)
    hint = "set the clock: `sudo timedatectl set-time 'YYYY-MM-DD hh:mm'`"
    if at.year < FIRST_YEAR:
        yield Finding("clock", "bad", f"it says {at:%Y-%m-%d}, before this program was made", hint)
    elif newest and at < newest - timedelta(seconds=2):
        text = (
            f"it says {at:%Y-%m-%d %H:%M}, before the log's newest entry ({newest:%Y-%m-%d %H:%M}"
        )
        yield Finding("clock", "bad", f"{text}, UTC)", hint)
    elif newest and at > newest + timedelta(days=366):
        text = f"it says {at:%Y-%m-%d}; the log's newest entry is of {newest:%Y-%m-%d}"
        yield Finding("clock", "warn", text, f"if that is not so, {hint}")
    else:
        up = timedelta(seconds=now.up_ms // 1000)
        yield Finding("clock", "ok", f"{at:%Y-%m-%d %H:%M} UTC; the machine is up for {up}")


def _newest(config: Config) -> datetime | None:
    try:
        with AuditReader(config.log_folder) as log:
            size = log.size()
            entry = next(log.entries(size, size), None)
    except AuditError:  # the check of the log says what is the matter
        return None
    return datetime.fromisoformat(entry.at) if entry else None


def _disk(config: Config) -> Iterator[Finding]:
    seen: dict[int, list[str]] = {}
    free: dict[int, int] = {}
    for folder in (
        *(config.home, config.log_folder, config.cases_folder, config.index_folder),
        *(config.users_folder, config.releases_folder),
    ):
        place = folder
        while not place.exists():
            place = place.parent
        device = place.stat().st_dev
        seen.setdefault(device, []).append("home" if folder == config.home else folder.name)
        free[device] = shutil.disk_usage(place).free
    for device, names in seen.items():
        text = f"{free[device] / 1e9:.1f} GB free for {', '.join(names)}"
        hint = "make room; when the disk is full nothing is shown any more"
        if free[device] < LEAST_FREE:
            yield Finding("disk", "bad", text, hint)
        elif free[device] < LITTLE_FREE:
            yield Finding("disk", "warn", text, hint)
        else:
            yield Finding("disk", "ok", text)


def _permissions(config: Config) -> Iterator[Finding]:
    if not config.home.exists():
        yield Finding("permissions", "ok", f"nothing is kept yet: {config.home}")
        return
    private = (config.log_folder, config.cases_folder, config.users_folder, config.kept_folder)
    open_to_others = [
        path
        for folder in private
        if folder.exists()
        for path in (folder, *folder.rglob("*"))
        if path.stat().st_mode & 0o077
    ]
    strangers = [path for path in (config.home, *private) if path.exists() and not _is_own(path)]
    hint = f"run `chmod -R go-rwx {config.home}`"
    if open_to_others:
        text = f"others may read or change {len(open_to_others)} files: {open_to_others[0]}"
        yield Finding("permissions", "bad", text, hint)
    elif strangers:
        text = f"it belongs to another account of the system: {strangers[0]}"
        yield Finding("permissions", "bad", text, "run the appliance as the account that it is of")
    elif config.home.stat().st_mode & 0o077:
        text = f"others may look into the folder, but not at the record: {config.home}"
        yield Finding("permissions", "warn", text, hint)
    else:
        yield Finding("permissions", "ok", f"only this account may read {config.home}")


def _is_own(path: Path) -> bool:
    return path.stat().st_uid == os.geteuid()


def _leftovers(config: Config) -> Iterator[Finding]:
    for path in sorted(config.home.glob("*")) if config.home.exists() else ():
        if path.name.startswith((STAGING, UNPACKING)):
            text = f"a backup or a restore was cut short: {path}"
            yield Finding("leftovers", "warn", text, "do it once more, then delete that folder")
        elif path.name.startswith(SET_ASIDE):
            text = f"what a restore replaced is still here, cases and all: {path}"
            hint = "delete it when nobody needs it; the purge of old cases does not reach it"
            yield Finding("leftovers", "warn", text, hint)


def _sqlite(config: Config) -> Iterator[Finding]:
    version = sqlite3.sqlite_version
    databases = [config.log_folder / LOG_FILE, config.cases_folder / CASES_FILE]
    wal = [path for path in databases if path.exists() and is_wal(path)]
    if wal and sqlite3.sqlite_version_info < FIRST_SOUND_WAL:
        text = f"another program set it to WAL mode, which SQLite {version} can corrupt: {wal[0]}"
        yield Finding("sqlite", "bad", text, "restore it from a backup, and keep others off it")
    else:
        mode = "WAL" if wal else "rollback journal"
        yield Finding("sqlite", "ok", f"version {version}, {mode}")


def _log(config: Config, now: Moment, *, full: bool) -> Iterator[Finding]:
    try:
        reader = AuditReader(config.log_folder)
    except AuditMissingError as exc:
        yield Finding("log", "ok", exc.message)
        return
    with reader as log:
        size, kept = log.size(), log.checkpoints()
        if full and (fault := log.verify().fault):
            hint = "keep the folder as it is and tell the person who keeps the log"
            yield Finding("log", "bad", f"it is broken: {fault}", hint, AuditError.exit_code)
        else:
            proved = "every one proved" if full else "its end fits; `--full` proves every one"
            yield Finding("log", "ok", f"{size} entries, {proved}")
        outside = [one for one in kept if one.why in ("export", "shown", "archive")]
    at = datetime.fromisoformat(now.at)
    hint = "write down the code of `appliance audit checkpoint`, or export the log"
    if not outside:
        yield Finding(
            "checkpoint", "warn", "none was ever shown, so a rewritten log is not seen", hint
        )
    elif (age := at - datetime.fromisoformat(outside[-1].at)) > LONG_UNWITNESSED:
        text = f"the newest that may be kept elsewhere is {age.days} days old"
        yield Finding("checkpoint", "warn", text, hint)
    else:
        text = f"the newest that may be kept elsewhere covers entry {outside[-1].size} of {size}"
        yield Finding("checkpoint", "ok", text)
    running = config.log_folder / "running"
    dead = sum(1 for _ in running.glob("*")) - live_runs(config.log_folder)
    if dead:
        text = f"openings of the log that were ended by a kill or a crash: {dead}"
        yield Finding("crashes", "warn", text, "it is recorded by now; see `appliance audit list`")


def _cases(config: Config) -> Iterator[Finding]:
    if not (config.cases_folder / CASES_FILE).exists():
        yield Finding("cases", "ok", "none are kept yet")
        return
    with CaseStore(config.cases_folder) as store:
        newest = store.find(Wanted(), 1)
        count, oldest = store.count(), store.oldest_proof()
    hint = "bring that log back from a backup, and tell the person who keeps it"
    if oldest and not _is_in_log(config, *oldest):
        text = f"the oldest case was recorded as entry {oldest[0]} of a log that is gone"
        yield Finding("cases", "bad", text, hint, AuditError.exit_code)
        return
    said = newest[0].answer["audit"] if newest else None
    if said and not _is_in_log(config, said["seq"], said["hash"]):
        seq = said["seq"]
        text = f"the newest case was recorded as entry {seq}; the log was cut back or replaced"
        yield Finding("cases", "bad", text, hint, AuditError.exit_code)
        return
    last = f", the newest of {newest[0].at[:10]}" if newest else ""
    days = config.keep_cases_days
    yield Finding("cases", "ok", f"{count} kept{last}; purged after {days} days")


def _is_in_log(config: Config, seq: int, entry_hash: str) -> bool:
    """Whether it is an entry of the log here, or may be of one that this log names."""
    try:
        with AuditReader(config.log_folder) as log:
            first, row = next(log.entries(1, 1), None), next(log.rows(seq, seq), None)
    except AuditMissingError:
        return False
    except AuditError:  # the check of the log says what is the matter
        return True
    names_another = first is None or first.body["before"] is not None
    return names_another or (row is not None and row.hashes[:HASH_BYTES].hex() == entry_hash)


def _index(config: Config, *, quick: bool) -> Iterator[Finding]:
    try:
        index = open_index(config)
    except GuidelineIndexError as exc:
        yield Finding("guidelines", "bad", exc.message, exc.hint, exc.exit_code)
        return
    with index:
        problems, documents = index.check(quick=quick), index.documents()
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        yield Finding("guidelines", "bad", problems[0] + more, "run `appliance guidelines rebuild`")
    else:
        text = f"{len(documents)} documents, {sum(each.passages for each in documents)} passages"
        yield Finding("guidelines", "ok", f"set {set_in_use(config)}: {text}")
    for name in newer_sets(config):
        hint = f"two people look at `guidelines list --set {name}` and run `guidelines activate`"
        yield Finding("guidelines", "warn", f"a kit brought a set that is not in use: {name}", hint)
    for document in documents:
        for note in document.notes:
            if "superseded" in note or "review was due" in note:
                hint = "add the new edition and remove this one"
                yield Finding("guidelines", "warn", f"{document.title}: {note}", hint)


def _release(config: Config, *, quick: bool) -> Iterator[Finding]:
    release = find_release(config.releases_folder, config.release)
    try:
        if not quick:
            verify(release)
    except ReleaseError as exc:  # it is there, but not as it should be
        yield Finding("release", "bad", exc.message, exc.hint)
        return
    proved = "`appliance doctor` looks at its files" if quick else "every file as declared"
    yield Finding("release", "ok", f"{release.name} {release.version}, {proved}")
    if release.card.demonstration:
        text = "it is for demonstration, not for clinical use"
        yield Finding("release", "warn", text, "bring a clinical release on a kit")
    if not release.card.calibration.is_measured:
        text = "it was not measured, so it abstains on every picture"
        yield Finding("release", "warn", text, "run `appliance release measure`")
    if release.card.gate.familiarity is None:
        yield Finding("release", "warn", NOT_FITTED, "run `appliance release measure`")
    size_bytes = sum(file.size_bytes for file in release.files.values())
    machine, free_bytes = this_machine(), _available_bytes()
    text = f"{free_bytes / 1e9:.1f} of {machine.memory_bytes / 1e9:.1f} GB are free"
    needs = f"; the model's files have {size_bytes / 1e9:.2f} GB"
    if size_bytes > IN_USE * machine.memory_bytes:
        yield Finding("memory", "bad", text + needs, "use a smaller release or a larger machine")
    elif size_bytes > free_bytes:
        yield Finding("memory", "warn", text + needs, "close other programs")
    else:
        yield Finding("memory", "ok", text + needs)


def _available_bytes() -> int:
    """That programs may still take (proc(5), MemAvailable); all of it where that is not told."""
    try:
        told = Path("/proc/meminfo").read_text(encoding="ascii")
        line = next(line for line in told.splitlines() if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return this_machine().memory_bytes


def _model(config: Config) -> Iterator[Finding]:
    release = find_release(config.releases_folder, config.release)
    threads = config.threads or suitable_threads(release)
    with LlamaCaptioner(release, threads, config.encoder) as model:
        started_s = time.monotonic()
        process = model.load()
        text = f"loaded in {time.monotonic() - started_s:.1f} s, with {threads} threads"
        yield Finding("model", "ok", text)
        if _is_filtered(process):
            yield Finding("network", "ok", "the model's process can open no connection")
        else:
            text = "the system does not keep the model's process off the network"
            yield Finding("network", "warn", text, _NO_FILTER)


_NO_FILTER = "keep the machine off every network; Linux on x86-64 or ARM would forbid it"


def _is_filtered(process: int) -> bool:
    """Whether a filter of system calls is in force (proc(5), Seccomp: 2)."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:
        return False
    return "\nSeccomp:\t2\n" in status


def _network() -> Iterator[Finding]:
    """What the process that decodes pictures may do, tried in one like it."""
    command, environment = limited_command(ATTEMPTS)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=LONGEST_S
    )
    if done.stdout == "silent\n":
        yield Finding("network", "ok", "the process that opens pictures can open no connection")
    else:
        text = "the system does not keep the process that opens pictures off the network"
        yield Finding("network", "warn", text, _NO_FILTER)


def _access(config: Config, now: Moment) -> Iterator[Finding]:
    if config.access == "single":
        people = _people()
        text = "single user: nobody signs in, whoever sits here may do everything"
        if people > 1:
            hint = "run `appliance users begin`"
            text += f"; {people} people have accounts of this system"
            yield Finding("access", "warn", text, hint)
        else:
            yield Finding("access", "ok", text)
        return
    with UserDatabase(config.users_folder, lambda: now) as users:
        accounts = [one for one in users.accounts() if not one.is_disabled]
    administrators = sum(one.role == "administrator" for one in accounts)
    text = f"{len(accounts)} people may sign in, {administrators} of them administrators"
    if not administrators:
        hint = "run `appliance users recover`; if all accounts are gone, restore a backup"
        yield Finding("access", "bad", text, hint)
    elif administrators == 1:
        hint = "add a second: `appliance users add NAME --role administrator`"
        yield Finding("access", "warn", text, hint)
    else:
        yield Finding("access", "ok", text)


def _people() -> int:
    """Accounts of the system with which a person may sign in to it."""
    return sum(
        FIRST_PERSON <= one.pw_uid < LAST_PERSON and not one.pw_shell.endswith(("nologin", "false"))
        for one in pwd.getpwall()
    )


def _settings(config: Config) -> Iterator[Finding]:
    default = {field.name: field.default for field in fields(Config)}
    changed = [
        f"{key} = {getattr(config, key)}"
        for key in SETTINGS
        if getattr(config, key) != default[key]
    ]
    yield Finding("settings", "ok", "; ".join(changed) or "as they come")
    if given := [key for key in SETTINGS if os.environ.get(f"APPLIANCE_{key.upper()}")]:
        text = f"the environment overrides: {', '.join(given)}"
        yield Finding("settings", "warn", text, "unset APPLIANCE_* to have the file's settings")
