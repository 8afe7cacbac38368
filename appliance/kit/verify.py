"""What a kit is, and whether one is whole and signed. Standard library only.

The same file is in the appliance and on the stick, where it runs with the system's Python before
anything is installed. Nothing of a kit is trusted: bytes are hashed and their signatures checked
before they are parsed, and a kit that holds anything but what its manifest names is refused.

    install.sh, tools/, wheels/, cuda/, releases/, index/, guidelines/, licences/, sbom.json
    manifest.json            every file with its length and sha256; version, platform
    manifest.signatures      lines `NAME SIGNATURE`: at least two of the three keys
    keys/1.json, keys/2.json, keys/2.signatures ...
                             lists of keys; each but the first is signed by the one before it
    downgrade.json, downgrade.signatures
                             if there: leave to install this kit over a newer one
"""

import hashlib
import json
import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from appliance.errors import KitError
from appliance.kit.ed25519 import is_signed

FORMAT = 1
PRODUCT = "clinic-appliance"
MANIFEST, SIGNATURES = "manifest.json", "manifest.signatures"
KEYS = "keys"
DOWNGRADE, DOWNGRADE_SIGNATURES = "downgrade.json", "downgrade.signatures"
UNNAMED = frozenset({MANIFEST, SIGNATURES, DOWNGRADE, DOWNGRADE_SIGNATURES})
"""Of a kit's files those that its manifest does not name: itself, and what is made after it."""
WHEELS, RELEASES, INDEX, GUIDELINES = "wheels", "releases", "index", "guidelines"
CUDA = "cuda"
"""Wheels for a machine with an NVIDIA card, in the place of those of the same name."""
REQUIREMENTS, CUDA_REQUIREMENTS = f"{WHEELS}/requirements.txt", f"{CUDA}/requirements.txt"

MOST_SMALL_BYTES = 4 << 20
"""Of a manifest, a list of keys, signatures."""
MOST_FILES = 5_000
MOST_KIT_BYTES = 200 << 30
MOST_KEYS = 16
MOST_DEPTH = 6
PIECE_BYTES = 1 << 20
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,119}")
"""Of a file or folder: what FAT32 and exFAT keep as it is and no terminal obeys."""
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
"""Device names on Windows, with any ending."""
SHA256 = re.compile(r"[0-9a-f]{64}")
WHEEL_NAME = re.compile(r"[A-Za-z0-9_.][^\\:\x00-\x1f\x7f-\x9f\u200b-\u202e\u2060-\u206f]{0,300}")
"""Of a wheel's member: inside its folder, and without characters that hide what it is."""
MOST_WHEEL_FILES = 10_000
SIGNATURE_LINE = re.compile(r"([A-Za-z0-9._-]{1,64}) ([0-9a-f]{128})")

CODE_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32, as in the log's short codes."""
CODE_CHARACTERS = 24

COPY_AGAIN = "get the kit again from those who made it; do not use this stick"
STRANGE = f"if a computer left it there, as .DS_Store, delete it; else {COPY_AGAIN}"
Say = Callable[[str], None]
Progress = Callable[[int], None]
"""Told how many bytes more were read."""


@dataclass(frozen=True)
class KeyList:
    """Who may sign kits."""

    serial: int
    threshold: int
    keys: Mapping[str, bytes]
    """Public keys of 32 bytes, by name."""
    text: bytes
    """The list as it was signed."""


@dataclass(frozen=True)
class Part:
    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class KitFile:
    path: str
    size_bytes: int
    sha256: str
    parts: tuple[Part, ...]
    """The files on the stick that make it up, in order: most often itself alone."""


@dataclass(frozen=True)
class Kit:
    """A kit whose manifest is signed and reads well; its files are checked as they are read."""

    folder: Path
    version: int
    """Rises with every kit."""
    appliance: str
    """Version of the program in it."""
    files: Mapping[str, KitFile]
    pythons: tuple[str, ...]
    machine: str
    glibc: tuple[int, int]
    processor: frozenset[str]
    """Flags of /proc/cpuinfo without which its libraries do not run."""
    unpacked_bytes: int
    """Room that the program takes once it is installed."""
    releases: Mapping[str, Any]
    """Model releases in it: the known answers of each, by name."""
    text: bytes
    """The manifest as it was signed."""
    sha256: str
    """Of the manifest."""
    keys: KeyList
    signed_by: tuple[str, ...] = ()
    allows_downgrade: bool = False

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files.values())


def open_kit(folder: Path, trusted: KeyList) -> Kit:
    """The kit in `folder`, as far as its manifest goes. Raises: KitError."""
    contents(folder)
    text = read_small(folder, MANIFEST)
    keys = newest_keys(folder / KEYS, trusted)
    signed_by = signers(read_small(folder, SIGNATURES), keys, "manifest", text)
    if len(signed_by) < keys.threshold:
        raise KitError(
            f"the kit carries {len(signed_by)} good signatures of the {keys.threshold} it needs: "
            f"{folder}",
            COPY_AGAIN,
        )
    kit = read_kit(folder, text, keys)
    return replace(kit, signed_by=signed_by, allows_downgrade=_downgrade(kit))


def read_kit(folder: Path, text: bytes, keys: KeyList) -> Kit:
    """What a manifest says, which is trusted, or read by those who are about to sign it.

    Raises: KitError, also when the folder holds something else.
    """
    try:
        kit = _kit(folder, text, keys)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise KitError(
            f"the manifest cannot be used ({type(exc).__name__}: {exc}): {folder / MANIFEST}",
            COPY_AGAIN,
        ) from exc
    _refuse_strangers(kit, contents(folder))
    return kit


def verify_files(kit: Kit, progress: Progress) -> None:
    """Read every byte of the kit's files. Raises: KitError at the first that differs."""
    for file in kit.files.values():
        copy_file(kit, file, None, progress)


def copy_file(kit: Kit, file: KitFile, target: BinaryIO | None, progress: Progress) -> None:
    """Check a file while it is copied to `target`: what is used later is what was checked, even
    if the stick should answer otherwise when it is read again.

    Raises: KitError when it is not the file that the manifest names.
    """
    whole = hashlib.sha256()
    for part in file.parts:
        digest, size_bytes = hashlib.sha256(), 0
        with open_plain(kit.folder / part.path) as source:
            while piece := source.read(PIECE_BYTES):
                size_bytes += len(piece)
                if size_bytes > part.size_bytes:
                    break
                digest.update(piece)
                whole.update(piece)
                if target:
                    target.write(piece)
                progress(len(piece))
        if (size_bytes, digest.hexdigest()) != (part.size_bytes, part.sha256):
            raise _not_declared(kit.folder / part.path)
    if whole.hexdigest() != file.sha256:
        raise _not_declared(kit.folder / file.path)


def newest_keys(lists: Path, trusted: KeyList) -> KeyList:
    """From the list that is trusted along the signed ones that follow it in the folder `lists`.

    Raises: KitError.
    """
    keys = trusted
    while (lists / f"{keys.serial + 1}.json").exists():
        number = keys.serial + 1
        text = read_small(lists, f"{number}.json")
        signatures = read_small(lists, f"{number}.signatures")
        if len(signers(signatures, keys, "keys", text)) < keys.threshold:
            raise KitError(
                f"list {number} of the keys is not signed by enough of the one before: {lists}",
                COPY_AGAIN,
            )
        keys = read_keys(text)
        if keys.serial != number:
            raise KitError(f"list {number} of the keys has another number: {lists}", COPY_AGAIN)
    return keys


def read_keys(text: bytes) -> KeyList:
    """A list of keys whose bytes are trusted already. Raises: KitError."""
    try:
        said = _parsed(text)
        _expect_ours(said, "keys")
        keys = {str(name): bytes.fromhex(value) for name, value in said["keys"].items()}
        serial, threshold = _whole(said["serial"]), _whole(said["threshold"])
        if not (
            all(len(key) == 32 for key in keys.values())
            and len(set(keys.values())) == len(keys) <= MOST_KEYS
            and 2 <= threshold <= len(keys)
        ):
            raise ValueError("it needs two or more keys, each once, and two or more to sign")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise KitError(f"the list of keys cannot be used ({exc})", COPY_AGAIN) from exc
    return KeyList(serial, threshold, keys, text)


def signed_message(purpose: str, text: bytes) -> bytes:
    """What is signed: the text under a line that says what for, so that no signature serves for
    something else."""
    return f"{PRODUCT} kit {purpose}\n".encode() + text


def signers(signatures: bytes, keys: KeyList, purpose: str, text: bytes) -> tuple[str, ...]:
    """The names of the keys that signed; a line that is none of theirs counts for nothing."""
    message = signed_message(purpose, text)
    good = set()
    for line in signatures.decode("ascii", "replace").splitlines()[: 4 * MOST_KEYS]:
        if (
            (found := SIGNATURE_LINE.fullmatch(line))
            and (key := keys.keys.get(found[1]))
            and is_signed(key, bytes.fromhex(found[2]), message)
        ):
            good.add(found[1])
    return tuple(sorted(good))


def short_code(text: bytes) -> str:
    """120 bits of a list of keys' hash in groups of four, for the paper that comes with a kit."""
    bits = int.from_bytes(hashlib.sha256(text).digest(), "big") >> (256 - 5 * CODE_CHARACTERS)
    letters = [CODE_LETTERS[bits >> (5 * i) & 31] for i in reversed(range(CODE_CHARACTERS))]
    return "-".join("".join(letters[i : i + 4]) for i in range(0, CODE_CHARACTERS, 4))


def is_code(typed: str, text: bytes) -> bool:
    """Whether a person typed this list's code; spaces, dashes, small letters, I, L and O pass."""
    letters = re.sub(r"[\s-]", "", typed).upper().translate(str.maketrans("OIL", "011"))
    return letters == short_code(text).replace("-", "")


def contents(folder: Path) -> dict[str, int]:
    """Every file under `folder`, with its size. Raises: KitError when it holds no kit, or anything
    that is neither a plain file nor a folder, or that no kit would hold."""
    found: dict[str, int] = {}
    try:
        if not (folder / MANIFEST).is_file():
            raise KitError(
                f"there is no kit in this folder: {folder}",
                f"give the folder that holds {MANIFEST} and install.sh",
            )
        for path, status in _walk(folder, ""):
            if not stat.S_ISREG(status.st_mode):
                raise KitError(f"the kit holds something that is no file: {path}", COPY_AGAIN)
            if status.st_nlink > 1:
                raise KitError(f"the kit holds a linked file: {path}", COPY_AGAIN)
            found[path] = status.st_size
            if len(found) > MOST_FILES:
                raise KitError(f"the kit holds more than {MOST_FILES} files: {folder}", COPY_AGAIN)
    except OSError as exc:
        raise KitError(
            f"the kit cannot be read ({exc.strerror}): {exc.filename}",
            "give the folder of the kit; take the stick out, put it in and try again",
        ) from exc
    return found


def refuse_odd_wheel(path: Path, most_bytes: int) -> None:
    """Raises: KitError when a wheel would unpack to more than `most_bytes`, or to something that
    is no plain file inside its folder. A wheel is a zip file (PEP 427)."""
    try:
        with zipfile.ZipFile(path) as wheel:
            members = wheel.infolist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as exc:
        raise KitError(f"not a wheel ({exc}): {path}", COPY_AGAIN) from exc
    names = [member.orig_filename for member in members]
    kinds = {stat.S_IFMT(member.external_attr >> 16) for member in members}
    set_ids = any(member.external_attr >> 16 & (stat.S_ISUID | stat.S_ISGID) for member in members)
    if (
        not all(WHEEL_NAME.fullmatch(name) for name in names)
        or any(".." in name.split("/") for name in names)
        or sum(name.endswith(".dist-info/RECORD") for name in names) != 1
        or len({name.casefold() for name in names}) != len(names)
        or len(names) > MOST_WHEEL_FILES
        or not kinds <= {0, stat.S_IFREG, stat.S_IFDIR}
        or set_ids
        or sum(member.file_size for member in members) > most_bytes
    ):
        raise KitError(f"a wheel holds what no wheel should, or no record: {path}", COPY_AGAIN)


def safe_path(path: str) -> str:
    """The same, when it may be in a kit. Raises: ValueError."""
    names = path.split("/")
    if len(names) > MOST_DEPTH or not all(
        NAME.fullmatch(name) and not name.endswith(".") and not RESERVED.fullmatch(name)
        for name in names
    ):
        raise ValueError(f"not a name for a kit's file: {path[:200]!r}")
    return path


def open_plain(path: Path) -> BinaryIO:
    """A plain file that is no link. Raises: KitError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        file = os.fdopen(descriptor, "rb")
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            file.close()
            raise KitError(f"not a plain file: {path}", COPY_AGAIN)
    except OSError as exc:
        raise KitError(f"the kit cannot be read ({exc.strerror}): {path}", COPY_AGAIN) from exc
    return file


def read_small(folder: Path, name: str) -> bytes:
    with open_plain(folder / name) as file:
        content = file.read(MOST_SMALL_BYTES + 1)
    if len(content) > MOST_SMALL_BYTES:
        raise KitError(f"the file is too large: {folder / name}", COPY_AGAIN)
    return content


def canonical(value: Mapping[str, Any]) -> bytes:
    """JSON in one form only: sorted, ASCII, a line."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _walk(folder: Path, above: str) -> Iterator[tuple[str, os.stat_result]]:
    clashes: set[str] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            path = above + entry.name
            try:
                safe_path(path)
            except ValueError as exc:
                raise KitError(f"the kit is not as it was made: {exc}", STRANGE) from exc
            if entry.name.casefold() in clashes:
                raise KitError(f"two names differ only in case: {path}", COPY_AGAIN)
            clashes.add(entry.name.casefold())
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), f"{path}/")
            else:
                yield path, entry.stat(follow_symlinks=False)


def _refuse_strangers(kit: Kit, there: Mapping[str, int]) -> None:
    """What is on the stick is what the manifest names, in number, name and size."""
    named = {part.path: part.size_bytes for file in kit.files.values() for part in file.parts}
    seen = {path.casefold(): size_bytes for path, size_bytes in there.items()}
    for path, size_bytes in named.items():
        if seen.get(path.casefold()) != size_bytes:
            raise _not_declared(kit.folder / path)
    known = {path.casefold() for path in named} | UNNAMED
    for path in there:
        if path.casefold() not in known:
            raise KitError(
                f"the kit holds a file that its manifest does not name: {kit.folder / path}",
                STRANGE,
            )


def _downgrade(kit: Kit) -> bool:
    """Whether enough signed that this very kit may replace a newer one. Raises: KitError."""
    path = kit.folder / DOWNGRADE
    if not path.exists():
        return False
    text = read_small(kit.folder, DOWNGRADE)
    signed = signers(read_small(kit.folder, DOWNGRADE_SIGNATURES), kit.keys, "downgrade", text)
    if len(signed) < kit.keys.threshold:
        raise KitError(f"the leave to go back is not signed by enough: {path}", COPY_AGAIN)
    return text == downgrade_text(kit)


def downgrade_text(kit: Kit) -> bytes:
    """What is signed to let a kit replace a newer one."""
    said = {
        "format": FORMAT,
        "product": PRODUCT,
        "kind": "downgrade",
        "manifest_sha256": kit.sha256,
    }
    return canonical(said)


def _kit(folder: Path, text: bytes, keys: KeyList) -> Kit:
    said = _parsed(text)
    _expect_ours(said, "manifest")
    files = {path: _file(path, entry) for path, entry in said["files"].items()}
    on_stick = [part.path for file in files.values() for part in file.parts]
    if len({path.casefold() for path in on_stick}) != len(on_stick) or len(on_stick) > MOST_FILES:
        raise ValueError("names that differ only in case, or too many files")
    if sum(file.size_bytes for file in files.values()) > MOST_KIT_BYTES:
        raise ValueError("more bytes than a kit has")
    if any(path.casefold() in UNNAMED for path in on_stick):
        raise ValueError("it names itself")
    first, second = said["glibc"]
    return Kit(
        folder=folder,
        version=_whole(said["version"]),
        appliance=str(said["appliance"]),
        files=files,
        pythons=tuple(str(python) for python in said["pythons"]),
        machine=str(said["machine"]),
        glibc=(_whole(first), _whole(second)),
        processor=frozenset(str(flag) for flag in said["processor"]),
        unpacked_bytes=_whole(said["unpacked_bytes"]),
        releases=dict(said["releases"]),
        text=text,
        sha256=hashlib.sha256(text).hexdigest(),
        keys=keys,
    )


def _file(path: str, said: dict[str, Any]) -> KitFile:
    safe_path(path)
    size_bytes, sha256 = _whole(said["size_bytes"]), _hash(said["sha256"])
    if "parts" not in said:
        return KitFile(path, size_bytes, sha256, (Part(path, size_bytes, sha256),))
    parts = tuple(
        Part(f"{path}.part{number}", _whole(part["size_bytes"]), _hash(part["sha256"]))
        for number, part in enumerate(said["parts"], 1)
    )
    if sum(part.size_bytes for part in parts) != size_bytes:
        raise ValueError(f"the parts of {path} do not add up")
    return KitFile(path, size_bytes, sha256, parts)


def _parsed(text: bytes) -> dict[str, Any]:
    """Raises: ValueError unless it is canonical JSON: one text, one meaning."""
    value = json.loads(text)
    if not isinstance(value, dict) or canonical(value) != text:
        raise ValueError("not canonical JSON")
    return value


def _expect_ours(said: Mapping[str, Any], kind: str) -> None:
    if (said["format"], said["product"], said["kind"]) != (FORMAT, PRODUCT, kind):
        raise ValueError(
            f"it is {said['kind']!r} of {said['product']!r} in format {said['format']!r}, not "
            f"{kind!r} of {PRODUCT!r} in format {FORMAT}"
        )


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise ValueError(f"not a whole number: {value!r}")
    return value


def _hash(value: object) -> str:
    if not isinstance(value, str) or not SHA256.fullmatch(value):
        raise ValueError(f"not a SHA-256: {value!r}")
    return value


def _not_declared(path: Path) -> KitError:
    return KitError(
        f"a file of the kit is damaged, missing or not the one signed: {path}", COPY_AGAIN
    )
