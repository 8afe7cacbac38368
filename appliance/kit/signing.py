"""Keys and signatures of a kit, on the workstations of those who answer for it.

Three people hold a key each; two sign, at their own machines if they like. Rotation: a new list of
keys, with the next number, is signed by enough of the list before it; kits carry all lists, so a
machine that slept through some follows them in order. A lost key is replaced this way by the two
that are left. When two are lost nobody can: the clinic installs anew with a new code on paper.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from appliance.errors import ConfigError, KitError
from appliance.kit.verify import (
    DOWNGRADE,
    DOWNGRADE_SIGNATURES,
    FORMAT,
    KEYS,
    MANIFEST,
    PRODUCT,
    SIGNATURES,
    KeyList,
    Kit,
    canonical,
    downgrade_text,
    newest_keys,
    read_keys,
    read_kit,
    read_small,
    signed_message,
    signers,
)

THRESHOLD = 2
PRIVATE, PUBLIC = ".key", ".pub"


def make_key(folder: Path, name: str, password: str) -> tuple[Path, Path]:
    """NAME.key, for its holder alone, and NAME.pub. Raises: ConfigError when one is there."""
    private_key = Ed25519PrivateKey.generate()
    hidden: KeySerializationEncryption = (
        BestAvailableEncryption(password.encode()) if password else NoEncryption()
    )
    private, public = folder / f"{name}{PRIVATE}", folder / f"{name}{PUBLIC}"
    _write_new(private, private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden), 0o600)
    _write_new(public, private_key.public_key().public_bytes_raw().hex().encode() + b"\n", 0o644)
    return private, public


def make_key_list(folder: Path, public: Sequence[Path], threshold: int = THRESHOLD) -> KeyList:
    """The first list of keys in `folder`, or the next. Raises: ConfigError, KitError."""
    serial = 1
    while (folder / f"{serial}.json").exists():
        serial += 1
    try:
        keys = {path.stem: path.read_text(encoding="ascii").strip() for path in public}
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"a public key cannot be read: {exc}", "give NAME.pub files") from exc
    text = canonical(
        {
            "format": FORMAT,
            "product": PRODUCT,
            "kind": "keys",
            "serial": serial,
            "threshold": threshold,
            "keys": keys,
        }
    )
    made = read_keys(text)
    folder.mkdir(parents=True, exist_ok=True)
    _write_new(folder / f"{serial}.json", text, 0o644)
    return made


def read_key_folder(folder: Path) -> KeyList:
    """The newest list in a folder of lists, its signatures checked. Raises: KitError."""
    return newest_keys(folder, read_keys(read_small(folder, "1.json")))


def sign_keys(folder: Path, key: Path, ask_password: Callable[[], str]) -> tuple[str, ...]:
    """Sign the newest list in `folder` by a key of the one before it; returns who signed."""
    serial = 1
    while (folder / f"{serial + 1}.json").exists():
        serial += 1
    if serial == 1:
        raise ConfigError(
            "the first list of keys is not signed: its code on paper vouches for it",
            "give the code to the clinics on paper",
        )
    before = read_keys(read_small(folder, f"{serial - 1}.json"))
    text = read_small(folder, f"{serial}.json")
    read_keys(text)
    return _sign(folder / f"{serial}.signatures", before, "keys", text, key, ask_password)


def sign_kit(kit: Kit, key: Path, ask_password: Callable[[], str]) -> tuple[str, ...]:
    """Sign the manifest; returns who has signed so far. Raises: ConfigError, KitError."""
    return _sign(kit.folder / SIGNATURES, kit.keys, "manifest", kit.text, key, ask_password)


def read_to_sign(folder: Path) -> Kit:
    """A kit that may not be signed yet, with the newest keys it carries. Raises: KitError."""
    return read_kit(folder, read_small(folder, MANIFEST), read_key_folder(folder / KEYS))


def allow_older(kit: Kit, key: Path, ask_password: Callable[[], str]) -> tuple[str, ...]:
    """Sign that this kit may be installed over a newer one; returns who has signed so far."""
    text = downgrade_text(kit)
    (kit.folder / DOWNGRADE).write_bytes(text)
    return _sign(kit.folder / DOWNGRADE_SIGNATURES, kit.keys, "downgrade", text, key, ask_password)


def _sign(
    path: Path, keys: KeyList, purpose: str, text: bytes, key: Path, ask_password: Callable[[], str]
) -> tuple[str, ...]:
    """Add a line to the signatures in `path`; whoever signed before stays."""
    private_key = _read_private(key, ask_password)
    public = private_key.public_key().public_bytes_raw()
    names = [name for name, known in keys.keys.items() if known == public]
    if not names:
        raise ConfigError(
            f"the key is not in the list of keys: {key}", "sign with one of " + ", ".join(keys.keys)
        )
    signature = private_key.sign(signed_message(purpose, text)).hex()
    before = read_small(path.parent, path.name).decode("ascii", "replace") if path.exists() else ""
    lines = {line.partition(" ")[0]: line for line in before.splitlines()}
    lines[names[0]] = f"{names[0]} {signature}"
    written = "".join(f"{lines[name]}\n" for name in sorted(lines)).encode()
    aside = path.with_name(path.name + ".partial")
    aside.write_bytes(written)
    aside.replace(path)
    return signers(written, keys, purpose, text)


def _read_private(path: Path, ask_password: Callable[[], str]) -> Ed25519PrivateKey:
    try:
        encoded = path.read_bytes()
        try:
            key = load_pem_private_key(encoded, None)
        except TypeError:  # it is encrypted
            key = load_pem_private_key(encoded, ask_password().encode())
    except (OSError, ValueError, UnsupportedAlgorithm) as exc:
        raise ConfigError(
            f"the key cannot be read ({exc}): {path}", "give a NAME.key file and its password"
        ) from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise KitError(f"not an Ed25519 key: {path}", "make one with `appliance kit keys make`")
    return key


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as exc:
        raise ConfigError(
            f"cannot be written ({exc.strerror}): {path}", "give another name or folder"
        ) from exc
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
