"""Backups: all of it comes back, on this box or another; what is not whole changes nothing."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from stand_ins import SPECKLED, OneImage, ports

from appliance.cli.main import run
from appliance.config import SETTINGS, Config, write_setting
from appliance.core.cases import Wanted
from appliance.core.consult import consult
from appliance.edges import clock
from appliance.edges.audit_archive import archive_log
from appliance.edges.audit_db import AuditDatabase
from appliance.edges.audit_reader import AuditReader, has_log
from appliance.edges.backup import (
    MOST_ON_FAT,
    Backup,
    file_system,
    make_backup,
    refuse_small,
)
from appliance.edges.case_store import CaseStore
from appliance.edges.restore import Restored, restore_backup
from appliance.edges.sealed_file import Cost, SealedWriter
from appliance.edges.users_db import UserDatabase
from appliance.errors import AuditError, BackupError, ConfigError

PASSPHRASE = "five plain words here"
CHEAP = Cost(memory_kib=64, passes=1, lanes=1)
AT = "2026-05-06T07:08:09.000+00:00"
ASIDE = "before-restore-2026-05-06T07-08-09"


@pytest.fixture
def config(home: Path) -> Config:
    """Of a home with a log, a case, an account and a setting."""
    config = Config(home)
    with AuditDatabase(config.log_folder, clock.now) as log:
        for number in range(20):
            log.append("act.done", {"n": number})
        with CaseStore(config.cases_folder) as store:
            consult("/x/eye.png", replace(ports(images=OneImage()), audit=log, cases=store), 0)
    with UserDatabase(config.users_folder, clock.now) as users:
        users.add("aminah", "administrator", "a long enough secret")
    write_setting(home, "risk", "0.05")
    (home / "keys.toml").write_text('"consult.open" = "f9"\n', encoding="utf-8")
    (home / "rules").mkdir()
    (home / "rules" / "ours.toml").write_text("# ours\n", encoding="utf-8")
    return config


def back_up(config: Config, out: Path) -> Backup:
    out.parent.mkdir(exist_ok=True)
    with AuditDatabase(config.log_folder, clock.now) as log:
        return make_backup(config, log, out, PASSPHRASE, AT, [], CHEAP)


@pytest.fixture
def file(config: Config, tmp_path: Path) -> Path:
    return back_up(config, tmp_path / "stick" / "a.backup").file


def restored(file: Path, home: Path, *, replaces: bool = False) -> Restored:
    return restore_backup(file, PASSPHRASE, home, AT, replaces=replaces)


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_all_of_it_comes_back_on_another_box(file: Path, config: Config, tmp_path: Path) -> None:
    other = Config(tmp_path / "other")
    done = restored(file, other.home)
    assert done.set_aside is None and done.entries == done.manifest.entries
    with AuditReader(config.log_folder) as before, AuditReader(other.log_folder) as after:
        assert after.verify().fault is None and after.origin == before.origin
        assert list(after.entries()) == list(before.entries(last=done.entries))
    with CaseStore(other.cases_folder) as store:
        [case] = store.find(Wanted())
        assert case.answer["image"]["path"] == "/x/eye.png"
        assert store.pixels(case.case_id) == SPECKLED
    with UserDatabase(other.users_folder, clock.now) as users:
        assert users.sign_in("aminah", "a long enough secret").role == "administrator"
    for name in ("settings.toml", "keys.toml", "rules/ours.toml"):
        assert (other.home / name).read_text() == (config.home / name).read_text()
    with AuditDatabase(other.log_folder, clock.now) as log:
        log.append("act.done", {"on": "the other box"})
        assert log.verify().fault is None
    for path in (other.home, *other.home.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_it_is_sealed_for_its_owner_and_named_by_its_time(config: Config, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    made = back_up(config, stick)
    assert made.file.name == "2026-05-06-070809.backup" and list(stick.iterdir()) == [made.file]
    assert made.file.stat().st_mode & 0o777 == 0o600
    content = made.file.read_bytes()
    for needle in (b"eye.png", b"aminah", b"act.done", b"SQLite format", b"audit.db"):
        assert needle not in content
    with pytest.raises(ConfigError, match="there already"):
        back_up(config, stick)
    assert [path.name for path in config.home.iterdir() if path.name.startswith(".")] == []


def test_it_is_made_while_others_write(config: Config, tmp_path: Path) -> None:
    writing = (
        "import sys\n"
        "from pathlib import Path\n"
        "from appliance.edges import clock\n"
        "from appliance.edges.audit_db import AuditDatabase\n"
        "with AuditDatabase(Path(sys.argv[1]), clock.now) as log:\n"
        "    print('begun', flush=True)\n"
        "    while not Path(sys.argv[2]).exists():\n"
        "        log.append('act.done', {})\n"
    )
    end = tmp_path / "end"
    with subprocess.Popen(
        [sys.executable, "-c", writing, config.log_folder, end], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"begun\n"
        made = [back_up(config, tmp_path / f"{number}.backup") for number in range(3)]
        end.touch()
        assert writer.wait() == 0
    for number, backup in enumerate(made):
        done = restored(backup.file, tmp_path / f"box{number}")
        assert done.entries >= backup.manifest.entries
    assert made[0].manifest.entries < made[2].manifest.entries


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def add(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\x00")


def empty(file: Path) -> None:
    os.truncate(file, 0)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [(flip, "damaged"), (cut, "damaged"), (add, "damaged"), (empty, "not a backup")],
)
def test_a_spoilt_file_changes_nothing(
    spoil: Callable[[Path], None], complaint: str, file: Path, config: Config, tmp_path: Path
) -> None:
    spoil(file)
    before = tree(config.home)
    with pytest.raises(BackupError, match=complaint):
        restored(file, config.home, replaces=True)
    assert tree(config.home) == before
    with pytest.raises(BackupError, match=complaint):
        restored(file, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_wrong_passphrase_and_a_missing_file_change_nothing(file: Path, config: Config) -> None:
    before = tree(config.home)
    with pytest.raises(BackupError, match="does not open"):
        restore_backup(file, "five plain word here", config.home, AT, replaces=True)
    with pytest.raises(BackupError, match="no such file"):
        restored(file.with_name("b.backup"), config.home)
    assert tree(config.home) == before


def test_a_newer_log_is_replaced_only_when_told_and_then_kept(file: Path, config: Config) -> None:
    with AuditDatabase(config.log_folder, clock.now) as log:
        log.append("act.done", {"after": "the backup"})
        newest = log.size()
    before = tree(config.home)
    with pytest.raises(BackupError, match="that the backup lacks") as caught:
        restored(file, config.home)
    assert "--replace" in caught.value.hint and tree(config.home) == before
    done = restored(file, config.home, replaces=True)
    assert done.set_aside == config.home / ASIDE
    with AuditReader(config.log_folder) as log, AuditReader(done.set_aside / "log") as old:
        assert log.size() == done.entries < old.size() == newest
        assert log.verify().fault is None and old.verify().fault is None
    kept = {path.name for path in done.set_aside.iterdir()}
    assert kept == {"log", "cases", "users", "settings.toml", "keys.toml", "rules"}


def test_a_log_that_cannot_be_read_may_be_newer(file: Path, config: Config) -> None:
    (config.log_folder / "audit.db").write_bytes(b"x" * 5000)
    with pytest.raises(BackupError, match="may be newer"):
        restored(file, config.home)
    assert restored(file, config.home, replaces=True).entries
    assert (config.home / ASIDE / "log" / "audit.db").read_bytes() == b"x" * 5000


def test_another_log_is_not_overwritten(file: Path, tmp_path: Path) -> None:
    with AuditDatabase(tmp_path / "other" / "log", clock.now):
        pass
    with pytest.raises(BackupError, match="another one"):
        restored(file, tmp_path / "other")


def test_nothing_is_put_in_place_under_an_open_log(file: Path, config: Config) -> None:
    with AuditDatabase(config.log_folder, clock.now) as log:
        with pytest.raises(AuditError, match="another program"):
            restored(file, config.home, replaces=True)
        log.append("act.done", {})
    assert not (config.home / ASIDE).exists()
    assert not list(config.home.glob(".restore-*"))


def test_a_switch_that_fails_at_its_last_step_is_undone(file: Path, config: Config) -> None:
    (config.home / ASIDE / "log").mkdir(parents=True)
    (config.home / ASIDE / "log" / "in the way").touch()
    before = tree(config.home)
    with pytest.raises(BackupError, match="cannot be restored"):
        restored(file, config.home, replaces=True)
    assert tree(config.home) == before


def test_no_log_is_begun_where_a_restore_was_cut_short(
    file: Path, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed between the log that goes and the one that comes: there is neither."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from appliance.edges.restore import restore_backup\n"
        "rename = Path.rename\n"
        "def dying(path, target):\n"
        "    if path.name == 'log' and '.restore-' in path.parent.name: os._exit(9)\n"
        "    return rename(path, target)\n"
        "Path.rename = dying\n"
        "file, passphrase, home, at = sys.argv[1:]\n"
        "restore_backup(Path(file), passphrase, Path(home), at, replaces=True)\n"
    )
    given = [str(file), PASSPHRASE, str(config.home), "2026-05-06T07:08:08.000+00:00"]
    assert subprocess.run([sys.executable, "-c", script, *given], check=False).returncode == 9
    assert not has_log(config.log_folder)
    for act in (["audit", "checkpoint"], ["audit", "list"], ["doctor"]):
        assert run(act) == AuditError.exit_code
        said = capsys.readouterr()
        assert "a restore was cut short" in said.out + said.err
    assert not has_log(config.log_folder)
    done = restored(file, config.home)
    with AuditReader(config.log_folder) as log:
        found = log.verify()
    assert (found.fault, found.entries) == (None, done.entries)


def test_settings_that_this_program_does_not_know_are_refused_beforehand(
    file: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(SETTINGS, "risk")  # an older program than the backup's
    before = tree(config.home)
    with pytest.raises(BackupError, match="no such setting `risk`"):
        restored(file, config.home, replaces=True)
    assert tree(config.home) == before


def on_a_full_disk(script: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """No file may grow beyond 200 kB, as on a disk with no more room (RLIMIT_FSIZE)."""
    limited = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "from appliance.errors import BackupError\n"
        "try:\n"
    ) + "".join(f"    {line}\n" for line in script.splitlines())
    return subprocess.run(
        [sys.executable, "-c", limited + "except BackupError as exc: print(exc)", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_full_disk_is_said_and_nothing_is_left(config: Config, tmp_path: Path) -> None:
    log = config.log_folder / "set-aside" / "2020-01-01T00-00-00"
    log.mkdir(parents=True)
    (log / "audit.db").write_bytes(os.urandom(400_000))
    stick = tmp_path / "stick"
    stick.mkdir()
    done = on_a_full_disk(
        "from appliance.config import Config\n"
        "from appliance.edges import clock\n"
        "from appliance.edges.audit_db import AuditDatabase\n"
        "from appliance.edges.backup import make_backup\n"
        "config = Config(Path(sys.argv[1]))\n"
        "with AuditDatabase(config.log_folder, clock.now) as log:\n"
        "    make_backup(config, log, Path(sys.argv[2]), 'five plain words', clock.now().at, [])",
        config.home,
        stick,
    )
    assert "cannot be written" in done.stdout, done.stderr
    assert list(stick.iterdir()) == [] and not list(config.home.glob(".backup-*"))
    made = back_up(config, stick / "a.backup")
    done = on_a_full_disk(
        "from appliance.edges.restore import restore_backup\n"
        "restore_backup(Path(sys.argv[1]), sys.argv[3], Path(sys.argv[2]), sys.argv[4])",
        *(made.file, tmp_path / "other", PASSPHRASE, AT),
    )
    assert "cannot be restored" in done.stdout, done.stderr
    assert list((tmp_path / "other").iterdir()) == []


def test_a_medium_that_is_too_small_is_refused_beforehand(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"1,152,921,504,606,846,976 bytes, and only"):
        refuse_small(tmp_path / "a.backup", 1 << 60)
    with pytest.raises(BackupError, match="no such folder"):
        refuse_small(tmp_path / "none" / "a.backup", 1)


def test_a_stick_formatted_for_windows_is_known() -> None:
    mounts = (
        "22 28 0:20 / / rw - ext4 /dev/sda1 rw\n"
        "95 22 8:17 / /media/My\\040Stick rw,nosuid shared:9 - vfat /dev/sdb1 rw,uid=1000\n"
    )
    assert file_system(Path("/media/My Stick/backups"), mounts) == "vfat"
    assert file_system(Path("/media"), mounts) == "ext4"
    assert MOST_ON_FAT == 4_294_967_295


@pytest.mark.parametrize("name", ["../out", "/out", "log/../../out", "log//audit.db", "link"])
def test_what_would_be_put_elsewhere_is_refused(name: str, tmp_path: Path, home: Path) -> None:
    file = tmp_path / "crafted.backup"
    with file.open("wb") as raw:
        sealed = SealedWriter(raw, PASSPHRASE, CHEAP)
        with tarfile.open(fileobj=sealed, mode="w|") as tar:  # type: ignore[call-overload]
            member = tarfile.TarInfo(name)
            member.size = 1
            if name == "link":
                member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc", 0
            tar.addfile(member, io.BytesIO(b"x"))
        sealed.finish()
    with pytest.raises(BackupError, match="not what this appliance writes"):
        restored(file, home)
    assert not (tmp_path / "out").exists() and not home.exists()


def test_archives_and_logs_set_aside_come_with_it(config: Config, tmp_path: Path) -> None:
    with AuditDatabase(config.log_folder, clock.now) as log:
        archive = archive_log(log, datetime.fromisoformat("2999-01-01T00:00:00+00:00"))
    assert archive is not None
    aside = config.log_folder / "set-aside" / "2020-01-01T00-00-00"
    aside.mkdir(parents=True)
    (aside / "reason").write_text("damaged")
    done = restored(back_up(config, tmp_path / "a.backup").file, tmp_path / "other")
    other = tmp_path / "other" / "log"
    assert (other / "set-aside" / aside.name / "reason").read_text() == "damaged"
    with AuditReader(other) as log:
        assert log.get(3) is not None and log.archived() >= 20
    assert any(name.startswith("log/archive/") for name in done.manifest.files)


@pytest.mark.slow
def test_by_command_with_the_guidelines_and_a_release(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from appliance.release.shelf import BUILT_IN

    def typed(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    assert run(["guidelines", "add", "--sample"]) == 0
    shutil.copytree(BUILT_IN, home / "releases" / "ours")
    typed("short\n")
    assert run(["backup", str(tmp_path / "a.backup")]) == 2
    typed(PASSPHRASE + "\n")
    assert run(["backup", str(tmp_path / "a.backup")]) == 0
    typed(PASSPHRASE + "\n")
    capsys.readouterr()
    assert run(["backup", "--with-releases", "--json", str(tmp_path / "b.backup")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["size_bytes"] == (tmp_path / "b.backup").stat().st_size
    assert said["size_bytes"] - (tmp_path / "a.backup").stat().st_size > 5_000_000
    for name, missing in (("a", True), ("b", False)):
        typed(PASSPHRASE + "\n")
        other = tmp_path / f"other-{name}"
        given = [str(tmp_path / f"{name}.backup"), "--to", str(other), "--yes"]
        assert run(["restore", *given]) == 0
        assert ("releases to bring back: " in capsys.readouterr().err) == missing
        with AuditReader(other / "log") as log:
            entries = list(log.entries())
            assert log.verify().fault is None
        [done] = [entry for entry in entries if entry.kind == "backup.restore.done"]
        assert done.body["set_aside"] is False
        monkeypatch.setenv("APPLIANCE_HOME", str(other))
        assert run(["lookup", "melanoma", "--json"]) == 0
        assert "Sample Guideline" in capsys.readouterr().out
        monkeypatch.setenv("APPLIANCE_HOME", str(home))
    assert run(["--release", "ours", "release", "verify"]) == 0
    typed(PASSPHRASE + "\n")
    assert run(["restore", str(tmp_path / "a.backup"), "--yes"]) == 1
    typed(PASSPHRASE + "\n")
    assert run(["restore", str(tmp_path / "a.backup"), "--yes", "--replace"]) == 0
    assert run(["audit", "verify"]) == 0
