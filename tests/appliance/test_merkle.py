"""The tree: against the published vectors, against itself, and against wrong proofs."""

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from appliance.audit_export import verify_export
from appliance.core.merkle import (
    Peaks,
    completed_by,
    consistency_proof,
    inclusion_proof,
    is_consistent,
    is_included,
    leaf_hash,
    root,
)

SIZE = 66
LEAVES = [leaf_hash(str(number).encode()) for number in range(SIZE)]
IsConsistent = Callable[[int, int, bytes, bytes, list[bytes]], bool]


@pytest.fixture(scope="module")
def nodes() -> dict[tuple[int, int], bytes]:
    kept: dict[tuple[int, int], bytes] = {}

    def node(level: int, index: int) -> bytes:
        return kept[level, index]

    peaks = Peaks()
    for index, leaf in enumerate(LEAVES):
        completed = peaks.append(leaf)
        assert completed == completed_by(index, leaf, node)
        kept.update({(level, index >> level): found for level, found in enumerate(completed)})
        assert peaks.root() == root(index + 1, node)
    return kept


def test_every_leaf_is_proved_in_every_tree(nodes: dict[tuple[int, int], bytes]) -> None:
    def node(level: int, index: int) -> bytes:
        return nodes[level, index]

    for size in range(1, SIZE + 1):
        top = root(size, node)
        for index in range(size):
            proof = inclusion_proof(index, size, node)
            assert is_included(index, size, LEAVES[index], proof, top)
            assert verify_export.is_included(index + 1, size, LEAVES[index], proof, top)
            assert not is_included(index, size, LEAVES[index - 1], proof, top) or size == 1
            assert not is_included(index, size, LEAVES[index], [*proof, top], top)


def test_every_tree_is_proved_to_continue_every_smaller(
    nodes: dict[tuple[int, int], bytes],
) -> None:
    def node(level: int, index: int) -> bytes:
        return nodes[level, index]

    for new in range(1, SIZE + 1):
        for old in range(1, new + 1):
            proof = consistency_proof(old, new, node)
            roots = root(old, node), root(new, node)
            for check in (is_consistent, verify_export.is_consistent):
                assert check(old, new, *roots, proof)
                assert not check(old, new, LEAVES[0] * 2, roots[1], proof)
                if old != new:
                    assert not check(old, new, *roots, proof[:-1])


def test_a_tree_without_leaves_proves_nothing(nodes: dict[tuple[int, int], bytes]) -> None:
    def node(level: int, index: int) -> bytes:
        return nodes[level, index]

    top = root(5, node)
    assert not is_consistent(0, 5, top, top, [])
    assert not is_consistent(0, 0, b"", b"", [])
    with pytest.raises(ValueError):
        root(0, node)
    with pytest.raises(ValueError):
        Peaks().root()
    with pytest.raises(ValueError):
        consistency_proof(0, 5, node)


def vectors(shared: Path, kind: str) -> list[tuple[str, dict[str, Any]]]:
    paths = sorted((shared / "corpora" / "merkle" / "testdata" / kind).rglob("*.json"))
    assert paths
    return [(str(path), json.loads(path.read_text())) for path in paths]


def hashes(encoded: Sequence[str] | None) -> list[bytes]:
    return [base64.b64decode(one) for one in encoded or []]


@pytest.mark.data
@pytest.mark.parametrize("check", [is_consistent, verify_export.is_consistent])
def test_the_consistency_vectors_agree(shared: Path, check: IsConsistent) -> None:
    for path, case in vectors(shared, "consistency"):
        old_root, new_root = hashes([case["root1"], case["root2"]])
        found = check(case["size1"], case["size2"], old_root, new_root, hashes(case["proof"]))
        assert found is not case["wantErr"], path


@pytest.mark.data
def test_the_inclusion_vectors_agree(shared: Path) -> None:
    for path, case in vectors(shared, "inclusion"):
        leaf, top = hashes([case["leafHash"], case["root"]])
        index, size, proof = case["leafIdx"], case["treeSize"], hashes(case["proof"])
        assert is_included(index, size, leaf, proof, top) is not case["wantErr"], path
        theirs = verify_export.is_included(index + 1, size, leaf, proof, top)
        assert (theirs and bool(leaf)) is not case["wantErr"], path
