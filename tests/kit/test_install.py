"""Beside what runs, tried there, then switched to: or nothing at all."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from errno import ENOSPC
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.main import run
from appliance.config import Config
from appliance.core.entry import Entry
from appliance.edges.audit_db import AuditDatabase
from appliance.errors import AuditError, KitError
from appliance.kit import install as installing
from appliance.kit import signing
from appliance.kit.install import copy_data, install, refuse_unusable_before
from appliance.kit.slots import (
    NONE,
    Active,
    Place,
    alone,
    go_back,
    read_active,
    read_trust,
    remove_home,
    uninstall,
    write_active,
)
from appliance.kit.verify import MANIFEST
from appliance.wiring import read_audit
from tests.kit.stub_kits import Bench, imprint


def put(bench: Bench, folder: Path, code: str | None = None) -> Active:
    return install(folder, bench.place, lambda text: None, lambda: code or bench.code)


def started(bench: Bench, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "APPLIANCE_HOME": str(bench.place.home)}
    return subprocess.run(
        [str(bench.place.launcher), *arguments],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_first_install_then_an_update_then_back(bench: Bench) -> None:
    first = put(bench, bench.kit(1))
    assert (first.version, first.previous, first.state) == (1, NONE, "good")
    assert started(bench).stdout == "version 1\n"

    second = put(bench, bench.kit(2), "a code is not asked for now")
    assert (second.version, second.previous) == (2, first.current)
    assert started(bench).stdout == "version 2\n"
    assert (bench.place.lib / "active").read_text().endswith(" good\n")

    go_back(bench.place)
    assert started(bench).stdout == "version 1\n"
    go_back(bench.place)
    assert started(bench).stdout == "version 2\n"


def test_what_is_there_already_is_not_copied_again(bench: Bench) -> None:
    first = put(bench, bench.kit(1))
    second = put(bench, bench.kit(2))
    (old,), (new,) = (
        (bench.place.slots / active.current / "kit" / "wheels").glob("pip-*.whl")
        for active in (first, second)
    )
    assert old.samefile(new)


def test_only_two_versions_are_kept(bench: Bench) -> None:
    for version in (1, 2, 3):
        put(bench, bench.kit(version))
        started(bench)
    assert sorted(path.name[0] for path in bench.place.slots.iterdir()) == ["2", "3"]


def test_a_version_that_fails_its_trial_is_never_switched_to(bench: Bench) -> None:
    put(bench, bench.kit(1))
    before = imprint(bench.place.prefix)
    with pytest.raises(KitError, match=r"failed its own trial .*told to fail"):
        put(bench, bench.kit(2, fails_trial=True))
    assert imprint(bench.place.prefix) == before
    assert started(bench).stdout == "version 1\n"


def test_a_version_that_cannot_read_the_record_is_never_switched_to(bench: Bench) -> None:
    put(bench, bench.kit(1))
    (bench.place.home / "log").mkdir(parents=True)
    with pytest.raises(KitError, match="cannot work on this machine's record"):
        put(bench, bench.kit(2, fails_data=True))
    assert started(bench).stdout == "version 1\n"


def test_a_copy_of_the_cases_that_a_killed_update_left_goes_at_the_next_start(
    bench: Bench,
) -> None:
    put(bench, bench.kit(1))
    left = bench.place.slots / "2-0badcafe" / "trial-data"
    (left / "cases").mkdir(parents=True)
    with alone(bench.place):  # an update that is under way keeps its own
        assert started(bench).stdout == "version 1\n"
        assert (left / "cases").exists()
    assert started(bench).stdout == "version 1\n"
    assert not left.exists()


def test_a_disk_that_is_full_at_the_switch_leaves_the_old_version(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bench, bench.kit(1))
    slots = {*bench.place.slots.iterdir()}

    def full(place: Place, active: Active) -> None:
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(installing, "write_active", full)
    with pytest.raises(KitError, match="No space left"):
        put(bench, bench.kit(2))
    assert {*bench.place.slots.iterdir()} == slots
    assert started(bench).stdout == "version 1\n"


def test_the_copies_of_the_data_are_counted_before_anything_is_copied(bench: Bench) -> None:
    put(bench, bench.kit(1))
    (bench.place.home / "cases").mkdir(parents=True)
    with (bench.place.home / "cases" / "cases.db").open("wb") as file:
        file.truncate(1 << 43)  # sparse
    with pytest.raises(KitError, match="the kit needs 879"):
        put(bench, bench.kit(2))


def test_a_version_that_cannot_read_the_record_can_be_replaced(bench: Bench) -> None:
    put(bench, bench.kit(1, fails_data=True))
    (bench.place.home / "log").mkdir(parents=True)
    assert put(bench, bench.kit(2)).version == 2


def test_a_python_that_is_gone_is_said(bench: Bench) -> None:
    active = put(bench, bench.kit(1))
    bench.place.python(active.current).unlink()
    done = started(bench)
    assert done.returncode == 3 and "Python that the appliance was installed with" in done.stderr


def test_three_failed_starts_bring_the_old_version_back(bench: Bench) -> None:
    put(bench, bench.kit(1))
    put(bench, bench.kit(2, cannot_start=True))
    for _ in range(2):
        assert started(bench).returncode == 1
    third = started(bench)
    assert "runs again" in third.stderr
    assert started(bench).stdout == "version 1\n"
    active = read_active(bench.place)
    assert active is not None and (active.version, active.previous) == (1, NONE)
    assert (bench.place.home / "notes").read_text() == "went-back\n"


def test_a_first_command_that_changes_what_runs_has_the_last_word(bench: Bench) -> None:
    """As `appliance kit rollback`, the first thing after an update."""
    put(bench, bench.kit(1))
    put(bench, bench.kit(2))
    line = bench.place.lib / "active"
    started(bench, "rewrite", str(line))
    assert line.read_text() == "another line\n"


def test_going_back_is_done_once_where_its_record_fails(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Done twice it would be undone."""
    put(bench, bench.kit(1))
    put(bench, bench.kit(2))
    bench.place.home.mkdir(exist_ok=True)
    (bench.place.home / "settings.toml").touch()
    append = AuditDatabase.append

    def full_at_the_end(log: AuditDatabase, kind: str, body: Mapping[str, Any]) -> Entry:
        if kind == "kit.rollback.done":
            raise AuditError("the audit log cannot be written", "free disk space")
        return append(log, kind, body)

    monkeypatch.setattr(AuditDatabase, "append", full_at_the_end)
    monkeypatch.setenv("APPLIANCE_HOME", str(bench.place.home))
    assert run(["kit", "rollback", "--yes", "--prefix", str(bench.place.prefix)]) == 0
    said = capsys.readouterr()
    assert "not in the record" in said.err and "kit 1 runs from now on" in said.out
    active = read_active(bench.place)
    assert active is not None and active.version == 1


def test_a_version_that_never_started_is_not_gone_back_to(bench: Bench) -> None:
    first = put(bench, bench.kit(1))
    put(bench, bench.kit(2, cannot_start=True))
    assert put(bench, bench.kit(3)).previous == first.current


def test_a_version_that_cannot_use_the_settings_is_not_gone_back_to(bench: Bench) -> None:
    put(bench, bench.kit(1))
    put(bench, bench.kit(2))
    settings = bench.place.home / "settings.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("new_setting = 1\n")
    with pytest.raises(KitError, match="no such setting `new_setting`") as refused:
        refuse_unusable_before(bench.place)
    assert str(settings) in refused.value.hint
    settings.write_text("")
    refuse_unusable_before(bench.place)


def test_an_older_kit_needs_leave_that_two_sign(bench: Bench) -> None:
    old = bench.kit(1)
    put(bench, bench.kit(2))
    with pytest.raises(KitError, match=r"older \(1\) than what was installed here \(2\)"):
        put(bench, old)
    signing.allow_older(signing.read_to_sign(old), bench.key("anna"), str)
    with pytest.raises(KitError, match="not signed by enough"):
        put(bench, old)
    signing.allow_older(signing.read_to_sign(old), bench.key("chong"), str)
    assert put(bench, old).version == 1
    trust = read_trust(bench.place)
    assert trust is not None and trust.version == 2, "the next older kit needs leave of its own"


def test_the_record_of_an_older_kit_names_its_own_manifest(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = bench.kit(1)
    put(bench, bench.kit(2))
    for name in ("anna", "chong"):
        signing.allow_older(signing.read_to_sign(old), bench.key(name), str)
    monkeypatch.setenv("APPLIANCE_HOME", str(bench.place.home))
    assert run(["kit", "install", str(old), "--prefix", str(bench.place.prefix)]) == 0
    with read_audit(Config(bench.place.home)) as log:
        (body,) = [entry.body for entry in log.entries() if entry.kind == "kit.install.done"]
    assert body == {"kit": 1, "manifest": sha256((old / MANIFEST).read_bytes()).hexdigest()}


def test_leave_for_one_kit_does_not_serve_another(bench: Bench) -> None:
    old, other = bench.kit(1), bench.kit(2)
    put(bench, bench.kit(3))
    for name in ("anna", "chong"):
        signing.allow_older(signing.read_to_sign(other), bench.key(name), str)
    for name in ("downgrade.json", "downgrade.signatures"):
        shutil.copyfile(other / name, old / name)
    with pytest.raises(KitError, match="older"):
        put(bench, old)


def test_another_kit_of_the_same_number_is_refused(bench: Bench) -> None:
    put(bench, bench.kit(1))
    shutil.rmtree(bench.folder / "kit-1")
    shutil.rmtree(bench.folder / "wheels-1")
    with pytest.raises(KitError, match="another kit with number 1"):
        put(bench, bench.kit(1, cannot_start=True))


def test_the_same_kit_again_mends_a_damaged_program(bench: Bench) -> None:
    kit = bench.kit(1)
    first = put(bench, kit)
    for path in (bench.place.slots / first.current / "venv").rglob("appliance/*.py"):
        path.write_text("damaged")
    assert started(bench).returncode != 0
    assert put(bench, kit).version == 1
    assert started(bench).stdout == "version 1\n"


def test_a_version_that_is_mended_goes_back_to_the_one_before_it(bench: Bench) -> None:
    first = put(bench, bench.kit(1))
    kit = bench.kit(2)
    put(bench, kit)
    started(bench)
    assert put(bench, kit).previous == first.current


def test_a_wrong_code_installs_nothing(bench: Bench) -> None:
    with pytest.raises(KitError, match="code does not belong"):
        put(bench, bench.kit(1), "0000-0000-0000-0000-0000-0000")
    assert read_active(bench.place) is None and read_trust(bench.place) is None


def test_a_damaged_wheel_is_seen_before_anything_is_unpacked(bench: Bench) -> None:
    kit = bench.kit(1)
    wheel = next((kit / "wheels").glob("clinic*.whl"))
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"x")
    with pytest.raises(KitError, match="damaged, missing or not the one signed"):
        put(bench, kit)
    assert not list(bench.place.slots.iterdir())
    assert not bench.place.launcher.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"machine": "riscv64"}, "the kit is for Linux on riscv64"),
        ({"processor": ["avx1024"]}, "it lacks avx1024"),
        ({"glibc": [9, 0]}, "the system is too old"),
        ({"pythons": ["4.0"]}, "no Python 4.0 was found"),
        ({"unpacked_bytes": 1 << 50}, "make room"),
    ],
)
def test_a_machine_that_cannot_run_it_is_told_first(
    bench: Bench, change: dict[str, object], said: str
) -> None:
    kit = bench.changed(bench.kit(1), lambda manifest: manifest.update(change))
    with pytest.raises(KitError) as refused:
        put(bench, kit)
    assert said in refused.value.message + refused.value.hint
    assert not list(bench.place.slots.iterdir())


def test_a_stick_that_answers_otherwise_the_second_time_gains_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is unpacked is the copy that was checked."""
    kit = bench.kit(1)
    make_program: Callable[[Path, str, str], None] = installing._make_program

    def and_meanwhile_the_stick_changes(folder: Path, python: str, wheels: str) -> None:
        for path in (kit / "wheels").iterdir():
            path.write_bytes(b"something else")
        make_program(folder, python, wheels)

    monkeypatch.setattr(installing, "_make_program", and_meanwhile_the_stick_changes)
    assert put(bench, kit).version == 1
    assert started(bench).stdout == "version 1\n"


def test_the_record_outlives_the_program(bench: Bench) -> None:
    put(bench, bench.kit(1))
    (bench.place.home / "log").mkdir(parents=True)
    (bench.place.home / "log" / "audit.db").write_text("kept")
    uninstall(bench.place)
    assert not bench.place.lib.exists() and not bench.place.launcher.exists()
    assert not bench.place.desktop_entry.exists()
    assert (bench.place.home / "log" / "audit.db").read_text() == "kept"
    remove_home(bench.place)
    assert not bench.place.home.exists()


def test_the_record_is_copied_whole_before_an_update(bench: Bench) -> None:
    home = bench.place.home
    (home / "log").mkdir(parents=True)
    with closing(sqlite3.connect(home / "log" / "audit.db")) as database:
        database.execute("CREATE TABLE entry (text TEXT)")
        database.executemany("INSERT INTO entry VALUES (?)", [(str(i),) for i in range(500)])
        database.commit()
        database.execute("BEGIN IMMEDIATE")  # another program is writing
        database.execute("INSERT INTO entry VALUES ('half done')")
        (home / "cases").mkdir()
        (home / "cases" / "cases.db").write_bytes(b"SQLite format 3\0")
        (home / "settings.toml").write_text("passages = 5\n")
        copy_data(home, home / "copy", ("log",))
    with closing(sqlite3.connect(home / "copy" / "log" / "audit.db")) as copy:
        assert copy.execute("SELECT count(*) FROM entry").fetchone() == (500,)
    assert (home / "copy" / "settings.toml").read_text() == "passages = 5\n"
    assert not (home / "copy" / "cases").exists()


def test_a_line_that_makes_no_sense_is_not_guessed_at(bench: Bench) -> None:
    put(bench, bench.kit(1))
    (bench.place.lib / "active").write_text("../../evil - good\n")
    with pytest.raises(KitError, match="damaged"):
        read_active(bench.place)


def test_there_is_nothing_to_go_back_to_after_a_first_install(bench: Bench) -> None:
    active = put(bench, bench.kit(1))
    with pytest.raises(KitError, match="no earlier version"):
        go_back(bench.place)
    write_active(bench.place, active)


def test_the_stick_installs_itself_with_the_systems_python(bench: Bench) -> None:
    """install.sh, the tools' hashes, the code that is typed."""
    kit = bench.kit(1, real_pip=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(bench.folder / "user"),
                   "APPLIANCE_HOME": str(bench.place.home)}  # fmt: skip
    command = ["sh", str(kit / "install.sh"), "--prefix", str(bench.place.prefix)]
    wrong = subprocess.run(
        command, input="no\n", env=environment, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 1 and "code does not belong" in wrong.stderr
    done = subprocess.run(
        command, input=bench.code, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert started(bench).stdout == "version 1\n"
    assert not list(kit.rglob("__pycache__"))

    tool = kit / "tools" / "appliance" / "kit" / "verify.py"
    tool.write_text(tool.read_text().replace("threshold", "treshold"))
    forged = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert forged.returncode == 3 and "installer's own files are damaged" in forged.stderr
