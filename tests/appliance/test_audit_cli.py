"""`appliance audit`, as a person or a program runs it."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.main import run
from appliance.core.checkpoint import read_checkpoint
from appliance.edges import clock
from appliance.edges.audit_db import AuditDatabase
from appliance.edges.audit_reader import AuditReader


@pytest.fixture
def log(home: Path) -> Path:
    """The folder of a log with three acts and one that was interrupted."""
    with AuditDatabase(home / "log", clock.now) as database:
        for number in range(3):
            database.append("act.done", {"n": number})
        database.append("lookup.asked", {})
    return home / "log"


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["show", "1"], ["verify"], ["verify", "--json"], ["checkpoint", "--key"]],
)
def test_without_a_log_reading_says_so_and_makes_none(
    arguments: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", *arguments]) == 3
    shown = capsys.readouterr()
    assert "no audit log yet" in shown.err and shown.out == ""
    assert not (home / "log").exists()


def test_entries_are_listed_and_shown(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "list", "--last", "2", "--json"]) == 0
    listed = printed(capsys)
    assert [entry["kind"] for entry in listed] == ["lookup.asked", "lookup.interrupted"]
    assert run(["audit", "show", "2"]) == 0
    [entry] = printed(capsys)
    assert entry["body"] == {"n": 0} and len(entry["hash"]) == 64
    assert run(["audit", "show", "99"]) == 2


@pytest.mark.usefixtures("log")
def test_verify_has_a_contract(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "verify", "--json"]) == 0
    [found] = printed(capsys)
    assert set(found) == {
        *("entries", "newest", "fault", "first_bad", "checkpoints", "covered"),
        *("archived", "absent"),
    }
    assert found["covered"] == 6 < found["entries"] and found["first_bad"] is None
    with AuditReader(home / "log") as log:
        asked = log.get(found["entries"])
    assert asked is not None and asked.kind == "log.verify.asked", "up to this verification itself"
    assert run(["audit", "verify"]) == 0
    assert "entries, whole" in capsys.readouterr().out


def test_a_cut_log_fails_against_the_register(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(log, tmp_path / "before")
    with AuditDatabase(log, clock.now) as database:
        for _ in range(20):
            database.append("act.done", {})
    assert run(["audit", "checkpoint", "--json"]) == 0
    [shown] = printed(capsys)
    size = read_checkpoint(shown["checkpoint"]).size
    assert run(["audit", "verify", "--checkpoint", shown["code"]]) == 0
    shutil.rmtree(log)
    (tmp_path / "before").rename(log)
    assert run(["audit", "verify"]) == 0
    capsys.readouterr()
    assert run(["audit", "verify", "--checkpoint", shown["code"], "--json"]) == 4
    [found] = printed(capsys)
    assert found["first_bad"][1] == found["entries"] + 1 <= size
    assert f"covers {size}" in found["fault"]
    assert run(["audit", "verify", "--checkpoint", shown["code"][:-1] + "*"]) == 2


def test_the_checkpoint_is_shown_as_text_code_and_picture(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", "checkpoint", "--qr"]) == 0
    shown = capsys.readouterr().out
    with AuditReader(log) as reader:
        [kept] = reader.witnessed(["shown"])
    assert kept in shown
    assert (
        f"for the register: {read_checkpoint(kept).size}-" in shown and shown.count("\u2588") > 300
    )
    picture = [line for line in shown.splitlines() if line.startswith("\u2588")]
    assert len({len(line) for line in picture}) == 1 and len(picture[0]) <= 80
    assert run(["audit", "checkpoint", "--key"]) == 0
    assert capsys.readouterr().out.startswith("clinic-appliance/")


def test_an_export_by_command(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    given = [
        "--format",
        "csv",
        "--kind",
        "log.opened",
        "--kind",
        "lookup",
        "--from",
        "2020-01-01",
        "--to",
        "2999-01-01",
    ]
    assert run(["audit", "export", out, *given, "--json"]) == 0
    [done] = printed(capsys)
    assert done["entries"] == 3 and done["folder"] == out
    assert run(["audit", "verify", "--checkpoint", done["code"]]) == 0
    assert run(["audit", "verify", "--checkpoint", f"{out}/checkpoint"]) == 0
    assert run(["audit", "export", out]) == 2
    assert run(["audit", "export", str(tmp_path / "z"), "--kind", "captoin"]) == 2
    assert run(["audit", "export", str(tmp_path / "x"), "--from", "soon"]) == 2
    assert run(["audit", "export", str(tmp_path / "y"), "--image-hash", "ab" * 32]) == 0


def test_a_damaged_log_is_set_aside_only_when_asked(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", "set-aside", "--yes"]) == 2, "it is whole"
    (log / "audit.db").write_bytes(b"x" * 5000)
    assert run(["audit", "checkpoint"]) == 4
    assert run(["audit", "verify"]) == 4
    capsys.readouterr()
    assert run(["audit", "set-aside", "--yes"]) == 0
    assert "set-aside" in capsys.readouterr().out
    assert run(["audit", "show", "1"]) == 0
    assert printed(capsys)[0]["body"]["before"]["reason"] == "damaged"
    assert run(["audit", "verify"]) == 0


def test_a_lost_log_is_exit_4(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (log / "audit.db").unlink()
    assert run(["audit", "list"]) == 4
    assert "gone" in capsys.readouterr().err


@pytest.mark.usefixtures("log")
def test_archiving_asks_and_says_when_there_is_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run(["audit", "archive"]) == 130
    assert run(["audit", "archive", "--yes"]) == 0
    assert "no entry is older" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["audit", "list"], ["audit", "verify"]])
@pytest.mark.usefixtures("log")
def test_a_closed_output_is_said_not_stumbled_over(arguments: list[str], home: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -m appliance "$@" >&-', sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "APPLIANCE_HOME": str(home)},
    )
    assert done.returncode == 1 and "output is closed" in done.stderr
    assert not (home / "faults.log").exists()


@pytest.mark.slow
def test_on_a_full_disk_no_caption_is_shown(home: Path, chest_dicom: Path) -> None:
    """The log may not grow by more than a page: the answer has no room."""
    assert run(["caption", "--no-lookup", str(chest_dicom)]) == 0
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from appliance.cli.main import run\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "size = (Path(sys.argv[1]) / 'log' / 'audit.db').stat().st_size\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))\n"
        "sys.exit(run(['caption', '--json', '--no-lookup', *sys.argv[2:]]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, home, *[chest_dicom] * 8],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4 and "audit log cannot be written" in done.stderr
    shown = [json.loads(line)["audit"] for line in done.stdout.splitlines()]
    assert len(shown) < 8
    for one in shown:
        assert run(["audit", "show", str(one["seq"])]) == 0
    assert run(["audit", "verify"]) == 0
