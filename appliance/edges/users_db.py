"""The accounts of this machine; secrets hashed with Argon2id, failures counted, names locked out.

What it is worth: it tells the people of a clinic apart and keeps a passer-by out of the program.
It is no wall against whoever may run other programs as the same account of the operating system:
they can read and change every file of the appliance, this database, the settings and the signing
key among them. Nor does a hash protect a PIN whose database was stolen: six digits are a million
tries. Against both helps full-disk encryption, and an account of the operating system apart for
each person who is not to be trusted with all of it.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from argon2 import Parameters, PasswordHasher, profiles
from argon2.exceptions import VerificationError
from argon2.low_level import hash_secret_raw

from appliance.core.access import Account, Role, enabled_administrators
from appliance.core.entry import Moment
from appliance.core.secret import normal_secret, refuse_bad_name, refuse_weak
from appliance.edges.users_sqlite import Execute, UsersFile
from appliance.errors import AccessError

PARAMETERS = profiles.RFC_9106_LOW_MEMORY
"""RFC 9106, section 4, the second recommended option: 3 passes, 64 MiB, 4 lanes. 0.12 s on two
cores of a server of 2024 (tests/benchmarks/access.py)."""
MOST_FAILURES = 5
LOCKED_MS = 15 * 60 * 1000
CODE_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32, as in the codes of checkpoints."""
CODE_CHARACTERS = 25
"""125 bits at random: nothing to guess, so that one SHA-256 of it is enough."""

ACCOUNT = (
    "SELECT name, role, is_disabled, must_change, failures, boot, until_up_ms, until_at"
    " FROM account LEFT JOIN attempt ON who = name"
)
NO_LOCK = ("", 0, "")


class UserDatabase(UsersFile):
    """The accounts, as `core.access.Users`."""

    def __init__(
        self, folder: Path, now: Callable[[], Moment], parameters: Parameters = PARAMETERS
    ) -> None:
        """Raises: AccessError when the database is there and cannot be used."""
        super().__init__(folder, now)
        self._parameters = parameters
        self._hasher = PasswordHasher.from_parameters(parameters)

    def is_empty(self) -> bool:
        return not self.accounts()

    def accounts(self) -> list[Account]:
        moment = self._now()
        return [_account(row, moment) for row in self._read(f"{ACCOUNT} ORDER BY name")]

    def get(self, name: str) -> Account | None:
        found = self._read(f"{ACCOUNT} WHERE name = ?", name)
        return _account(found[0], self._now()) if found else None

    def sign_in(self, name: str, secret: str) -> Account:
        """Whatever comes of it, and whether there is such a name or not, costs one hash."""
        if self.is_empty():
            raise AccessError(f"there are no accounts: {self.path}", "run `appliance users begin`")
        normal = normal_secret(secret)
        account = self.get(name)
        if account is None:
            is_right, who = False, self._disguised(name)
            failures = self._count_failure(who)
        else:
            failures = self._count_failure(name)  # first: a kill in between leaves it a failure
            is_right = self._is_secret(name, normal)
        if failures is None:
            raise AccessError(
                f"{name} is locked out after {MOST_FAILURES} failures",
                "wait a quarter of an hour, or ask an administrator: `appliance users reset`",
                code="signin-locked",
            )
        if account and is_right and not account.is_disabled:
            self._settle(name, normal)
            return Account(name, account.role, must_change=account.must_change)
        if failures == MOST_FAILURES:
            raise AccessError(
                f"that was failure {failures} in a row: {name} is locked out",
                "wait a quarter of an hour, or ask an administrator: `appliance users reset`",
                code="signin-lockout",
            )
        raise AccessError(
            f"name and secret do not fit, or the account is disabled: {name}",
            f"try again; after {MOST_FAILURES} failures in a row a name is locked out",
            code="signin-failed",
        )

    def add(self, name: str, role: Role, secret: str, *, is_own: bool = False) -> Account:
        """`is_own`: who will use the secret has chosen it, and need not change it."""
        refuse_bad_name(name)
        refuse_weak(secret, name)
        hashed = self._hasher.hash(normal_secret(secret))
        with self._writing() as execute:
            if execute("SELECT 1 FROM account WHERE name = ?", name).fetchone():
                raise AccessError(f"there is an account of this name: {name}", "choose another")
            execute(
                "INSERT INTO account (name, role, hash, must_change) VALUES (?, ?, ?, ?)",
                *(name, role, hashed, int(not is_own)),
            )
        return Account(name, role, must_change=not is_own)

    def set_role(self, name: str, role: Role) -> None:
        self._change(name, "role = ?", role)

    def disable(self, name: str) -> None:
        self._change(name, "is_disabled = 1")

    def enable(self, name: str) -> None:
        self._change(name, "is_disabled = 0")

    def change_secret(self, name: str, secret: str, new_secret: str) -> None:
        self.sign_in(name, secret)
        if normal_secret(secret) == normal_secret(new_secret):
            raise AccessError("the new secret is the old one", "choose another")
        self._set_secret(name, new_secret, "must_change = 0")

    def reset_secret(self, name: str, new_secret: str) -> None:
        self._set_secret(name, new_secret, "must_change = 1")

    def recover(self, name: str, new_secret: str) -> None:
        """Whoever may do so was asked before: `core.admission.recover`."""
        account = self.get(name)
        if account is None or account.role != "administrator":
            raise AccessError(
                f"there is no administrator of this name: {name}",
                "recover one of `appliance users list`, who can reset the others' secrets",
            )
        self._set_secret(name, new_secret, "must_change = 0, is_disabled = 0")

    def seal(self) -> str:
        """A new recovery code, which is kept nowhere; the one before it is void."""
        code = "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_CHARACTERS))
        with self._writing() as execute:
            execute("UPDATE machine SET code_hash = ?", _code_hash(code))
        return "-".join(code[start : start + 5] for start in range(0, CODE_CHARACTERS, 5))

    def has_sealed(self, code: str) -> bool:
        """Whether it is the recovery code in force."""
        found = self._read("SELECT code_hash FROM machine")
        return bool(found) and hmac.compare_digest(found[0][0], _code_hash(code))

    def _is_secret(self, name: str, normal: bytes) -> bool:
        [(hashed,)] = self._read("SELECT hash FROM account WHERE name = ?", name)
        try:
            return self._hasher.verify(hashed, normal)
        except VerificationError:
            return False

    def _disguised(self, name: str) -> str:
        """How the attempts of a name that no account has are kept: by a hash as slow as a secret's,
        for it may be a secret that was typed as the name."""
        [(salt,)] = self._read("SELECT salt FROM machine")
        return hash_secret_raw(
            name.encode("utf-8", "replace"),
            salt,
            self._parameters.time_cost,
            self._parameters.memory_cost,
            self._parameters.parallelism,
            self._parameters.hash_len,
            self._parameters.type,
        ).hex()

    def _count_failure(self, who: str) -> int | None:
        """Failures in a row with this one, the last of which locks out; None when it is already."""
        moment = self._now()
        with self._writing() as execute:
            found = execute(
                "SELECT failures, boot, until_up_ms, until_at FROM attempt WHERE who = ?", who
            ).fetchone()
            failures, *lock = found or (0, *NO_LOCK)
            if _left_ms((*lock,), moment):
                return None
            failures = failures % MOST_FAILURES + 1  # a lock-out that is over begins anew
            lock = list(NO_LOCK)
            if failures == MOST_FAILURES:
                until = datetime.fromisoformat(moment.at) + timedelta(milliseconds=LOCKED_MS)
                lock = [moment.boot, moment.up_ms + LOCKED_MS, until.isoformat()]
            execute("INSERT OR REPLACE INTO attempt VALUES (?, ?, ?, ?, ?)", who, failures, *lock)
        return int(failures)

    def _settle(self, name: str, normal: bytes) -> None:
        """After success: no failures, and the hash anew if its parameters are no longer ours."""
        [(hashed,)] = self._read("SELECT hash FROM account WHERE name = ?", name)
        renewed = self._hasher.hash(normal) if self._hasher.check_needs_rehash(hashed) else hashed
        with self._writing() as execute:
            execute("DELETE FROM attempt WHERE who = ?", name)
            if renewed != hashed:
                execute("UPDATE account SET hash = ? WHERE name = ?", renewed, name)

    def _set_secret(self, name: str, secret: str, and_set: str) -> None:
        refuse_weak(secret, name)
        hashed = self._hasher.hash(normal_secret(secret))
        with self._writing() as execute:
            _change(execute, name, f"hash = ?, {and_set}", hashed)
            execute("DELETE FROM attempt WHERE who = ?", name)

    def _change(self, name: str, assignment: str, *values: Any) -> None:
        with self._writing() as execute:
            _change(execute, name, assignment, *values)
            rows = execute(ACCOUNT).fetchall()
            if not enabled_administrators([_account(row, self._now()) for row in rows]):
                raise AccessError(
                    f"{name} is the last administrator who is not disabled",
                    "add another administrator first: `appliance users add NAME --role"
                    " administrator`",
                )


def _change(execute: Execute, name: str, assignment: str, *values: Any) -> None:
    if not execute(f"UPDATE account SET {assignment} WHERE name = ?", *values, name).rowcount:
        raise AccessError(f"there is no account of this name: {name}", "see `appliance users list`")


def _account(row: tuple[Any, ...], moment: Moment) -> Account:
    name, role, is_disabled, must_change, _, *lock = row
    left_ms = _left_ms((*lock,), moment)
    until = None
    if left_ms:
        at = datetime.fromisoformat(moment.at) + timedelta(milliseconds=left_ms)
        until = at.isoformat(timespec="seconds")
    return Account(name, role, bool(is_disabled), until, bool(must_change))


def _left_ms(lock: tuple[Any, ...], moment: Moment) -> int:
    """How long a lock-out still lasts; `lock` is the last three columns of an attempt.

    By the clock that nobody sets, as long as the machine was not started anew; after that by the
    wall clock. Where that was set back, a whole lock-out counts from the machine's start.
    """
    boot, until_up_ms, until_at = lock
    if not until_at:
        return 0
    if boot and boot == moment.boot:
        return max(0, int(until_up_ms) - moment.up_ms)
    left = datetime.fromisoformat(until_at) - datetime.fromisoformat(moment.at)
    most_ms = LOCKED_MS - moment.up_ms if moment.boot else LOCKED_MS
    return max(0, min(int(left.total_seconds() * 1000), most_ms))


def _code_hash(code: str) -> str:
    letters = "".join(code.split()).replace("-", "").upper().translate(str.maketrans("OIL", "011"))
    return hashlib.sha256(b"appliance recovery code\n" + letters.encode()).hexdigest()
