"""Checkpoints: the size and root of a log, signed, as text and as a short code for paper.

The text is a C2SP tlog-checkpoint in a C2SP signed note (c2sp.org/tlog-checkpoint,
c2sp.org/signed-note), signed by Ed25519 under a key whose name is the log's origin. Signing and
checking are handed in; keys are an edge's business.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

ED25519 = b"\x01"
SIGNATURE_MARK = "\N{EM DASH} "
CODE_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O or U to be misread."""
CODE_CHARACTERS = 24
"""Of 5 bits: 120. Nobody finds another log for a code on paper (2**120 tries), nor can someone
who controls the machine prepare two logs of one code in advance (2**60 tries, some years of one
graphics card). 80 bits would leave 2**40 for that: an afternoon."""


@dataclass(frozen=True)
class Checkpoint:
    origin: str
    """The log's name: no spaces, no plus sign."""
    size: int
    root: bytes


@dataclass(frozen=True)
class Signature:
    name: str
    key_id: bytes
    value: bytes


def checkpoint_text(checkpoint: Checkpoint) -> str:
    root = base64.b64encode(checkpoint.root).decode()
    return f"{checkpoint.origin}\n{checkpoint.size}\n{root}\n"


def signed_note(text: str, name: str, public_key: bytes, sign: Callable[[bytes], bytes]) -> str:
    """`text` with one signature under it; `public_key` is 32 bytes of Ed25519."""
    signature = key_id(name, public_key) + sign(text.encode())
    return f"{text}\n{SIGNATURE_MARK}{name} {base64.b64encode(signature).decode()}\n"


def read_note(note: str) -> tuple[str, list[Signature]]:
    """The text of a signed note and what stands under it, unchecked. Raises: ValueError."""
    text, found, below = note.rpartition("\n\n")
    if not found or not below.endswith("\n"):
        raise ValueError("not a signed note")
    signatures = []
    for line in below.splitlines():
        parts = line.removeprefix(SIGNATURE_MARK).split(" ")
        if not line.startswith(SIGNATURE_MARK) or len(parts) != 2:
            raise ValueError("not a signed note: a line of it is no signature")
        value = _base64(parts[1])
        signatures.append(Signature(parts[0], value[:4], value[4:]))
    return text + "\n", signatures


def read_checkpoint(note: str) -> Checkpoint:
    """What a signed checkpoint says, its signature unchecked. Raises: ValueError."""
    text, _ = read_note(note)
    lines = text.split("\n")
    if len(lines) < 4 or not lines[0] or not re.fullmatch(r"[1-9][0-9]{0,18}", lines[1]):
        raise ValueError("not a checkpoint: no origin and size")
    root = _base64(lines[2])
    if len(root) != 32:
        raise ValueError("not a checkpoint: the root is not 32 bytes")
    return Checkpoint(lines[0], int(lines[1]), root)


def is_signed(
    note: str, name: str, public_key: bytes, check: Callable[[bytes, bytes, bytes], bool]
) -> bool:
    """Whether `note` carries a signature of this key; `check(public_key, signature, text)`."""
    text, signatures = read_note(note)
    return any(
        check(public_key, signature.value, text.encode())
        for signature in signatures
        if signature.name == name and signature.key_id == key_id(name, public_key)
    )


def key_id(name: str, public_key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + public_key).digest()[:4]


def verifier_key(name: str, public_key: bytes) -> str:
    """The public key with its name, as C2SP signed notes write it."""
    encoded = base64.b64encode(ED25519 + public_key).decode()
    return f"{name}+{key_id(name, public_key).hex()}+{encoded}"


def short_code(checkpoint: Checkpoint) -> str:
    """For a paper register: the size, 120 bits of a hash of the checkpoint, a letter that shows
    most slips of the pen."""
    digest = hashlib.sha256(checkpoint_text(checkpoint).encode()).digest()
    bits = int.from_bytes(digest, "big") >> (256 - 5 * CODE_CHARACTERS)
    letters = "".join(
        CODE_LETTERS[bits >> (5 * place) & 31] for place in reversed(range(CODE_CHARACTERS))
    )
    letters += _check_letter(checkpoint.size, letters)
    return _grouped(checkpoint.size, letters)


def read_code(text: str) -> tuple[int, str]:
    """A short code as a person types it: its size, and itself as `short_code` writes it.

    Raises: ValueError when it is none, or was mistyped.
    """
    size, _, rest = text.strip().partition("-")
    letters = re.sub(r"[\s-]", "", rest).upper().translate(str.maketrans("OIL", "011"))
    if not re.fullmatch(r"[1-9][0-9]{0,18}", size) or len(letters) != CODE_CHARACTERS + 1:
        raise ValueError("not a short code")
    if letters[-1] != _check_letter(int(size), letters[:-1]):
        raise ValueError("mistyped: its last letter does not fit the others")
    return int(size), _grouped(int(size), letters)


def _grouped(size: int, letters: str) -> str:
    groups = [letters[start : start + 5] for start in range(0, len(letters), 5)]
    return "-".join([str(size), *groups])


def _check_letter(size: int, letters: str) -> str:
    return CODE_LETTERS[hashlib.sha256(f"{size}-{letters}".encode()).digest()[0] & 31]


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise ValueError("not base 64") from exc
