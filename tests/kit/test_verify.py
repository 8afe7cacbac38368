"""Nothing of a kit is believed that two of the three did not sign."""

import os
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import KitError
from appliance.kit import signing
from appliance.kit.build import Wanted, build_kit
from appliance.kit.install import keys_by_code
from appliance.kit.verify import (
    MANIFEST,
    SIGNATURES,
    Kit,
    is_code,
    open_kit,
    read_keys,
    refuse_odd_wheel,
    short_code,
    verify_files,
)
from tests.kit.stub_kits import HOLDERS, MADE, Bench, imprint

FLIPS = 60
"""Here; 500 in tests/benchmarks/kit_forged.py."""
BUNDLES = 13


def verified(folder: Path, bench: Bench) -> Kit:
    kit = open_kit(folder, bench.keys)
    verify_files(kit, lambda size_bytes: None)
    return kit


def test_a_signed_kit_is_whole(bench: Bench) -> None:
    kit = verified(bench.kit(7), bench)
    assert (kit.version, kit.signed_by) == (7, ("anna", "bakar"))


def test_any_byte_changed_is_noticed(bench: Bench) -> None:
    folder = bench.kit(7)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    rng = random.Random(9)
    for _ in range(FLIPS):
        path = rng.choice(files)
        before = path.read_bytes()
        place = rng.randrange(len(before))
        changed = bytearray(before)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(KitError):
            verified(folder, bench)
            pytest.fail(f"unnoticed: {path} at {place}")
        path.write_bytes(before)
    verified(folder, bench)


@pytest.mark.parametrize("signed_by", [(), ("anna",), ("chong",)])
def test_fewer_than_two_signatures_are_not_enough(bench: Bench, signed_by: tuple[str, ...]) -> None:
    folder = bench.kit(7, signed_by=signed_by)
    (folder / SIGNATURES).touch()
    with pytest.raises(KitError, match="good signatures of the 2"):
        verified(folder, bench)


def test_one_signature_under_two_names_counts_once(bench: Bench) -> None:
    folder = bench.kit(7, signed_by=("anna",))
    line = (folder / SIGNATURES).read_text()
    (folder / SIGNATURES).write_text(line + line.replace("anna", "bakar") + line)
    with pytest.raises(KitError, match="carries 1 good"):
        verified(folder, bench)


def test_keys_of_others_do_not_count(bench: Bench, tmp_path: Path) -> None:
    folder = bench.kit(7)
    strangers = tmp_path / "others"
    strangers.mkdir()
    for name in HOLDERS:
        signing.make_key(strangers, name, "")
    made = signing.make_key_list(strangers / "keys", sorted(strangers.glob("*.pub")))
    with pytest.raises(KitError, match="carries 0 good"):
        open_kit(folder, read_keys(made.text))


def test_a_signature_for_something_else_does_not_serve(bench: Bench) -> None:
    folder = bench.kit(7)
    kit = verified(folder, bench)
    bench.with_manifest(folder, kit.text, "downgrade")
    with pytest.raises(KitError, match="carries 0 good"):
        verified(folder, bench)


def test_another_products_kit_is_refused_though_signed(bench: Bench) -> None:
    folder = bench.changed(bench.kit(7), lambda said: said.update(product="other"))
    with pytest.raises(KitError, match="'other'"):
        verified(folder, bench)


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/x", "a/../../x", "a\\b", "C:x", "x\n", "con", "a/NUL.txt", "x.", " x", "x\u202e",
     "\u00e9", ".hidden", "a" * 130, "a/b/c/d/e/f/g", "", "manifest.json", "Manifest.Signatures"],
)  # fmt: skip
def test_a_name_that_is_unsafe_is_refused_though_signed(bench: Bench, path: str) -> None:
    def add(said: dict[str, Any]) -> None:
        said["files"][path] = {"size_bytes": 0, "sha256": "0" * 64}

    folder = bench.changed(bench.kit(7), add)
    with pytest.raises(KitError, match="manifest cannot be used"):
        verified(folder, bench)


def test_names_that_differ_only_in_case_are_refused(bench: Bench) -> None:
    def add(said: dict[str, Any]) -> None:
        said["files"]["SBOM.json"] = said["files"]["sbom.json"]

    folder = bench.changed(bench.kit(7), add)
    with pytest.raises(KitError, match="case"):
        verified(folder, bench)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.update(version=-1),
        lambda said: said.update(version=True),
        lambda said: said.update(format=2),
        lambda said: said["files"]["sbom.json"].update(size_bytes=1 << 60),
        lambda said: said["files"]["sbom.json"].update(sha256="x"),
        lambda said: said.pop("files"),
        lambda said: said["files"].update({f"x{i}": {"size_bytes": 0, "sha256": "0" * 64}
                                           for i in range(5001)}),
    ],
)  # fmt: skip
def test_a_manifest_that_makes_no_sense_is_refused(
    bench: Bench, change: Callable[[dict[str, Any]], None]
) -> None:
    with pytest.raises(KitError, match="manifest cannot be used"):
        verified(bench.changed(bench.kit(7), change), bench)


def test_json_of_two_meanings_is_refused(bench: Bench) -> None:
    folder = bench.kit(7)
    text = (folder / MANIFEST).read_bytes().replace(b'"version":7', b'"version":7,"version":8')
    bench.with_manifest(folder, text)
    with pytest.raises(KitError, match="canonical"):
        verified(folder, bench)


@pytest.mark.parametrize(
    "add",
    [
        lambda folder: (folder / "more.txt").write_text("x"),
        lambda folder: (folder / "wheels" / "more-1-py3-none-any.whl").write_text("x"),
        lambda folder: (folder / "link").symlink_to("/etc/passwd"),
        lambda folder: (folder / "keys" / "9.json").symlink_to("/etc/passwd"),
        lambda folder: os.mkfifo(folder / "pipe"),
        lambda folder: os.link(folder / "sbom.json", folder.parent / "elsewhere"),
        lambda folder: (folder / "sub").symlink_to(folder / "wheels"),
        lambda folder: (folder / ".Trash").mkdir() or (folder / ".Trash" / "x").touch(),
        lambda folder: (folder / "sbom.json").unlink(),
        lambda folder: shutil.rmtree(folder / "keys"),
        lambda folder: (folder / "esc\x1b[2J").touch(),
    ],
)  # fmt: skip
def test_what_the_manifest_does_not_name_is_refused(
    bench: Bench, add: Callable[[Path], object]
) -> None:
    folder = bench.kit(7)
    add(folder)
    with pytest.raises(KitError):
        verified(folder, bench)


def test_a_folder_without_a_kit_is_said(bench: Bench) -> None:
    bench.kit(7)
    for read in (
        lambda: open_kit(bench.folder, bench.keys),
        lambda: keys_by_code(bench.folder, ""),
    ):
        with pytest.raises(KitError, match="no kit in this folder"):
            read()


def test_a_file_too_large_for_a_stick_travels_in_parts(bench: Bench) -> None:
    bench.build(7, bench.folder / "whole")
    wanted = Wanted(7, MADE, bench.folder / "wheels-7", bench.folder / "keys")
    folder = bench.folder / "cut"
    build_kit(wanted, folder, lambda text: None, part_bytes=50_000)
    assert list((folder / "wheels").glob("*.part2"))
    assert max(path.stat().st_size for path in (folder / "wheels").iterdir()) <= 50_000
    for name in HOLDERS[:2]:
        signing.sign_kit(signing.read_to_sign(folder), bench.key(name), str)
    kit = verified(folder, bench)
    (folder / "wheels" / next((folder / "wheels").glob("*.part2")).name).write_bytes(b"x")
    with pytest.raises(KitError, match="part2"):
        verified(folder, bench)
    assert kit.size_bytes


def test_the_code_on_paper_forgives_slips_of_the_pen(bench: Bench) -> None:
    code = short_code(bench.keys.text)
    assert is_code(code.lower().replace("-", " ").replace("0", "o").replace("1", "l"),
                   bench.keys.text)  # fmt: skip
    assert not is_code(code[:-1] + ("0" if code[-1] != "0" else "2"), bench.keys.text)


@pytest.mark.data
def test_hostile_bundles_are_refused_as_kits_and_as_wheels(
    bench: Bench, shared: Path, tmp_path: Path
) -> None:
    bundles = sorted((shared / "corpora" / "gen" / "bundle").iterdir())
    assert len(bundles) == BUNDLES
    outside = tmp_path / "outside"
    outside.mkdir()
    before = imprint(outside)
    for bundle in bundles:
        with pytest.raises(KitError):
            open_kit(bundle, bench.keys)
        wheel = outside.parent / "x-1-py3-none-any.whl"
        shutil.copyfile(bundle, wheel)
        with pytest.raises(KitError, match="wheel"):
            refuse_odd_wheel(wheel, 100 << 20)
    assert imprint(outside) == before


@pytest.mark.data
def test_the_names_of_hostile_bundles_are_refused_though_signed(bench: Bench, shared: Path) -> None:
    folder = bench.kit(7)
    manifest = (folder / MANIFEST).read_bytes()
    refused = 0
    for bundle in sorted((shared / "corpora" / "gen" / "bundle").iterdir()):
        names = bundled_names(bundle)

        def add(said: dict[str, Any], names: list[str] = names) -> None:
            for name in names:
                said["files"][name] = {"size_bytes": 1, "sha256": "0" * 64}

        bench.changed(folder, add)
        with pytest.raises(KitError):
            verified(folder, bench)
        refused += 1
        (folder / MANIFEST).write_bytes(manifest)
    assert refused == BUNDLES


def bundled_names(bundle: Path) -> list[str]:
    if bundle.suffix == ".tar":
        with tarfile.open(bundle) as archive:
            return archive.getnames()
    with zipfile.ZipFile(bundle) as archive:
        return [member.orig_filename for member in archive.infolist()]
