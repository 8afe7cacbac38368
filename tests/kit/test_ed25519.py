"""The verifier's own arithmetic, against the vectors of RFC 8032, section 7.1."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.kit.ed25519 import ORDER, P, is_signed

VECTORS = {
    "TEST 1": (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    "TEST 2": (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    "TEST 3": (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    "TEST SHA(abc)": (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
}


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS.keys())
def test_the_vectors_of_the_rfc_hold(vector: tuple[str, str, str]) -> None:
    key, message, signature = (bytes.fromhex(value) for value in vector)
    assert is_signed(key, signature, message)
    assert not is_signed(key, signature, message + b" ")
    for place in range(64):
        damaged = bytearray(signature)
        damaged[place] ^= 1
        assert not is_signed(key, bytes(damaged), message)


def test_it_agrees_with_the_library_that_signs() -> None:
    for number in range(20):
        private_key = Ed25519PrivateKey.generate()
        message = bytes([number]) * number
        public = private_key.public_key().public_bytes_raw()
        assert is_signed(public, private_key.sign(message), message)
        assert not is_signed(public, Ed25519PrivateKey.generate().sign(message), message)


def test_a_second_form_of_a_signature_is_refused() -> None:
    """Section 5.1.7: S + L would pass where the range of S is not checked."""
    key, message, signature = (bytes.fromhex(value) for value in VECTORS["TEST 2"])
    s = int.from_bytes(signature[32:], "little") + ORDER
    assert not is_signed(key, signature[:32] + s.to_bytes(32, "little"), message)


@pytest.mark.parametrize("key", [b"", b"\xff" * 32, P.to_bytes(32, "little"), b"\2" + bytes(31)])
def test_what_is_no_point_is_no_key(key: bytes) -> None:
    assert not is_signed(key, bytes(64), b"")
