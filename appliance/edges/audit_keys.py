"""The key that signs the log's checkpoints: Ed25519, by the `cryptography` package.

The secret is a file of 32 bytes that only its owner may read. Whoever has it can sign a false
log: it shows changes made by others, not by the one who may read the file.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


class SigningKey:
    def __init__(self, secret: bytes) -> None:
        """`secret` is 32 bytes."""
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public = self._key.public_key().public_bytes_raw()
        """32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(message)


def is_signature(public_key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
