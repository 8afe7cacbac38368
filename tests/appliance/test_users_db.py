"""Accounts: which secrets are taken, how failures lock a name out, how long a session lasts."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import argon2
import pytest

from appliance.core.entry import Moment
from appliance.core.secret import refuse_bad_name, refuse_weak
from appliance.edges.users_db import LOCKED_MS, UserDatabase
from appliance.edges.users_sessions import Sessions, terminal_name
from appliance.errors import AccessError

SECRET = "a cold tin bath"
MINUTE_MS = 60_000


class Clock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 1, 9, tzinfo=UTC)
        self.boot, self.up_ms = "boot", 3_600_000

    def __call__(self) -> Moment:
        return Moment(self.at.isoformat(timespec="milliseconds"), self.boot, self.up_ms)

    def passes(self, milliseconds: int) -> None:
        self.at += timedelta(milliseconds=milliseconds)
        self.up_ms += milliseconds

    def restarts(self) -> None:
        """In no time."""
        self.boot, self.up_ms = self.boot + "'", 0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def users(tmp_path: Path, clock: Clock) -> Iterator[Sessions]:
    with Sessions(tmp_path / "users", clock, argon2.profiles.CHEAPEST) as users:
        users.add("siti", "administrator", SECRET, is_own=True)
        yield users


def code_of(users: UserDatabase, name: str, secret: str) -> str:
    """How signing in ends: `in`, or the error's code."""
    try:
        users.sign_in(name, secret)
    except AccessError as exc:
        return exc.code
    return "in"


@pytest.mark.parametrize(
    "secret",
    [
        *("", "short", "1234567", "12345", "123456", "654321", "234567890", "111111", "aaaaaaaa"),
        *("121212", "123123", "abcabcabc", "abcdefgh", "siti2026", "SITI1234", "password1"),
        *("\uff11\uff12\uff13\uff14\uff15\uff16", "x" * 1025, "lone \ud800 surrogate"),
    ],
)
def test_a_trivial_secret_is_refused(users: UserDatabase, secret: str) -> None:
    with pytest.raises(AccessError) as caught:
        refuse_weak(secret, "siti")
    assert caught.value.code == "secret-weak"


@pytest.mark.parametrize(
    "secret",
    ["830117", "correct horse", "kerusi kayu", "\u5c71\u6c34\u706b\u6728\u77f3\u7530\u4e95\u6751"],
)
def test_a_pin_of_six_digits_and_a_phrase_of_eight_letters_are_taken(secret: str) -> None:
    refuse_weak(secret, "siti")


@pytest.mark.parametrize("name", ["", "a", "Siti", "siti ali", "830117015678", "a" * 33, "sïti"])
def test_a_name_that_could_be_a_secret_or_a_patients_number_is_refused(name: str) -> None:
    with pytest.raises(AccessError):
        refuse_bad_name(name)


def test_a_secret_is_the_same_from_every_keyboard(users: UserDatabase) -> None:
    users.add("wei", "clinician", "caf\u00e9 au lait \u2460", is_own=True)
    assert code_of(users, "wei", unicodedata.normalize("NFD", "caf\u00e9 au lait ") + "1") == "in"


def test_only_the_hash_of_a_secret_is_kept(tmp_path: Path) -> None:
    with UserDatabase(tmp_path, Clock()) as users:
        users.add("siti", "administrator", SECRET)
    with closing(sqlite3.connect(users.path)) as connection:
        [(hashed,)] = connection.execute("SELECT hash FROM account").fetchall()
    # RFC 9106, section 4: the second recommended option.
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert SECRET.encode() not in users.path.read_bytes()


def test_files_are_their_owners_only(users: UserDatabase) -> None:
    users.path.chmod(0o644)
    with UserDatabase(users.path.parent, Clock()):
        assert stat.S_IMODE(users.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(users.path.parent.stat().st_mode) == 0o700


def test_five_failures_lock_a_name_out_for_a_quarter_of_an_hour(
    users: UserDatabase, clock: Clock
) -> None:
    assert [code_of(users, "siti", "wrong") for _ in range(4)] == ["signin-failed"] * 4
    assert code_of(users, "siti", SECRET) == "in", "success forgets the failures"
    assert [code_of(users, "siti", "wrong") for _ in range(4)] == ["signin-failed"] * 4
    assert code_of(users, "siti", "wrong") == "signin-lockout"
    assert code_of(users, "siti", SECRET) == "signin-locked", "the right one, too"
    [account] = users.accounts()
    assert account.locked_until == "2026-01-01T09:15:00+00:00"
    clock.passes(LOCKED_MS - 1)
    assert code_of(users, "siti", SECRET) == "signin-locked"
    clock.passes(1)
    assert code_of(users, "siti", "wrong") == "signin-failed", "and five tries again"
    assert code_of(users, "siti", SECRET) == "in"


@pytest.fixture
def locked(users: Sessions) -> Sessions:
    for _ in range(5):
        code_of(users, "siti", "wrong")
    return users


def test_setting_the_clock_does_not_change_a_lock_out(locked: UserDatabase, clock: Clock) -> None:
    for hours in (-24, 48):
        clock.at += timedelta(hours=hours)
        assert locked.accounts()[0].locked_until
    clock.passes(LOCKED_MS)
    assert not locked.accounts()[0].locked_until


def test_a_lock_out_survives_a_restart_and_ends_in_time(locked: UserDatabase, clock: Clock) -> None:
    clock.passes(10 * MINUTE_MS)
    clock.restarts()
    with UserDatabase(locked.path.parent, clock) as users:
        assert code_of(users, "siti", SECRET) == "signin-locked"
        clock.passes(5 * MINUTE_MS)
        assert code_of(users, "siti", SECRET) == "in"


def test_a_restart_with_the_clock_set_back_does_not_shorten_a_lock_out(
    locked: UserDatabase, clock: Clock
) -> None:
    clock.restarts()
    clock.at -= timedelta(days=30)
    clock.passes(LOCKED_MS - 1)
    assert locked.accounts()[0].locked_until
    clock.passes(1)
    assert not locked.accounts()[0].locked_until, "nor makes it last for ever"


def test_a_kill_before_the_secret_is_checked_counts_as_a_failure(users: UserDatabase) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from appliance.core.entry import Moment\n"
        "from appliance.edges.users_db import UserDatabase\n"
        "class Dying(UserDatabase):\n"
        "    def _is_secret(self, name, normal): os.kill(os.getpid(), 9)\n"
        "now = lambda: Moment('2026-01-01T09:00:00.000+00:00', 'boot', 3_600_000)\n"
        "Dying(Path(sys.argv[1]), now).sign_in('siti', sys.argv[2])\n"
    )
    command = [sys.executable, "-c", script, str(users.path.parent), SECRET]
    for _ in range(5):
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert code_of(users, "siti", SECRET) == "signin-locked"


def test_guesses_made_at_once_are_no_more_than_five(users: UserDatabase, clock: Clock) -> None:
    def guess(number: int) -> str:
        with UserDatabase(users.path.parent, clock, argon2.profiles.CHEAPEST) as own:
            return code_of(own, "siti", f"wrong {number}")

    with ThreadPoolExecutor(8) as pool:
        codes = Counter(pool.map(guess, range(16)))
    assert codes == {"signin-failed": 4, "signin-lockout": 1, "signin-locked": 11}


def test_a_name_that_nobody_has_is_not_told_apart(users: UserDatabase) -> None:
    said: dict[str, list[tuple[str, str]]] = {}
    for name in ("siti", "nobody"):
        said[name] = []
        for _ in range(6):
            with pytest.raises(AccessError) as caught:
                users.sign_in(name, "wrong")
            said[name].append((caught.value.code, caught.value.message.replace(name, "NAME")))
    assert said["siti"] == said["nobody"]
    with closing(sqlite3.connect(users.path)) as connection:
        kept = {who for (who,) in connection.execute("SELECT who FROM attempt")}
    assert "siti" in kept and "nobody" not in kept, "it may be a secret, typed into the wrong field"


def test_a_disabled_account_is_as_if_the_secret_were_wrong(users: UserDatabase) -> None:
    users.add("wei", "clinician", "kerusi kayu", is_own=True)
    users.disable("wei")
    assert code_of(users, "wei", "kerusi kayu") == "signin-failed"
    users.enable("wei")
    assert code_of(users, "wei", "kerusi kayu") == "in"


def test_the_last_administrator_cannot_be_disabled_or_given_another_role(
    users: UserDatabase,
) -> None:
    users.add("wei", "clinician", "kerusi kayu")
    for change in (users.disable, lambda name: users.set_role(name, "auditor")):
        with pytest.raises(AccessError, match="last administrator"):
            change("siti")
    assert users.accounts()[0].role == "administrator"
    users.set_role("wei", "administrator")
    users.disable("siti")
    with pytest.raises(AccessError, match="last administrator"):
        users.disable("wei")
    with pytest.raises(AccessError, match="no account"):
        users.disable("ali")


def test_a_secret_given_by_somebody_else_must_be_changed(users: UserDatabase) -> None:
    assert users.add("wei", "clinician", "kerusi kayu").must_change
    assert users.sign_in("wei", "kerusi kayu").must_change
    with pytest.raises(AccessError, match="old one"):
        users.change_secret("wei", "kerusi kayu", "kerusi kayu")
    users.change_secret("wei", "kerusi kayu", "meja besi")
    assert not users.sign_in("wei", "meja besi").must_change
    for _ in range(5):
        code_of(users, "wei", "wrong")
    users.reset_secret("wei", "bilik enam")
    assert users.sign_in("wei", "bilik enam").must_change, "and is no longer locked out"
    with pytest.raises(AccessError, match="there is an account"):
        users.add("wei", "auditor", "lantai dua")


def test_a_hash_of_other_parameters_is_made_anew(users: UserDatabase) -> None:
    with (
        closing(sqlite3.connect(users.path)) as connection,
        UserDatabase(users.path.parent, Clock()) as later,
    ):
        before = connection.execute("SELECT hash FROM account").fetchone()
        assert code_of(later, "siti", "wrong") == "signin-failed"
        assert connection.execute("SELECT hash FROM account").fetchone() == before
        assert code_of(later, "siti", SECRET) == "in"
        [(hashed,)] = connection.execute("SELECT hash FROM account").fetchall()
        assert "m=65536,t=3,p=4" in hashed and (hashed,) != before
        assert code_of(later, "siti", SECRET) == "in"


def test_a_recovery_code_is_good_until_there_is_another(users: UserDatabase) -> None:
    assert not users.has_sealed("") and not users.has_sealed("0" * 25)
    code = users.seal()
    assert users.has_sealed(code) and users.has_sealed(code.lower().replace("-", " "))
    assert not users.has_sealed(code[:-1])
    assert code.encode() not in users.path.read_bytes()
    assert users.has_sealed(users.seal()) and not users.has_sealed(code)


@pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\0" + b"x" * 5000])
def test_a_damaged_database_lets_nobody_in(users: UserDatabase, content: bytes) -> None:
    users.path.write_bytes(content)
    with pytest.raises(AccessError, match="cannot be used") as caught:
        UserDatabase(users.path.parent, Clock())
    assert caught.value.code == "users-database"


def test_where_there_is_no_database_there_is_nobody(tmp_path: Path) -> None:
    with UserDatabase(tmp_path / "users", Clock()) as users:
        assert users.is_empty() and users.get("siti") is None and not users.has_sealed("x")
        with pytest.raises(AccessError, match="no accounts"):
            users.sign_in("siti", SECRET)
    assert not (tmp_path / "users").exists()


def test_a_session_ends_when_idle_and_goes_on_while_used(users: Sessions, clock: Clock) -> None:
    users.begin_session("here", "siti", 300)
    for _ in range(3):
        clock.passes(299_000)
        account = users.renew_session("here", 300)
        assert account is not None and account.name == "siti"
    assert users.renew_session("elsewhere", 300) is None
    clock.passes(300_001)
    assert users.renew_session("here", 3600) is None, "a longer limit does not bring it back"
    assert users.end_session("here") == "siti" and users.end_session("here") is None


@pytest.mark.parametrize("hours", [-24, 24])
def test_setting_the_clock_does_not_change_a_session(
    users: Sessions, clock: Clock, hours: int
) -> None:
    users.begin_session("here", "siti", 300)
    clock.at += timedelta(hours=hours)
    assert users.renew_session("here", 300)
    clock.passes(301_000)
    assert not users.renew_session("here", 300)


def test_a_session_of_a_disabled_account_is_none(users: Sessions) -> None:
    users.add("wei", "clinician", "kerusi kayu", is_own=True)
    users.begin_session("here", "wei", 300)
    assert users.renew_session("here", 300) == replace(users.accounts()[1])
    users.set_role("wei", "auditor")
    account = users.renew_session("here", 300)
    assert account is not None and account.role == "auditor", "the role it has now"
    users.disable("wei")
    assert users.renew_session("here", 300) is None


def test_a_terminal_is_its_login_session_in_this_boot() -> None:
    script = (
        "import subprocess, sys\n"
        "from appliance.edges.users_sessions import terminal_name\n"
        "print(terminal_name('boot'))\n"
    )
    command = [sys.executable, "-c", script]
    mine = terminal_name("boot")
    inside, outside = (
        subprocess.run(
            command, check=True, capture_output=True, text=True, start_new_session=is_new
        ).stdout.strip()
        for is_new in (False, True)
    )
    assert inside == mine and outside != mine and terminal_name("other boot") != mine
    assert mine.split(":")[1] == str(os.getsid(0))
