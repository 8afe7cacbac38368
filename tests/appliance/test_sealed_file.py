"""The sealed file: nothing is given out that was not sealed there, in that order."""

import io
import random

import pytest

from appliance.edges.sealed_file import (
    CHUNK_BYTES,
    HEADER_BYTES,
    TAG_BYTES,
    Cost,
    SealedReader,
    SealedWriter,
)
from appliance.errors import BackupError

CHEAP = Cost(memory_kib=64, passes=1, lanes=1)
SEALED_CHUNK = CHUNK_BYTES + TAG_BYTES


def sealed(content: bytes, passphrase: str = "five plain words") -> bytes:
    file = io.BytesIO()
    writer = SealedWriter(file, passphrase, CHEAP)
    for start in range(0, len(content), 300_001):
        writer.write(content[start : start + 300_001])
    writer.finish()
    return file.getvalue()


def opened(file: bytes, passphrase: str = "five plain words") -> bytes:
    reader = SealedReader(io.BytesIO(file), passphrase, "a file")
    return b"".join(iter(lambda: reader.read(1 << 16), b""))


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES]
)
def test_what_was_sealed_is_given_out(size: int) -> None:
    content = random.Random(size).randbytes(size)
    file = sealed(content)
    assert opened(file) == content
    assert len(file) - HEADER_BYTES - size == TAG_BYTES * max(1, -(-size // CHUNK_BYTES))


def test_the_same_content_is_sealed_otherwise_every_time() -> None:
    one, other = sealed(b"x" * 100), sealed(b"x" * 100)
    assert one[HEADER_BYTES:] != other[HEADER_BYTES:] and b"x" * 8 not in one


def test_a_passphrase_typed_on_another_keyboard_opens_it() -> None:
    assert opened(sealed(b"x", "caf\u00e9 au lait au lit"), "cafe\u0301 au lait au lit") == b"x"


def test_a_wrong_passphrase_is_told_from_damage() -> None:
    with pytest.raises(BackupError, match="does not open") as caught:
        opened(sealed(b"x" * 100), "five plain word")
    assert caught.value.code == "backup-passphrase"


def three_chunks() -> tuple[bytes, list[bytes]]:
    content = random.Random(0).randbytes(2 * CHUNK_BYTES + 1000)
    file = sealed(content)
    body = file[HEADER_BYTES:]
    return file[:HEADER_BYTES], [
        body[start : start + SEALED_CHUNK] for start in range(0, len(body), SEALED_CHUNK)
    ]


@pytest.mark.parametrize(
    "order", [[1, 0, 2], [0, 2], [0, 0, 1, 2], [0, 1], [0], [], [0, 1, 2, 2], [2], [0, 2, 1]]
)
def test_pieces_moved_missing_or_twice_are_found(order: list[int]) -> None:
    header, chunks = three_chunks()
    assert opened(header + b"".join(chunks))
    with pytest.raises(BackupError, match="damaged"):
        opened(header + b"".join(chunks[place] for place in order))


def test_a_piece_of_another_file_with_the_same_passphrase_is_found() -> None:
    header, chunks = three_chunks()
    _, others = three_chunks()
    with pytest.raises(BackupError, match="damaged"):
        opened(header + chunks[0] + others[1] + chunks[2])


def test_every_flipped_bit_and_every_cut_is_found() -> None:
    file, chance = sealed(b"some content" * 40), random.Random(5)
    for place in [*range(HEADER_BYTES), *chance.sample(range(HEADER_BYTES, len(file)), 60)]:
        bad = bytearray(file)
        bad[place] ^= 1 << chance.randrange(8)
        if place < HEADER_BYTES and bytes(bad[16:28]) != file[16:28]:
            bad[16:28] = b"\xff" * 12  # else what it asks of this machine may be dear
        with pytest.raises(BackupError):
            opened(bytes(bad))
    for length in chance.sample(range(len(file)), 40):
        with pytest.raises(BackupError):
            opened(file[:length])
    with pytest.raises(BackupError):
        opened(file + b"\x00")


def test_a_header_cannot_ask_for_all_of_the_memory() -> None:
    file = bytearray(sealed(b"x"))
    file[16:20] = (1 << 30).to_bytes(4, "big")
    with pytest.raises(BackupError, match="damaged in its beginning"):
        opened(bytes(file))


def test_pieces_are_given_out_only_when_proved() -> None:
    header, chunks = three_chunks()
    bad = bytearray(chunks[1])
    bad[7] ^= 1
    reader = SealedReader(
        io.BytesIO(header + chunks[0] + bytes(bad) + chunks[2]), "five plain words", "a file"
    )
    given = b""
    with pytest.raises(BackupError, match="piece 2"):
        while block := reader.read(1 << 20):
            given += block
    assert len(given) == CHUNK_BYTES
