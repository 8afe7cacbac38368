"""Proves an export of the audit log:

    python verify_export.py [FOLDER] [--checkpoint OLD] [--key KEY]

Needs Python 3.11 or newer and the `cryptography` package, nothing of the appliance. Take this file
from a source you trust, not from the export you doubt. It checks

- that the checkpoint is signed by the log's key (compare that key with the one written down when
  the appliance was installed, or hand it in with --key);
- that every entry stands, unchanged, in the log that the checkpoint signs;
- that what the table says is what the entries say, and so with a FHIR resource's time, kind,
  outcome, people, image and release; its other fields, which are codes of these, it does not read;
- that the log only grew since each earlier checkpoint that left the machine, and since OLD.

It cannot show that no entry was left out, unless all of the log was exported; and it cannot show
that an entry was true when it was written. Exit code 0: proved; 1: not proved; 2: usage.
"""

import argparse
import base64
import csv
import hashlib
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class NotProved(Exception):
    pass


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument("--checkpoint", type=Path, action="append", default=[], metavar="OLD")
    parser.add_argument("--key", help="the log's public key, as written down")
    arguments = parser.parse_args()
    try:
        for line in prove(arguments.folder, arguments.checkpoint, arguments.key):
            print(ascii(line)[1:-1])
    except NotProved as exc:
        print("NOT PROVED:", ascii(str(exc))[1:-1])
        return 1
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, csv.Error) as exc:
        print("NOT PROVED: the export is damaged:", ascii(exc))
        return 1
    print("PROVED")
    return 0


def prove(folder: Path, old_checkpoints: list[Path], key: str | None) -> Iterator[str]:
    about = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    if key is not None and key != about["key"]:
        raise NotProved(f"the export names another key: {about['key']}")
    origin, size, root = opened(about["checkpoint"], about["key"])
    yield f"log         {origin}"
    yield f"key         {about['key']}"
    yield f"checkpoint  {size} entries, signed"

    leaves: list[bytes] = []
    newest = 0
    entries = ENTRIES[about["form"]](folder)
    with (folder / "proofs.jsonl").open(encoding="utf-8") as proofs:
        for entry, line in itertools.zip_longest(entries, proofs):
            if entry is None or line is None:
                raise NotProved("there are not as many proofs as entries")
            seq, text = entry
            proof = json.loads(line)
            leaf = hashlib.sha256(b"\0" + text).digest()
            if proof["seq"] != seq or not is_included(seq, size, leaf, decoded(proof), root):
                raise NotProved(f"entry {seq} is not in the log as it stands here")
            if seq <= newest:
                raise NotProved(f"entry {seq} stands here twice or out of order")
            newest = seq
            leaves.append(leaf)
    if len(leaves) != about["entries"]:
        raise NotProved(f"{about['entries']} entries were exported, {len(leaves)} are here")
    is_whole = len(leaves) == size
    yield f"entries     {len(leaves)}, each in the log" + (
        ": all of it" if is_whole else "; whether any that was asked for is missing is not shown"
    )

    for earlier in about["earlier"]:
        continues(opened(earlier["checkpoint"], about["key"]), (origin, size, root), earlier)
    yield f"growth      only grew since {len(about['earlier'])} earlier checkpoints"
    known = {earlier["checkpoint"]: earlier for earlier in about["earlier"]}
    for path in old_checkpoints:
        note = path.read_text(encoding="utf-8")
        old = opened(note, about["key"])
        if note in known or old[1] == size:
            continues(old, (origin, size, root), known.get(note, {"proof": []}))
        elif not is_whole or old[1] > size:
            raise NotProved(f"the export carries no proof for {path}: ask for one of the whole log")
        elif tree_root(leaves[: old[1]]) != old[2]:
            raise NotProved(f"the log was rewritten since {path}")
        yield f"            and since {path}"


def opened(note: str, key: str) -> tuple[str, int, bytes]:
    """Origin, size and root of a checkpoint (C2SP tlog-checkpoint) signed by `key`."""
    name, _, rest = key.partition("+")
    key_id, _, encoded = rest.partition("+")
    public = base64.b64decode(encoded, validate=True)
    expected = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
    if public[:1] != b"\x01" or expected.hex() != key_id:
        raise NotProved("the key is not one of Ed25519 in C2SP form")
    text, _, below = note.rpartition("\n\n")
    text += "\n"
    for line in below.splitlines():
        mark, signer, signature = line.split(" ")
        value = base64.b64decode(signature, validate=True)
        if mark == "\N{EM DASH}" and signer == name and value[:4] == expected:
            try:
                Ed25519PublicKey.from_public_bytes(public[1:]).verify(value[4:], text.encode())
            except InvalidSignature:
                continue
            origin, size, root = text.split("\n")[:3]
            if origin != name or int(size) < 1:
                raise NotProved("the checkpoint is of another log")
            return origin, int(size), base64.b64decode(root, validate=True)
    raise NotProved("a checkpoint is not signed by the log's key")


def continues(
    old: tuple[str, int, bytes], new: tuple[str, int, bytes], proved: dict[str, Any]
) -> None:
    if not is_consistent(old[1], new[1], old[2], new[2], decoded(proved)):
        raise NotProved(f"the log was rewritten since its checkpoint at entry {old[1]}")


def lines(folder: Path) -> Iterator[tuple[int, bytes]]:
    with (folder / "entries.jsonl").open("rb") as file:
        for line in file:
            text = line.removesuffix(b"\n")
            yield json.loads(text)["seq"], text


def table(folder: Path) -> Iterator[tuple[int, bytes]]:
    csv.field_size_limit(1 << 24)
    with (folder / "entries.csv").open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file, strict=True):
            entry = json.loads(row["entry"])
            body = entry["body"]
            said = {**entry, "hash": hashlib.sha256(b"\0" + row["entry"].encode()).hexdigest()}
            said |= {name: body.get(name) for name in ("image", "release", "error")}
            said["decision"] = (body.get("decision") or {}).get("kind")
            for name, cell in row.items():
                if name != "entry" and unguarded(cell) != as_cell(said[name]):
                    raise NotProved(f"entry {entry['seq']}: the table's {name} is not the entry's")
            yield entry["seq"], row["entry"].encode()


def as_cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def unguarded(cell: str) -> str:
    """Without the quote that keeps a spreadsheet from reading a formula."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in tuple("=+-@\t\r") else cell


def bundle(folder: Path) -> Iterator[tuple[int, bytes]]:
    whole = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    about = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    for one in whole["entry"]:
        event = one["resource"]
        text = event["entity"][-1]["detail"][0]["valueString"]
        entry = json.loads(text)
        if not says(event, entry, about["key"].partition("+")[0]):
            raise NotProved(f"entry {entry['seq']}: the resource does not say what the entry says")
        yield entry["seq"], text.encode()


LOG = "urn:clinic-appliance:audit:log"
IDENTIFIED = {
    "image": "urn:clinic-appliance:audit:image-mark",
    "release": "urn:clinic-appliance:release:sha256",
}
NOBODY = {"display": "nobody signed in"}
MEDIUM = {"display": "the medium that the export was written to"}
BY_ITSELF = ("log.opened", "crash.found", "clock.setback", "setting.changed")
FAILURES = {"failed": "4", "denied": "4", "interrupted": "8", "found": "8"}


def says(event: dict[str, Any], entry: dict[str, Any], origin: str) -> bool:
    """Whether a resource of the log `origin` has the time, kind, outcome, people, image and
    release of its entry, and no others."""
    kind, user, body = entry["kind"], entry["user"], entry["body"]
    phase, error = kind.rpartition(".")[2], body.get("error")
    outcome = "4" if error else FAILURES.get(phase, "0")
    said = (None, None) if phase == "asked" else (outcome, str(error or phase))
    appliance = {"identifier": {"system": LOG, "value": origin}}
    person = {"identifier": {"system": LOG, "value": user}} if user else NOBODY
    people = [agent["who"] for agent in event["agent"]]
    requestors = [agent["who"] for agent in event["agent"] if agent["requestor"]]
    objects = [entity["what"] for entity in event["entity"]]
    return (
        event["recorded"] == entry["at"]
        and event["subtype"][0]["code"] == kind
        and event["id"] == f"{origin.rpartition('/')[2]}-{entry['seq']}"
        and (event.get("outcome"), event.get("outcomeDesc")) == said
        and all(who in (appliance, person, MEDIUM) for who in people)
        and all(set(agent) <= {"type", "who", "requestor", "network"} for agent in event["agent"])
        and (not user or person in people)
        and (requestors == [person] or (requestors == [appliance] and kind in BY_ITSELF))
        and [what for what in objects if "identifier" in what]
        == [
            {"identifier": {"system": system, "value": body[name]}}
            for name, system in IDENTIFIED.items()
            if isinstance(body.get(name), str)
        ]
    )


ENTRIES = {"jsonl": lines, "csv": table, "fhir": bundle}


def decoded(proved: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(one, validate=True) for one in proved["proof"]]


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def tree_root(leaves: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, row by row: a node without a neighbour moves up as it is."""
    while len(leaves) > 1:
        odd = leaves[len(leaves) & ~1 :]
        pairs = zip(leaves[::2], leaves[1::2], strict=False)
        leaves = [node(left, right) for left, right in pairs] + odd
    return leaves[0]


def is_included(seq: int, size: int, leaf: bytes, proof: list[bytes], root: bytes) -> bool:
    """RFC 9162, 2.1.3.2."""
    index, last, found = seq - 1, size - 1, leaf
    if not 0 <= index <= last:
        return False
    for sibling in proof:
        if last == 0:
            return False
        if index & 1 or index == last:
            found = node(sibling, found)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            found = node(found, sibling)
        index, last = index >> 1, last >> 1
    return last == 0 and found == root


def is_consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: list[bytes]) -> bool:
    """RFC 9162, 2.1.4.2."""
    if not 0 < old <= new:
        return False
    if old == new:
        return old_root == new_root and not proof
    path = proof if old & (old - 1) else [old_root, *proof]
    if not path:
        return False
    index, last = old - 1, new - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    old_found = new_found = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if index & 1 or index == last:
            old_found, new_found = node(sibling, old_found), node(sibling, new_found)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            new_found = node(new_found, sibling)
        index, last = index >> 1, last >> 1
    return last == 0 and (old_found, new_found) == (old_root, new_root)


if __name__ == "__main__":
    sys.exit(main())
