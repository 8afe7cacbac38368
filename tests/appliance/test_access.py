"""Who may do what: the table, the commands that obey it, signing in at a terminal, two people."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.guard import FREE
from appliance.cli.main import run
from appliance.core.access import ACTS, MAY, NEEDS_TWO, ROLES
from appliance.core.entry import Moment
from appliance.edges import clock
from appliance.edges.audit_reader import AuditReader
from appliance.edges.users_sessions import Sessions
from appliance.wiring import this_terminal
from tests.benchmarks.access import (
    SECRETS,
    leaves,
    lenient,
    make_accounts,
    refused_cells,
    sign_in_as,
    sweep,
)

Typed = Callable[..., None]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Lines on standard input, for what the next command asks."""

    def typed(*lines: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(line + "\n" for line in lines)))

    return typed


@pytest.fixture
def clinic(home: Path) -> Path:
    """One of each role; nobody signed in."""
    home.mkdir()
    make_accounts()
    return home


def entries(home: Path, *acts: str) -> list[tuple[str, dict[str, Any]]]:
    """Kind and body of what the log holds of these acts."""
    with AuditReader(home / "log") as log:
        return [
            (entry.kind, dict(entry.body))
            for entry in log.entries()
            if not acts or entry.kind.rpartition(".")[0] in acts
        ]


def test_every_act_is_in_the_table_and_somebody_may_do_it() -> None:
    assert set(MAY) == set(ACTS) and all(MAY.values()) and set(ACTS) >= NEEDS_TWO
    assert all(roles <= set(ROLES) for roles in MAY.values())


def test_every_command_has_an_act_or_a_reason_to_have_none() -> None:
    found = {name: getattr(command.callback, "act", None) for name, command in leaves()}
    unguarded = {name for name, act in found.items() if act is None}
    assert unguarded == set(FREE)
    assert set(filter(None, found.values())) <= set(ACTS)
    for name, command in leaves():
        if found[name] in NEEDS_TWO:
            assert any(one.name == "second" for one in command.params), name


@pytest.mark.slow
@pytest.mark.usefixtures("clinic")
def test_every_refused_cell_is_refused_and_recorded() -> None:
    cells = refused_cells()
    assert len(cells) > 90
    assert sweep(cells) == (len(cells), len(cells))


@pytest.mark.usefixtures("clinic")
def test_a_guard_that_lets_one_too_many_pass_is_found() -> None:
    cells = [cell for cell in refused_cells() if cell[1].startswith("audit ")]
    with lenient("log.read"):
        refused, recorded = sweep(cells)
    assert refused == recorded == len(cells) - 3, "list, show and verify, by a clinician"


def test_one_persons_machine_asks_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config"]) == 0 and not home.exists()
    assert run(["users", "signin", "siti"]) == 2
    assert "single user: nobody signs in" in capsys.readouterr().err
    assert not (home / "users").exists()


def test_beginning_makes_the_first_administrator_and_the_sealed_code(
    home: Path, typed: Typed, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir()
    (home / "settings.toml").write_text("# ours\nrisk = 0.05\n", encoding="utf-8")
    typed("123456")
    assert run(["users", "begin", "siti"]) == 2
    typed("pintu besi hitam")
    assert run(["users", "begin", "siti"]) == 0
    shown = capsys.readouterr()
    code = shown.out.split()[-1]
    assert len(code.replace("-", "")) == 25 and "add a second" in shown.err
    settings = (home / "settings.toml").read_text(encoding="utf-8")
    assert settings.startswith("# ours\nrisk = 0.05\n") and 'access = "users"' in settings
    written = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert code.encode() not in written and b"pintu" not in written
    assert run(["config"]) == 2, "nobody is signed in yet"
    typed("pintu besi hitam")
    assert run(["users", "signin", "siti"]) == 0
    assert run(["config"]) == 0
    assert run(["users", "begin", "ali"]) == 2, "once"


AT_A_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "appliance", *sys.argv[1:]])
"""


def test_at_a_terminal_a_secret_is_asked_for_twice_and_not_shown(home: Path) -> None:
    ours, theirs = os.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", AT_A_TERMINAL, "users", "begin", "siti"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    for question in (b"a secret for siti: ", b"Repeat for confirmation: "):
        while not shown.endswith(question):
            shown += os.read(ours, 1000)
        os.write(ours, b"pintu besi hitam\n")
    while b"administrator; now" not in shown:
        shown += os.read(ours, 1000)
    assert child.wait() == 0
    os.close(ours)
    assert b"pintu" not in shown and b"recovery code: " in shown


def test_a_person_is_signed_in_at_one_terminal_until_they_sign_out(
    clinic: Path, typed: Typed, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(SECRETS["auditor"])
    assert run(["users", "signin", "the-auditor"]) == 0
    assert run(["audit", "list"]) == 0
    for is_elsewhere, code in ((False, 0), (True, 2)):
        done = subprocess.run(
            [sys.executable, "-m", "appliance", "audit", "show", "1"],
            check=False,
            capture_output=True,
            start_new_session=is_elsewhere,
        )
        assert done.returncode == code
    typed(SECRETS["clinician"])
    assert run(["users", "signin", "the-clinician"]) == 0
    assert run(["users", "signout"]) == 0
    assert run(["users", "signout"]) == 2
    assert "nobody is signed in" in capsys.readouterr().err
    assert entries(clinic, "user.signout") == [
        ("user.signout.done", {"account": "the-auditor", "why": "another"}),
        ("user.signout.done", {"account": "the-clinician", "why": "asked"}),
    ]
    with AuditReader(clinic / "log") as log:
        assert {entry.user for entry in log.entries() if entry.kind == "log.read.asked"} == {
            "the-auditor"
        }


def test_an_idle_session_has_ended_and_that_is_recorded(clinic: Path) -> None:
    now = clock.now()
    earlier = Moment(now.at, now.boot, now.up_ms - 301_000)
    with Sessions(clinic / "users", lambda: earlier) as users:
        users.begin_session(this_terminal(), "the-auditor", 300)
    assert run(["audit", "list"]) == 2
    assert entries(clinic, "user.signout", "access") == [
        ("user.signout.done", {"account": "the-auditor", "why": "idle"}),
        ("access.denied", {"act": "log.read", "role": "", "command": "audit list"}),
    ]


def test_failures_and_lock_outs_are_recorded_and_unknown_names_are_not(
    clinic: Path, typed: Typed
) -> None:
    for name in (*["the-auditor"] * 6, "pintu besi hitam", "ali"):
        typed("wrong")
        assert run(["users", "signin", name]) == 2
    found = entries(clinic, "user.signin", "user.lockout")
    failed = [(body["account"], body["error"]) for kind, body in found if kind.endswith("failed")]
    assert failed == [
        *[("the-auditor", "signin-failed")] * 4,
        ("the-auditor", "signin-lockout"),
        ("the-auditor", "signin-locked"),
        *[("", "signin-failed")] * 2,
    ]
    assert ("user.lockout.begun", {"account": "the-auditor"}) in found
    assert b"pintu besi" not in (clinic / "log" / "audit.db").read_bytes()


def test_a_new_account_chooses_its_own_secret_first(clinic: Path, typed: Typed) -> None:
    sign_in_as("administrator")
    typed("kerusi kayu")
    assert run(["users", "add", "wei", "--role", "clinician"]) == 0
    typed("kerusi kayu")
    assert run(["users", "signin", "wei"]) == 2, "without a new one"
    assert run(["users", "list"]) == 0, "the administrator still is"
    typed("kerusi kayu", "kerusi kayu")
    assert run(["users", "signin", "wei"]) == 2
    typed("kerusi kayu", "meja besi")
    assert run(["users", "signin", "wei"]) == 0
    typed("meja besi", "lantai dua")
    assert run(["users", "secret"]) == 0
    typed("lantai dua")
    assert run(["users", "signin", "wei"]) == 0
    changes = [kind for kind, _ in entries(clinic, "user.secret")]
    assert changes == [
        f"user.secret.{phase}" for phase in ("asked", "failed", *["asked", "done"] * 2)
    ]


def test_accounts_are_changed_by_an_administrator(
    clinic: Path, typed: Typed, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_in_as("administrator")
    assert run(["users", "disable", "the-administrator"]) == 2
    assert run(["users", "role", "the-clinician", "administrator"]) == 0
    assert run(["users", "disable", "the-auditor"]) == 0
    typed("lampu padam")
    assert run(["users", "reset", "the-auditor"]) == 0
    assert run(["users", "enable", "the-auditor"]) == 0
    assert run(["users", "disable", "Ali bin Abu"]) == 2
    capsys.readouterr()
    assert run(["users", "list", "--json"]) == 0
    listed = {one["name"]: one for one in map(json.loads, capsys.readouterr().out.splitlines())}
    assert listed["the-clinician"]["role"] == "administrator"
    assert listed["the-auditor"]["must_change"] and not listed["the-auditor"]["is_disabled"]
    assert ("user.disable.asked", {"account": ""}) in entries(clinic, "user.disable")
    assert ("user.role.asked", {"account": "the-clinician", "role": "administrator"}) in entries(
        clinic, "user.role"
    )


PURGE = ["cases", "purge", "--before", "2020-01-01", "--yes"]


def test_what_needs_two_people_is_refused_to_one(clinic: Path, typed: Typed) -> None:
    sign_in_as("administrator")
    for second, secret in (
        ("", ""),
        ("the-administrator", SECRETS["administrator"]),
        ("the-auditor", "wrong"),
        ("ali", SECRETS["auditor"]),
    ):
        typed(secret)
        assert run([*PURGE, *(["--second", second] if second else [])]) == 2
    assert not entries(clinic, "case.purge")
    denied = {"act": "case.purge", "role": "administrator", "command": "cases purge"}
    assert entries(clinic, "access") == [("access.denied", denied)] * 4
    typed(SECRETS["auditor"])
    assert run([*PURGE, "--second", "the-auditor"]) == 0
    agreed = {"act": "case.purge", "account": "the-administrator", "second": "the-auditor"}
    assert ("access.agreed", agreed) in entries(clinic, "access")
    assert "case.purge.done" in [kind for kind, _ in entries(clinic, "case.purge")]
    sign_in_as("auditor")
    typed(SECRETS["administrator"])
    assert run([*PURGE, "--second", "the-administrator"]) == 2, (
        "two are not enough: the role counts"
    )


def test_one_persons_machine_needs_no_second(home: Path) -> None:
    assert run(PURGE) == 0
    assert not entries(home, "access")


def test_a_lost_administrator_is_recovered_by_the_code_once(
    clinic: Path, typed: Typed, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_in_as("administrator")
    assert run(["users", "seal"]) == 0
    code = capsys.readouterr().out.split()[-1]
    typed("0" * 25, "pintu kayu")
    assert run(["users", "recover", "the-administrator"]) == 2
    typed(code, "kunci hilang")
    assert run(["users", "recover", "the-auditor"]) == 2, "no administrator"
    capsys.readouterr()
    typed(code, "kunci baru")
    assert run(["users", "recover", "the-administrator"]) == 0
    new_code = capsys.readouterr().out.split()[-1]
    typed(code, "kunci lain")
    assert run(["users", "recover", "the-administrator"]) == 2, "used"
    typed("kunci baru")
    assert run(["users", "signin", "the-administrator"]) == 0
    typed(new_code, "kunci lain")
    assert run(["users", "recover", "the-administrator"]) == 0
    assert code.encode() not in (clinic / "log" / "audit.db").read_bytes()


def test_a_lost_administrator_is_recovered_by_two_others(clinic: Path, typed: Typed) -> None:
    recover = ["users", "recover", "the-administrator", "--agreed", "the-auditor"]
    for other in ("the-auditor", "the-administrator"):
        typed(SECRETS["auditor"], SECRETS["auditor"], "kunci baru")
        assert run([*recover, other]) == 2
    typed(SECRETS["auditor"], "wrong", "kunci baru")
    assert run([*recover, "the-clinician"]) == 2
    typed(SECRETS["auditor"], SECRETS["clinician"], "kunci baru")
    assert run([*recover, "the-clinician"]) == 0
    typed("kunci baru")
    assert run(["users", "signin", "the-administrator"]) == 0
    agreed = {"agreed": ["the-auditor", "the-clinician"]}
    assert ("user.recover.done", agreed) in entries(clinic, "user.recover")


@pytest.mark.parametrize("content", [None, b"", b"x" * 5000], ids=["gone", "empty", "damaged"])
def test_without_its_database_nobody_gets_in(
    clinic: Path, content: bytes | None, typed: Typed, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_in_as("administrator")
    path = clinic / "users" / "users.db"
    path.unlink() if content is None else path.write_bytes(content)
    for command in (
        ["config"],
        ["caption", "x.png"],
        ["users", "signout"],
        ["users", "begin", "siti"],
    ):
        typed("pintu besi hitam")
        assert run(command) == 2
        shown = capsys.readouterr()
        assert shown.out == "" and "backup" in shown.err
        assert str(path) in shown.err
    denied = [body["command"] for kind, body in entries(clinic, "access")]
    assert denied == ["config", "caption", "users signout"]


@pytest.mark.usefixtures("clinic")
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("APPLIANCE_ACCESS", "single"),
        ("APPLIANCE_KEEP_CASES_DAYS", "0"),
        ("APPLIANCE_IDLE_LOCK_S", "3600"),
        ("APPLIANCE_INDEX_SERVER", "http://elsewhere:8000"),
        ("APPLIANCE_RISK", "0.3"),
    ],
)
def test_a_variable_changes_nothing_that_the_clinic_decided(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_in_as("clinician")
    monkeypatch.setenv("APPLIANCE_LANGUAGE", "ms")
    assert run(["config"]) == 0, "what is one's own may be changed"
    monkeypatch.setenv(variable, value)
    for command in (["config"], ["cases", "list"], ["tui"], ["users", "signin", "siti"]):
        assert run(command) == 2
        assert variable in capsys.readouterr().err


@pytest.mark.usefixtures("clinic")
def test_a_flag_changes_nothing_on_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--risk", "0.3", "tui"]) == 2
    assert "clinic decided" in capsys.readouterr().err


@pytest.mark.parametrize("setting", [("access", "single"), ("keep_cases_days", "0")])
def test_a_setting_that_undoes_what_two_decide_needs_two(
    setting: tuple[str, str], clinic: Path, typed: Typed
) -> None:
    sign_in_as("administrator")
    before = (clinic / "settings.toml").read_text()
    typed(SECRETS["administrator"])
    for second in ([], ["--second", "the-administrator"]):
        assert run(["config", "set", *setting, *second]) == 2
    assert (clinic / "settings.toml").read_text() == before
    assert [kind for kind, _ in entries(clinic, "access", "setting.change")] == [
        "access.denied"
    ] * 2
    assert run(["config", "set", "passages", "4"]) == 0, "which one may"
    typed(SECRETS["clinician"])
    assert run(["config", "set", *setting, "--second", "the-clinician"]) == 0
    assert setting[1] in (clinic / "settings.toml").read_text()


def test_people_sign_in_again_where_accounts_are_left(clinic: Path) -> None:
    (clinic / "settings.toml").write_text('access = "single"\n', encoding="utf-8")
    assert run(["config", "set", "access", "users"]) == 0
    assert run(["config"]) == 2, "nobody is signed in"


def test_from_another_home_nothing_is_put_in_place_of_a_clinic(
    clinic: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path / "mine"))
    assert run(["restore", "x.backup", "--to", str(clinic), "--replace", "--yes"]) == 2
    assert "people sign in there" in capsys.readouterr().err


@pytest.mark.usefixtures("clinic")
def test_a_secret_that_is_no_text_is_refused(
    typed: Typed, capsys: pytest.CaptureFixture[str]
) -> None:
    typed("pintu \udcff besi hitam")
    assert run(["users", "signin", "the-auditor"]) == 2
    assert "no text in UTF-8" in capsys.readouterr().err


@pytest.mark.usefixtures("clinic")
def test_no_secret_comes_from_an_input_that_is_closed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert run(["users", "signin", "the-auditor"]) == 2
    assert "one secret a line" in capsys.readouterr().err


def test_what_the_clinic_decided_is_not_for_one_consultation_to_change(
    clinic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_in_as("clinician")
    assert run(["caption", "x.png", "--no-lookup"]) == 1, "there is no such picture"
    for flags in (["--release", "another"], ["--risk", "0.3"]):
        assert run([*flags, "caption", "x.png", "--no-lookup"]) == 2
        assert "clinic decided" in capsys.readouterr().err
    assert [body["act"] for _, body in entries(clinic, "access")] == ["consult"] * 2


def test_with_a_broken_log_an_administrator_gets_in_to_set_it_aside(
    clinic: Path, typed: Typed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["config"]) == 2, "which begins the log"
    (clinic / "log" / "audit.db").write_bytes(b"x" * 5000)
    typed(SECRETS["auditor"])
    assert run(["users", "signin", "the-auditor"]) == 4
    typed(SECRETS["administrator"])
    assert run(["users", "signin", "the-administrator"]) == 0
    assert "not recorded" in capsys.readouterr().err
    assert run(["caption", "x.png"]) == 4, "a refusal that cannot be recorded is one all the same"
    assert run(["audit", "set-aside", "--yes"]) == 0
    assert run(["audit", "verify"]) == 0
    with AuditReader(clinic / "log") as log:
        first = log.get(1)
    assert first is not None and first.user == "the-administrator"


def test_the_guard_of_one_persons_machine_imports_nothing() -> None:
    script = (
        "import sys\n"
        "from appliance.cli.main import run\n"
        "def imported(): return [one for one in ('argon2', 'sqlite3') if one in sys.modules]\n"
        "print(run(['config']), imported(), run(['audit', 'checkpoint', '--json']), imported())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 [] 0 ['sqlite3']"
