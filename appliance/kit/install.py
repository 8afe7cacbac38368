"""Installing a kit beside what runs, trying it there, and switching to it at one stroke.

Standard library only: at the first install it runs from the stick, later from the installed
version. Until the switch nothing that runs is touched; a kill at any time leaves the old version.
The next start clears away a copy of the cases that was left, the next install the rest.
"""

import argparse
import ctypes
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from appliance.errors import ApplianceError, KitError
from appliance.kit.slots import (
    GOOD,
    NONE,
    TRIAL_DATA,
    UNTRIED,
    Active,
    Place,
    Trust,
    alone,
    clear_slots,
    read_active,
    read_trust,
    replace_file,
    sync_disk,
    sync_folder,
    usual_home,
    usual_prefix,
    write_active,
    write_launcher,
    write_trust,
)
from appliance.kit.verify import (
    CUDA,
    CUDA_REQUIREMENTS,
    GUIDELINES,
    INDEX,
    KEYS,
    MANIFEST,
    RELEASES,
    REQUIREMENTS,
    WHEELS,
    KeyList,
    Kit,
    KitFile,
    Say,
    canonical,
    contents,
    copy_file,
    is_code,
    open_kit,
    read_keys,
    read_small,
    refuse_odd_wheel,
)

SPARE_BYTES = 256 << 20
"""Left free on the disk, so that the record can still be written."""
LONGEST_S = 3600
"""For one step of another program: unpacking, trying."""
CUDA_DRIVER = "libcuda.so.1"
PARTIAL = ".partial"
KEPT = "before-update"
"""In the home: databases and settings as they were before the last update."""
KEPT_FOLDERS = ("log", "users", INDEX)
"""And the guideline set in use. Cases are not among them: what is purged must be gone."""
CASES = "cases"
SET = "set.json"
"""In a guideline set's folder: which kit brought it, and the hash of what it brought."""
SET_FOLDER = re.compile(r"kit-[0-9]+")
SQLITE_HEADER = b"SQLite format 3\0"
ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "HOME")

TypeCode = Callable[[], str]
"""Asks for the code on the paper that came with the kit."""


def install(folder: Path, place: Place, say: Say, type_code: TypeCode) -> Active:
    """Install the kit in `folder`; `type_code` is asked at the first install only.

    Raises: KitError; what ran before then runs on.
    """
    with alone(place):
        trust = read_trust(place)
        kit = open_kit(folder, trust.keys if trust else keys_by_code(folder, type_code()))
        refuse_old(kit, trust)
        python = refuse_unfit(kit)
        before = read_active(place)
        slot = f"{kit.version}-{secrets.token_hex(4)}"
        after = Active(slot, _to_go_back_to(before, kit.version), UNTRIED if before else GOOD)
        try:
            clear_slots(place)
            _fill(kit, place, slot, python, before, say)
            if trust is None or kit.version >= trust.version:
                write_trust(place, Trust(kit.keys, kit.version, kit.sha256))
            write_launcher(place)
            write_active(place, after)
        except BaseException as exc:
            if read_active(place) != after:
                shutil.rmtree(place.slots / slot, ignore_errors=True)
            if not isinstance(exc, OSError):
                raise
            raise KitError(
                f"the kit could not be installed ({exc})",
                "make room, check the folders' permissions, then install again",
            ) from exc
        with suppress(OSError):  # the next install clears them
            clear_slots(place)
    return after


def manifest_hash(place: Place, active: Active) -> str:
    """Of the kit that a version came with."""
    return _hash(place.slots / active.current / "kit" / MANIFEST)


def keys_by_code(folder: Path, code: str) -> KeyList:
    """The list of keys in a kit that has this code. Raises: KitError."""
    for path in contents(folder):
        # Some drivers of FAT show short names in capitals.
        if (known := path.casefold()).startswith(f"{KEYS}/") and known.endswith(".json"):
            text = read_small(folder, path)
            if is_code(code, text):
                return read_keys(text)
    raise KitError(
        f"the code does not belong to the keys of this kit: {folder}",
        "type it again from the paper; if it still differs, do not use this stick",
    )


def refuse_old(kit: Kit, trust: Trust | None) -> None:
    """Raises: KitError for a kit that is older than what was once installed, or another one of
    the same number, unless it carries signed leave."""
    if trust is None or kit.version > trust.version or kit.sha256 == trust.sha256:
        return
    if kit.version == trust.version:
        raise KitError(
            f"another kit with number {kit.version} was installed here", "ask who made them"
        )
    if not kit.allows_downgrade:
        raise KitError(
            f"the kit is older ({kit.version}) than what was installed here ({trust.version})",
            "use the newest kit, or ask for signed leave to go back (`appliance kit allow-older`)",
        )


def refuse_unfit(kit: Kit) -> str:
    """The Python to install with. Raises: KitError when this machine cannot run the kit."""
    if (sys.platform, platform.machine()) != ("linux", kit.machine):
        raise KitError(
            f"the kit is for Linux on {kit.machine}, this is {sys.platform} on "
            f"{platform.machine()}",
            "use a kit made for this machine",
        )
    if missing := sorted(kit.processor - _processor_flags()):
        raise KitError(
            f"this processor is too old: it lacks {', '.join(missing)}",
            "use a newer machine, or ask for a kit made for this one",
        )
    found = tuple(int(number) for number in re.findall(r"\d+", platform.libc_ver()[1])[:2])
    if found < kit.glibc:
        raise KitError(
            f"the system is too old: its C library is {'.'.join(map(str, found)) or 'unknown'}, "
            f"the kit needs {'.'.join(map(str, kit.glibc))}",
            "use a newer Linux (Debian 12, Ubuntu 24.04), or ask for a kit made for this one",
        )
    names = [f"python{version}" for version in kit.pythons]
    for python in (getattr(sys, "_base_executable", sys.executable), *names):
        if (there := shutil.which(python)) and _python_version(there) in kit.pythons:
            return there
    raise KitError(
        f"no Python {' or '.join(kit.pythons)} was found",
        "install one from the system's own medium, or ask for a kit for the Python that is here",
    )


def _fill(kit: Kit, place: Place, slot: str, python: str, before: Active | None, say: Say) -> None:
    """The slot, whole and tried; model releases and guidelines, in the home beside those in use."""
    folder = place.slots / slot
    releases = _new_releases(kit, place)
    guidelines = _new_guidelines(kit, place)
    programs = [file for file in kit.files.values() if not _is_data(file)]
    copied = [*programs, *guidelines, *(file for files in releases.values() for file in files)]
    _refuse_little_room(kit, place, copied)
    pace = _Pace(kit.size_bytes, say)
    (folder / "kit").mkdir(parents=True)
    (folder / "kit" / MANIFEST).write_bytes(kit.text)
    there = {} if before is None else _same_already(place.slots / before.current / "kit", programs)
    for file in programs:
        _copy(kit, file, folder / "kit" / file.path, there.get(file.sha256), pace)
    aside = [*(place.home / RELEASES / f"{name}{PARTIAL}" for name in releases)]
    for left in (place.home / GUIDELINES).glob(f"*{PARTIAL}"):  # by a killed install
        shutil.rmtree(left)
    if guidelines:
        aside.append(place.home / GUIDELINES / f"{set_name(kit.version)}{PARTIAL}")
    try:
        for name, files in releases.items():
            target = place.home / RELEASES / f"{name}{PARTIAL}"
            _copy_tree(kit, files, f"{RELEASES}/{name}/", target, pace)
        if guidelines:
            _copy_guidelines(kit, guidelines, aside[-1], pace)
        for file in kit.files.values():
            if file not in copied:  # every byte is checked, wanted or not
                copy_file(kit, file, None, pace)
        for wheel in sorted((folder / "kit").glob("*/*.whl")):
            refuse_odd_wheel(wheel, kit.unpacked_bytes)
        _make_and_try(place, slot, python, aside, say)
        _keep_data(place, before, slot, say)
        sync_disk(folder)
        if place.home.exists():
            sync_disk(place.home)
        for path in aside:
            path.rename(path.with_name(path.name.removesuffix(PARTIAL)))
            sync_folder(path.parent)
    finally:
        for path in aside:
            shutil.rmtree(path, ignore_errors=True)


def _new_releases(kit: Kit, place: Place) -> dict[str, list[KitFile]]:
    """Model releases that are not in the home yet. Raises: KitError when another one of that name
    is: which is in use is for two people to say (`appliance release activate`), not for a kit."""
    new = {}
    for name in sorted({file.path.split("/")[1] for file in _under(kit, RELEASES)}):
        files = _under(kit, f"{RELEASES}/{name}")
        folder = place.home / RELEASES / name
        if not folder.exists():
            new[name] = files
        elif not all(_is_same(place.home / file.path, file) for file in files):
            raise KitError(
                f"another release of that name is on this machine, or it is damaged: {folder}",
                "rename that folder, then install again",
            )
    return new


def set_name(version: int) -> str:
    """Of the guidelines that a kit of this number brought."""
    return f"kit-{version}"


def _new_guidelines(kit: Kit, place: Place) -> list[KitFile]:
    """Index and documents, unless a set of these very files is here: which set answers is for two
    people to say (`appliance guidelines activate`), not for a kit. Raises: KitError."""
    files = [*_under(kit, INDEX), *_under(kit, GUIDELINES)]
    for known in sorted((place.home / GUIDELINES).glob(f"*/{SET}")):
        if not SET_FOLDER.fullmatch(known.parent.name):  # renamed, or left by a killed install
            continue
        try:
            said = json.loads(known.read_bytes())
            if said["sha256"] == _set_hash(files):
                return []
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise KitError(
                f"a guideline set cannot be read ({exc}): {known}",
                "rename its folder, then install again",
            ) from exc
    folder = place.home / GUIDELINES / set_name(kit.version)
    if files and folder.exists():
        raise KitError(
            f"other guidelines of that kit's number are on this machine: {folder}",
            "rename that folder, then install again",
        )
    return files


def _copy_guidelines(kit: Kit, files: Sequence[KitFile], target: Path, pace: "_Pace") -> None:
    target.mkdir(mode=0o700, parents=True)
    for above, below in ((INDEX, "index"), (GUIDELINES, "documents")):
        if inside := [file for file in files if file.path.startswith(f"{above}/")]:
            _copy_tree(kit, inside, f"{above}/", target / below, pace)
    said = {"kit": kit.version, "sha256": _set_hash(files)}
    replace_file(target / SET, canonical(said) + b"\n", 0o600)


def _set_hash(files: Sequence[KitFile]) -> str:
    return hashlib.sha256(canonical({file.path: file.sha256 for file in files})).hexdigest()


def set_in_use(home: Path) -> str:
    """The guideline set that the settings name; empty: the clinic's own, or they cannot be read."""
    try:
        with (home / "settings.toml").open("rb") as file:
            name = str(tomllib.load(file).get("guidelines", ""))
    except (OSError, ValueError):
        return ""
    return name if SET_FOLDER.fullmatch(name) else ""


def _make_and_try(place: Place, slot: str, python: str, aside: Sequence[Path], say: Say) -> None:
    """With the kit's wheels for a graphics card where its driver is; with the others where it is
    not, or where the version with the card fails its trial. Raises: KitError."""
    folder = place.slots / slot
    if (folder / "kit" / CUDA).exists() and _has_card():
        say("unpacking the program, for the graphics card")
        try:
            _make_program(folder, python, CUDA_REQUIREMENTS)
            say("trying the new version with the graphics card")
            _try(place, slot, aside)
        except KitError as exc:
            say(f"note: the graphics card is not used: {exc.message}")
            shutil.rmtree(folder / "venv")
        else:
            return
    say("unpacking the program")
    _make_program(folder, python, REQUIREMENTS)
    say("trying the new version")
    _try(place, slot, aside)


def _has_card() -> bool:
    """Whether this machine has the library of NVIDIA's driver."""
    try:
        ctypes.CDLL(CUDA_DRIVER)
    except OSError:
        return False
    return True


def _make_program(folder: Path, python: str, requirements: str) -> None:
    """A virtual environment of the kit's wheels: nothing is fetched, each wheel's hash is asked
    for, nothing is compiled. pip runs from its own wheel."""
    wheels = folder / "kit" / WHEELS
    venv = folder / "venv"
    _run([python, "-I", "-m", "venv", "--without-pip", str(venv)], "the program was not unpacked")
    pip = next(wheels.glob("pip-*.whl"))
    _run(
        [
            str(venv / "bin" / "python"), "-I", f"{pip}/pip", "--isolated", "install", "--quiet",
            "--disable-pip-version-check", "--no-cache-dir", "--no-warn-script-location",
            "--no-compile",  # the trial compiles what it loads, which is what is used
            "--no-index", "--find-links", str(wheels),
            # The same folder, or the card's: `==1` would take a card's `1+cuda` (PEP 440).
            "--find-links", str((folder / "kit" / requirements).parent),
            "--require-hashes", "--only-binary", ":all:", "--no-deps",
            "--requirement", str(folder / "kit" / requirements),
        ],
        "the program was not unpacked",
    )  # fmt: skip


def _try(place: Place, slot: str, aside: Sequence[Path]) -> None:
    """The new version tries itself, in a home of its own. Raises: KitError."""
    home = place.slots / slot / "trial-home"
    folder = place.slots / slot / "kit"
    releases = [str(path) for path in aside if path.parent.name == RELEASES]
    try:
        _run(
            [str(place.python(slot)), "-I", "-m", "appliance", "kit", "self-test", str(folder)]
            + [part for path in releases for part in ("--release", path)],
            "the new version failed its own trial",
            home,
        )
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _kept_folders(home: Path) -> list[str]:
    used = set_in_use(home)
    return [*KEPT_FOLDERS, f"{GUIDELINES}/{used}"] if used else [*KEPT_FOLDERS]


def _keep_data(place: Place, before: Active | None, slot: str, say: Say) -> None:
    """Copy the databases by SQLite's own backup; see that the new version works on another such
    copy, and that the old one can still read it afterwards. Raises: KitError."""
    kept_folders = _kept_folders(place.home)
    folders = [*kept_folders, CASES]
    if not any((place.home / name).exists() for name in folders):
        return
    say("keeping a copy of the record, and trying the new version on another")
    trial = place.slots / slot / TRIAL_DATA

    def work_on_it(version: str, failed: str) -> None:
        python = str(place.python(version))
        _run([python, "-I", "-m", "appliance", "kit", "try-data"], failed, trial)

    try:
        copy_data(place.home, trial, folders)
        could_before = False
        if before:
            with suppress(KitError):  # a damaged version is no reason to refuse its repair
                work_on_it(before.current, "")
                could_before = True
        work_on_it(slot, "the new version cannot work on this machine's record")
        if before and could_before:
            work_on_it(before.current, "the old version cannot read the record after the new one")
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    kept = place.home / KEPT
    shutil.rmtree(kept.with_name(KEPT + PARTIAL), ignore_errors=True)
    copy_data(place.home, kept.with_name(KEPT + PARTIAL), kept_folders)
    shutil.rmtree(kept, ignore_errors=True)
    kept.with_name(KEPT + PARTIAL).rename(kept)


def refuse_unusable_before(place: Place) -> None:
    """Raises: KitError when the version before this one would not start, as with a setting that it
    does not know yet."""
    active = read_active(place)
    if active is None or active.previous == NONE:
        return
    program = [str(place.python(active.previous)), "-I", "-m", "appliance", "kit", "--help"]
    try:
        _run(program, "the version before this one does not start here", place.home)
    except KitError as exc:
        raise KitError(
            exc.message,
            f"if it names a setting, take that line out of {place.home / 'settings.toml'} first",
        ) from exc


def copy_data(home: Path, target: Path, folders: Sequence[str]) -> None:
    """The settings and some folders of a home; databases by SQLite's backup, which gives a whole
    one while others write."""
    target.mkdir(mode=0o700, parents=True)
    sources = [home / "settings.toml"]
    for name in folders:
        sources += sorted((home / name).rglob("*"))
    for source in sources:
        copy = target / source.relative_to(home)
        if not source.is_file() or source.is_symlink() or source.name.endswith("-journal"):
            continue
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with source.open("rb") as file:
            is_database = file.read(len(SQLITE_HEADER)) == SQLITE_HEADER
        if not is_database:
            shutil.copy2(source, copy)
            continue
        try:
            with (
                closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True)) as old,
                closing(sqlite3.connect(copy)) as new,
            ):
                old.backup(new)
        except sqlite3.Error as exc:
            raise KitError(
                f"a database cannot be copied ({exc}): {source}",
                "run `appliance doctor`; what ran before runs on",
            ) from exc
        copy.chmod(source.stat().st_mode & 0o777)


def _run(command: Sequence[str], failed: str, home: Path | None = None) -> None:
    """Raises: KitError with the last line that the program said."""
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    if home:
        environment["APPLIANCE_HOME"] = str(home)
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LONGEST_S,
            check=False,
        )
        said = done.stdout.decode("utf-8", "replace").strip().splitlines()
        code = done.returncode
    except subprocess.TimeoutExpired:
        said, code = [f"it took longer than {LONGEST_S // 60} minutes"], 1
    if code:
        why = "; ".join(re.sub(r"[^ -~]", "?", line) for line in said[-3:]) or f"exit {code}"
        raise KitError(f"{failed} ({why})", "what ran before runs on; tell those who made the kit")


def _copy_tree(kit: Kit, files: Sequence[KitFile], above: str, target: Path, pace: "_Pace") -> None:
    """What a killed install left there is cleared first."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(mode=0o700, parents=True)
    for file in files:
        _copy(kit, file, target / file.path.removeprefix(above), None, pace)


def _copy(kit: Kit, file: KitFile, target: Path, same: Path | None, pace: "_Pace") -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if same is not None:
        copy_file(kit, file, None, pace)
        os.link(same, target)
        return
    with target.open("xb") as copy:
        copy_file(kit, file, copy, pace)
        copy.flush()
        os.fsync(copy.fileno())


def _same_already(folder: Path, files: Sequence[KitFile]) -> dict[str, Path]:
    """Files of the version that runs now that are wanted again, by hash."""
    wanted = {file.sha256: file for file in files}
    sizes = {file.size_bytes for file in files}
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size in sizes:
            sha256 = _hash(path)
            if sha256 in wanted:
                found[sha256] = path
    return found


def _is_same(path: Path, file: KitFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size_bytes and _hash(path) == file.sha256


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_data(file: KitFile) -> bool:
    return file.path.split("/")[0] in (RELEASES, INDEX, GUIDELINES)


def _under(kit: Kit, folder: str) -> list[KitFile]:
    return [file for path, file in kit.files.items() if path.startswith(f"{folder}/")]


def _refuse_little_room(kit: Kit, place: Place, copied: Sequence[KitFile]) -> None:
    kept_folders = _kept_folders(place.home)
    data_bytes = sum(file.size_bytes for file in copied if _is_data(file))
    data_bytes += _size_bytes(place.home, kept_folders)
    program_bytes = sum(file.size_bytes for file in copied if not _is_data(file))
    program_bytes += _size_bytes(place.home, [*kept_folders, CASES])
    wanted = {place.slots: program_bytes + kit.unpacked_bytes}
    home = next(folder for folder in (place.home, *place.home.parents) if folder.exists())
    if home.stat().st_dev == place.slots.stat().st_dev:
        wanted[place.slots] += data_bytes
    else:
        wanted[home] = data_bytes
    for folder, wanted_bytes in wanted.items():
        free_bytes = shutil.disk_usage(folder).free
        if wanted_bytes + SPARE_BYTES > free_bytes:
            raise KitError(
                f"the kit needs {(wanted_bytes + SPARE_BYTES) / 1e9:.2f} GB and {folder} has "
                f"{free_bytes / 1e9:.2f} GB free",
                "make room, or give --prefix or APPLIANCE_HOME on a larger disk",
            )


def _size_bytes(home: Path, folders: Sequence[str]) -> int:
    """Of all files in these folders, of which `_keep_data` makes copies."""
    size_bytes = 0
    for path in (path for name in folders for path in (home / name).rglob("*")):
        with suppress(FileNotFoundError):  # a database's journal comes and goes
            status = path.lstat()
            size_bytes += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return size_bytes


def _to_go_back_to(before: Active | None, version: int) -> str:
    """The version that runs now; where there is another, not one that has not started yet, and not
    the one that is installed again, which may be damaged."""
    if before is None:
        return NONE
    if before.previous != NONE and (before.state != GOOD or before.version == version):
        return before.previous
    return before.current


def _processor_flags() -> set[str]:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() in ("flags", "Features"):
                    return set(value.split())
    except OSError:
        pass
    return set()


def _python_version(python: str) -> str:
    done = subprocess.run(
        [python, "-I", "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


class _Pace:
    """How far the copying is, said now and then."""

    def __init__(self, total_bytes: int, say: Say) -> None:
        self._total, self._done, self._say = max(total_bytes, 1), 0, say
        self._started_s = self._said_s = time.monotonic()

    def __call__(self, size_bytes: int) -> None:
        self._done += size_bytes
        now_s = time.monotonic()
        if now_s - self._said_s > 0.5:
            self._said_s = now_s
            left_s = (now_s - self._started_s) * (self._total / max(self._done, 1) - 1)
            self._say(
                f"checking and copying: {self._done / 1e6:.0f} of {self._total / 1e6:.0f} MB, "
                f"about {left_s:.0f} s left"
            )


def main() -> int:
    """What install.sh on the stick runs, after it has checked these files."""
    parser = argparse.ArgumentParser(prog="install.sh", description="Install the appliance.")
    parser.add_argument("kit", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--prefix", type=Path, default=usual_prefix(), help="default: ~/.local")
    parser.add_argument("--keys", metavar="CODE", help="the code on the paper; else it is asked")
    given = parser.parse_args()
    place = Place(given.prefix.absolute(), usual_home())

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def type_code() -> str:
        return given.keys or input("Type the code of the keys from the paper: ")

    try:
        active = install(given.kit, place, say, type_code)
    except ApplianceError as exc:
        say(f"error: {exc.message}\nhint: {exc.hint}")
        return exc.exit_code
    except (KeyboardInterrupt, EOFError):
        running = read_active(place)
        say(f"stopped; {f'version {running.version} runs' if running else 'nothing is installed'}")
        return 130
    program = [str(place.python(active.current)), "-I", "-m", "appliance"]
    brought = set_name(active.version)
    nothing_answers = not set_in_use(place.home) and not (place.home / INDEX).exists()
    # A version before this one may know no sets, and would not start again with one in use.
    is_first = nothing_answers and active.previous == NONE
    try:
        _run([*program, "kit", "note", "installed"], "the record could not be written", place.home)
        if is_first and (place.home / GUIDELINES / brought).exists():
            say("putting its guidelines in use")
            failed = (
                f"its guidelines are not in use yet, see `appliance guidelines activate {brought}`"
            )
            _run([*program, "guidelines", "activate", brought], failed, place.home)
    except KitError as exc:
        say(f"note: {exc.message}")
    say(f"installed: version {active.version}; start it with {place.launcher}")
    return 0
