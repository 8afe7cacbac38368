"""A file encrypted with a passphrase, written and read as a stream; memory stays flat.

The key comes from the passphrase by Argon2id (RFC 9106), the content is AES-256-GCM in chunks whose
nonces hold their place and whether they are the last: the STREAM construction of Hoang,
Reyhanitabar, Rogaway and Vizár 2015 (doi:10.1007/978-3-662-47989-6_24). So a changed, missing,
moved or cut piece is found before any of it is given out. The header is bound to every chunk; a
check value in it, which commits to the key, tells a wrong passphrase from damage.
"""

import hmac
import secrets
import struct
import unicodedata
from dataclasses import dataclass
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from appliance.errors import BackupError

MAGIC = b"clinic-backup 1\n"
CHUNK_BYTES = 1 << 20
TAG_BYTES = 16
KEY_BYTES, CHECK_BYTES, SALT_BYTES, PREFIX_BYTES = 32, 16, 16, 7
MOST_MEMORY_KIB, MOST_PASSES, MOST_LANES = 1 << 20, 16, 16
"""What a header may ask of this machine."""
_FIELDS = struct.Struct(f">III{SALT_BYTES}s{PREFIX_BYTES}s{CHECK_BYTES}s")
HEADER_BYTES = len(MAGIC) + _FIELDS.size
DAMAGED_HINT = "copy it again from where it was made, or use an older backup"


@dataclass(frozen=True)
class Cost:
    """What trying one passphrase costs."""

    memory_kib: int = 256 << 10
    """Four times RFC 9106's second recommendation: a stick is easily lost."""
    passes: int = 3
    lanes: int = 4


class SealedWriter:
    """Takes plain bytes, writes sealed ones."""

    def __init__(self, file: IO[bytes], passphrase: str, cost: Cost) -> None:
        salt, self._prefix = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(PREFIX_BYTES)
        key, check = _keys(passphrase, salt, cost)
        self._header = MAGIC + _FIELDS.pack(
            cost.memory_kib, cost.passes, cost.lanes, salt, self._prefix, check
        )
        self._file, self._cipher, self._number = file, AESGCM(key), 0
        self._waiting = bytearray()
        file.write(self._header)

    def write(self, data: bytes) -> int:
        self._waiting += data
        while len(self._waiting) > CHUNK_BYTES:  # the last chunk is known when there is no more
            self._seal(bytes(self._waiting[:CHUNK_BYTES]), is_last=False)
            del self._waiting[:CHUNK_BYTES]
        return len(data)

    def finish(self) -> None:
        self._seal(bytes(self._waiting), is_last=True)

    def _seal(self, plain: bytes, *, is_last: bool) -> None:
        nonce = _nonce(self._prefix, self._number, is_last=is_last)
        self._file.write(self._cipher.encrypt(nonce, plain, self._header))
        self._number += 1


class SealedReader:
    """Gives out plain bytes, only those that are proved."""

    def __init__(self, file: IO[bytes], passphrase: str, name: str) -> None:
        """`name` is for messages. Raises: BackupError, `code` backup-passphrase when it is not
        the one; OSError."""
        self._file, self._name = file, name
        self._header = file.read(HEADER_BYTES)
        if len(self._header) < HEADER_BYTES or not self._header.startswith(MAGIC):
            raise BackupError(
                f"not a backup of this appliance: {name}", "give a file that `backup` made"
            )
        memory_kib, passes, lanes, salt, self._prefix, check = _FIELDS.unpack(
            self._header[len(MAGIC) :]
        )
        if not (
            8 * lanes <= memory_kib <= MOST_MEMORY_KIB
            and 0 < passes <= MOST_PASSES
            and 0 < lanes <= MOST_LANES
        ):
            raise self._damaged("its beginning")
        key, expected = _keys(passphrase, salt, Cost(memory_kib, passes, lanes))
        if not hmac.compare_digest(check, expected):
            raise BackupError(
                f"the passphrase does not open it: {name}",
                "type it again as it was written down; if it is right, the file is damaged at its"
                " beginning",
                code="backup-passphrase",
            )
        self._cipher = AESGCM(key)
        self.rewind()

    def rewind(self) -> None:
        """Back to the first byte, without the work of the passphrase."""
        self._file.seek(HEADER_BYTES)
        self._next = self._file.read(CHUNK_BYTES + TAG_BYTES)
        self._number, self._plain, self._is_done = 0, memoryview(b""), False

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end. Raises: BackupError, OSError."""
        while not self._plain and not self._is_done:
            self._open()
        given, self._plain = self._plain[:size], self._plain[size:]
        return bytes(given)

    def _open(self) -> None:
        sealed, self._next = self._next, self._file.read(CHUNK_BYTES + TAG_BYTES)
        self._is_done = not self._next
        nonce = _nonce(self._prefix, self._number, is_last=self._is_done)
        try:
            self._plain = memoryview(self._cipher.decrypt(nonce, sealed, self._header))
        except (InvalidTag, ValueError) as exc:  # ValueError: shorter than a tag
            raise self._damaged(f"its piece {self._number + 1}, or cut short after it") from exc
        self._number += 1

    def _damaged(self, where: str) -> BackupError:
        return BackupError(
            f"the backup is damaged in {where}: {self._name}",
            DAMAGED_HINT,
            code="backup-damaged",
        )


def _keys(passphrase: str, salt: bytes, cost: Cost) -> tuple[bytes, bytes]:
    """For the content, and for the check."""
    normal = unicodedata.normalize("NFKC", passphrase).encode()
    derived = Argon2id(
        salt=salt,
        length=KEY_BYTES + CHECK_BYTES,
        iterations=cost.passes,
        lanes=cost.lanes,
        memory_cost=cost.memory_kib,
    ).derive(normal)
    return derived[:KEY_BYTES], derived[KEY_BYTES:]


def _nonce(prefix: bytes, number: int, *, is_last: bool) -> bytes:
    return prefix + struct.pack(">IB", number, is_last)
