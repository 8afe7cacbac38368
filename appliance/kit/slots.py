"""Where the installed program stands, which of its two versions runs, and whose kits are trusted.

    PREFIX/lib/clinic-appliance/slots/N-xxxxxxxx/   a version: venv/ and the kit's files, kit/
    PREFIX/lib/clinic-appliance/active              `CURRENT PREVIOUS STATE` on one line
    PREFIX/lib/clinic-appliance/trust.json          the keys, and the highest version installed
    PREFIX/bin/appliance                            starts the current version

STATE is `good`, or the count of failed starts of a version that has not started yet. Everything
that decides what runs is in that one line, which is replaced by a rename: at any time there is a
whole old version or a whole new one. Standard library only.
"""

import ctypes
import fcntl
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import KitError
from appliance.kit.verify import PRODUCT, KeyList, read_keys

NONE = "-"
GOOD, UNTRIED = "good", "0"
TRIAL_DATA = "trial-data"
"""In the folder of a version that is being installed: a copy of the home's data, cases included."""
ACTIVE_LINE = re.compile(r"([0-9]+-[0-9a-f]{8}) ([0-9]+-[0-9a-f]{8}|-) (good|[0-9])\n")

LAUNCHER = """\
#!/bin/sh
# Starts the appliance. A new version that could not be started three times is given up, and the
# one before it runs again. Written by the kit's installer.
export ORT_DISABLE_TELEMETRY=1 # onnxruntime would report each run to its maker
lib='@LIB@'
read -r current previous state < "$lib/active" || {
  echo "error: the appliance is not installed in $lib" >&2
  echo "hint: install it again from its USB stick" >&2
  exit 3
}
for left in "$lib"/slots/*/@TRIAL@; do # a copy of the cases, if an update was killed
  [ -d "$left" ] && flock -n "$lib/slots" rm -rf "$left"
done
python=$lib/slots/$current/venv/bin/python
[ -x "$python" ] || {
  echo "error: the Python that the appliance was installed with is gone: $python" >&2
  echo "hint: run install.sh on the newest stick again; the record is kept" >&2
  exit 3
}
[ "$state" = good ] && exec "$python" -I -m appliance "$@"
settle() { # unless the command itself changed what runs
  [ "$(cat "$lib/active" 2> /dev/null)" = "$current $previous $state" ] || return 0
  printf '%s %s %s\\n' "$1" "$2" "$3" > "$lib/active.$$" && mv -f "$lib/active.$$" "$lib/active"
}
"$python" -I -m appliance "$@"
code=$?
started=no
case $code in
  0 | 2 | 3 | 4 | 129 | 130 | 143) started=yes ;; # done, said why not, or stopped by the user
  *) "$python" -I -m appliance --version > /dev/null 2>&1 && [ $code = 1 ] && started=yes ;;
esac
if [ "$started" = yes ]; then
  settle "$current" "$previous" good
elif [ "$state" -lt 2 ]; then
  settle "$current" "$previous" $((state + 1))
elif [ "$previous" != - ]; then
  settle "$previous" - good
  echo "note: version ${current%-*} could not start three times; ${previous%-*} runs again" >&2
  "$lib/slots/$previous/venv/bin/python" -I -m appliance kit note went-back > /dev/null 2>&1
fi
exit $code
"""
DESKTOP = """\
[Desktop Entry]
Type=Application
Name=Clinic appliance
Comment=Captions of medical pictures with guideline passages, offline
Exec="@LAUNCHER@" tui
Terminal=true
Categories=MedicalSoftware;Science;
"""


@dataclass(frozen=True)
class Active:
    current: str
    previous: str
    """`-` when there is none."""
    state: str

    @property
    def version(self) -> int:
        return version_of(self.current)


@dataclass(frozen=True)
class Trust:
    keys: KeyList
    version: int
    """The highest that was installed: an older kit is refused."""
    sha256: str
    """Of that kit's manifest."""


@dataclass(frozen=True)
class Place:
    """Where a program is installed, and the home where its data lie."""

    prefix: Path
    home: Path

    @property
    def lib(self) -> Path:
        return self.prefix / "lib" / PRODUCT

    @property
    def slots(self) -> Path:
        return self.lib / "slots"

    @property
    def launcher(self) -> Path:
        return self.prefix / "bin" / "appliance"

    @property
    def desktop_entry(self) -> Path:
        return self.prefix / "share" / "applications" / f"{PRODUCT}.desktop"

    def python(self, slot: str) -> Path:
        return self.slots / slot / "venv" / "bin" / "python"


def usual_prefix() -> Path:
    return Path.home() / ".local"


def running_slot() -> Path | None:
    """The slot that this process runs from; None when it was installed otherwise."""
    slot = Path(sys.prefix).parent
    is_slot = slot.parent.name == "slots" and slot.parent.parent.name == PRODUCT
    return slot if is_slot else None


def running_prefix() -> Path:
    """Where this program is installed, or would be."""
    slot = running_slot()
    return slot.parents[3] if slot else usual_prefix()


def usual_home() -> Path:
    """Where the appliance keeps its data on Linux, as platformdirs has it."""
    if given := os.environ.get("APPLIANCE_HOME"):
        return Path(given).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "appliance"


def read_active(place: Place) -> Active | None:
    """None when nothing is installed. Raises: KitError."""
    path = place.lib / "active"
    try:
        line = path.read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    if not (found := ACTIVE_LINE.fullmatch(line)):
        raise KitError(
            f"the file that says what is installed is damaged: {path}",
            f"remove {place.lib} and install again from the stick; the record is elsewhere",
        )
    return Active(*found.groups())


def write_active(place: Place, active: Active) -> None:
    """The switch. After it, and never before, the other version runs."""
    replace_file(
        place.lib / "active", f"{active.current} {active.previous} {active.state}\n".encode(), 0o644
    )


def go_back(place: Place) -> Active:
    """Run the previous version again; the present one stays, to come back to. Raises: KitError."""
    with alone(place):
        active = read_active(place)
        if active is None or active.previous == NONE:
            raise KitError(
                f"there is no earlier version to go back to in {place.lib}",
                "install a kit of the version you want; an older one needs signed leave",
            )
        back = Active(active.previous, active.current, GOOD)
        write_active(place, back)
        return back


def read_trust(place: Place) -> Trust | None:
    """None before the first install. Raises: KitError."""
    path = place.lib / "trust.json"
    try:
        said = json.loads(path.read_bytes())
        return Trust(read_keys(said["keys"].encode()), int(said["version"]), str(said["sha256"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise KitError(
            f"the keys of this machine cannot be read ({exc}): {path}",
            "remove the file and install again, comparing the keys' code with the paper",
        ) from exc


def write_trust(place: Place, trust: Trust) -> None:
    said = {"keys": trust.keys.text.decode(), "version": trust.version, "sha256": trust.sha256}
    replace_file(place.lib / "trust.json", json.dumps(said).encode() + b"\n", 0o644)


def write_launcher(place: Place) -> None:
    """The command and the desktop entry, if they are not there as they should be."""
    quoted = str(place.lib).replace("'", "'\\''")
    for path, text, mode in (
        (place.launcher, LAUNCHER.replace("@LIB@", quoted).replace("@TRIAL@", TRIAL_DATA), 0o755),
        (place.desktop_entry, DESKTOP.replace("@LAUNCHER@", str(place.launcher)), 0o644),
    ):
        if not path.is_file() or path.read_bytes() != text.encode():
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, text.encode(), mode)


def clear_slots(place: Place) -> None:
    """Away with every version but the current and the previous one, and the one that does it."""
    active = read_active(place)
    kept = {active.current, active.previous} if active else set()
    if running := running_slot():
        kept.add(running.name)
    for slot in place.slots.iterdir() if place.slots.is_dir() else ():
        if slot.name not in kept:
            shutil.rmtree(slot)


def uninstall(place: Place) -> None:
    """Remove the program; the home stays. Raises: KitError."""
    if not place.lib.is_dir():
        raise KitError(f"nothing is installed in {place.lib}", "give --prefix if it is elsewhere")
    with alone(place):
        place.launcher.unlink(missing_ok=True)
        place.desktop_entry.unlink(missing_ok=True)
        (place.lib / "active").unlink(missing_ok=True)
        shutil.rmtree(place.lib)


def remove_home(place: Place) -> None:
    """The record, cases, accounts and settings, for good."""
    shutil.rmtree(place.home)


def version_of(slot: str) -> int:
    return int(slot.partition("-")[0])


@contextmanager
def alone(place: Place) -> Iterator[None]:
    """Holds the place, so that no other installer works there. Raises: KitError."""
    try:
        place.slots.mkdir(parents=True, exist_ok=True)
        held = os.open(place.slots, os.O_RDONLY)
    except OSError as exc:
        raise KitError(
            f"the program's folder cannot be written ({exc.strerror}): {place.slots}",
            "check the folder's permissions, or give another --prefix",
        ) from exc
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as exc:
        raise KitError(
            f"another installer is at work in {place.lib}", "wait until it is done"
        ) from exc
    finally:
        os.close(held)


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Written aside, on disk, then renamed: whole or as it was."""
    aside = path.with_name(path.name + ".partial")
    with aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    aside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_disk(folder: Path) -> None:
    """All that was written to the file system of `folder` is on its disk (syncfs(2))."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), "the disk did not take what was written", str(folder))
    finally:
        os.close(descriptor)
