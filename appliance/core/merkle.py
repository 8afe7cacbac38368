"""The Merkle tree of the log: hashes, roots, proofs that an entry is in it and that it only grew.

RFC 9162, sections 2.1.1 to 2.1.5 (the same tree as RFC 6962). Hashes are 32 bytes of SHA-256.
Knows no storage: a stored hash is asked for as `node(level, index)`, the root of the
2**level leaves from leaf index * 2**level on; leaves count from 0.
"""

import hashlib
from collections.abc import Callable, Sequence

Node = Callable[[int, int], bytes]
HASH_BYTES = 32


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Peaks:
    """A tree that grows leaf by leaf and keeps only the roots of its whole subtrees."""

    def __init__(self) -> None:
        self.size = 0
        self._roots: list[bytes] = []
        """Largest subtree first; their sizes are the set bits of `size`."""

    def append(self, leaf: bytes) -> list[bytes]:
        """Add a leaf by its hash; the roots of the subtrees it completes, from the leaf up."""
        completed = [leaf]
        index = self.size
        while index & 1:
            completed.append(node_hash(self._roots.pop(), completed[-1]))
            index >>= 1
        self._roots.append(completed[-1])
        self.size += 1
        return completed

    def root(self) -> bytes:
        """Raises: ValueError for a tree without leaves: nothing is proved by it."""
        return _folded(self._roots)


def completed_by(index: int, leaf: bytes, node: Node) -> list[bytes]:
    """The roots of the subtrees that leaf `index` completes, from the leaf up."""
    completed = [leaf]
    while index & 1:
        completed.append(node_hash(node(len(completed) - 1, index - 1), completed[-1]))
        index >>= 1
    return completed


def root(size: int, node: Node) -> bytes:
    """Root of the first `size` leaves. Raises: ValueError when there are none."""
    return _range(0, size, node)


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """That leaf `index` is in the tree of `size` leaves (RFC 9162, 2.1.3.1)."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range(middle, end, node))
            end = middle
        else:
            path.append(_range(start, middle, node))
            start = middle
    return path[::-1]


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """That the tree of `new` leaves begins with that of `old` (RFC 9162, 2.1.4.1)."""
    if not 0 < old <= new:
        raise ValueError(f"a tree of {new} leaves cannot be proved to continue one of {old}")
    path: list[bytes] = []
    start, end = 0, new
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_range(middle, end, node))
            end = middle
        else:
            path.append(_range(start, middle, node))
            start = middle
    if start:
        path.append(_range(start, end, node))
    return path[::-1]


def is_included(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """RFC 9162, 2.1.3.2."""
    if not 0 <= index < size or len(leaf) != HASH_BYTES:
        return False
    place, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def is_consistent(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """RFC 9162, 2.1.4.2; a tree without leaves is consistent with nothing."""
    if not 0 < old <= new:
        return False
    if old == new:
        return old_root == new_root and not proof
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old_found = new_found = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old_found = node_hash(sibling, old_found)
            new_found = node_hash(sibling, new_found)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            new_found = node_hash(new_found, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and old_found == old_root and new_found == new_root


def _range(start: int, end: int, node: Node) -> bytes:
    """Root of the leaves from `start` to before `end`; `start` lies where the tree splits."""
    roots = []
    while start < end:
        level = (end - start).bit_length() - 1
        roots.append(node(level, start >> level))
        start += 1 << level
    return _folded(roots)


def _folded(roots: Sequence[bytes]) -> bytes:
    if not roots:
        raise ValueError("a tree without leaves proves nothing")
    found = roots[-1]
    for left in reversed(roots[:-1]):
        found = node_hash(left, found)
    return found


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)
