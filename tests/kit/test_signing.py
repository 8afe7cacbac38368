"""Keys change hands without a clinic's doing anything; too few signatures change nothing."""

from pathlib import Path

import pytest

from appliance.errors import ConfigError, KitError
from appliance.kit import signing
from appliance.kit.verify import open_kit
from tests.kit.stub_kits import Bench


def rotated(bench: Bench, *signed_by: str) -> Path:
    """Chong's key was lost: Dewi takes the place, and two of the old three sign the new list."""
    signing.make_key(bench.folder, "dewi", "")
    lists = bench.folder / "keys"
    public = [bench.folder / f"{name}.pub" for name in ("anna", "bakar", "dewi")]
    signing.make_key_list(lists, public)
    (lists / "2.signatures").touch()
    for name in signed_by:
        signing.sign_keys(lists, bench.key(name), str)
    return lists


def test_a_machine_follows_keys_that_were_rotated(bench: Bench) -> None:
    rotated(bench, "anna", "chong")
    kit = open_kit(bench.kit(7, signed_by=("bakar", "dewi")), bench.keys)
    assert (kit.keys.serial, kit.signed_by) == (2, ("bakar", "dewi"))


def test_the_key_that_was_replaced_signs_no_more(bench: Bench) -> None:
    rotated(bench, "anna", "bakar")
    with pytest.raises(ConfigError, match="not in the list"):
        bench.kit(7, signed_by=("anna", "chong"))


def test_a_list_signed_by_one_old_key_is_refused(bench: Bench) -> None:
    folder = bench.kit(7)
    lists = rotated(bench, "anna")
    for path in lists.iterdir():
        (folder / "keys" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(KitError, match="not signed by enough"):
        open_kit(folder, bench.keys)
    with pytest.raises(KitError, match="not signed by enough"):
        signing.read_key_folder(lists)


def test_a_key_with_a_password_needs_it(bench: Bench) -> None:
    private, public = signing.make_key(bench.folder, "eka", "five plain words in a row")
    assert private.stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in private.read_bytes()
    signing.make_key_list(bench.folder / "other", [public, bench.folder / "anna.pub"])
    signing.make_key_list(bench.folder / "other", [public, bench.folder / "bakar.pub"])
    with pytest.raises(ConfigError, match="cannot be read"):
        signing.sign_keys(bench.folder / "other", private, lambda: "wrong")
    signed = signing.sign_keys(bench.folder / "other", private, lambda: "five plain words in a row")
    assert signed == ("eka",)


def test_a_key_is_never_written_over(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="anna"):
        signing.make_key(bench.folder, "anna", "")


def test_one_key_twice_is_no_list(bench: Bench) -> None:
    (bench.folder / "twin.pub").write_bytes((bench.folder / "anna.pub").read_bytes())
    with pytest.raises(KitError, match="each once"):
        signing.make_key_list(
            bench.folder / "twins", [bench.folder / "anna.pub", bench.folder / "twin.pub"]
        )
