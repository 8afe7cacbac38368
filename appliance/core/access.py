"""Who may do what: the one table that the commands and the screen obey, and what an account is.

Plain data and a port. Signing in, and what is recorded of it, is `core.admission`; secrets and
where accounts are kept are an edge's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

Role = Literal["clinician", "auditor", "administrator"]
ROLES: tuple[Role, ...] = get_args(Role)

Act = Literal[
    "consult",
    "case.read",
    "case.judge",
    "case.purge",
    "case.export",
    "correction.export",
    "lookup",
    "atlas",
    "guideline.read",
    "guideline.change",
    "guideline.activate",
    "release.read",
    "release.change",
    "release.activate",
    "log.read",
    "log.checkpoint",
    "log.export",
    "log.keep",
    "user.read",
    "user.manage",
    "own.account",
    "setting.read",
    "setting.change",
    "access.change",
    "backup.make",
    "backup.restore",
    "key.change",
    "kit.change",
]
ACTS: tuple[Act, ...] = get_args(Act)

_EVERYBODY = frozenset(ROLES)
_CLINICIAN, _ADMINISTRATOR = frozenset[Role]({"clinician"}), frozenset[Role]({"administrator"})
_KEEPERS = frozenset[Role]({"auditor", "administrator"})

MAY: dict[Act, frozenset[Role]] = {
    "consult": _CLINICIAN,
    "case.read": _CLINICIAN,
    "case.judge": _CLINICIAN,
    "case.purge": _ADMINISTRATOR,
    "case.export": _CLINICIAN,
    "correction.export": _ADMINISTRATOR,
    "lookup": _EVERYBODY,
    "atlas": _CLINICIAN | _ADMINISTRATOR,
    "guideline.read": _EVERYBODY,
    "guideline.change": _ADMINISTRATOR,
    "guideline.activate": _ADMINISTRATOR,
    "release.read": _EVERYBODY,
    "release.change": _ADMINISTRATOR,
    "release.activate": _ADMINISTRATOR,
    "log.read": _KEEPERS,
    "log.checkpoint": _EVERYBODY,
    "log.export": _KEEPERS,
    "log.keep": _ADMINISTRATOR,
    "user.read": _KEEPERS,
    "user.manage": _ADMINISTRATOR,
    "own.account": _EVERYBODY,
    "setting.read": _EVERYBODY,
    "setting.change": _ADMINISTRATOR,
    "access.change": _ADMINISTRATOR,
    "backup.make": _ADMINISTRATOR,
    "backup.restore": _ADMINISTRATOR,
    "key.change": _ADMINISTRATOR,
    "kit.change": _ADMINISTRATOR,
}
"""Roles by act. What is in no act (help, the doctor, signing in) anybody may do."""

NEEDS_TWO: frozenset[Act] = frozenset(
    {
        "case.export",
        "case.purge",
        "guideline.activate",
        "release.activate",
        "access.change",
        "backup.restore",
        "key.change",
        "kit.change",
    }
)
"""A second person, signed in for this act alone, must agree: any account but one's own."""

SETTING_ACTS: dict[str, Act] = {
    "access": "access.change",
    "keep_cases_days": "case.purge",
    "release": "release.activate",
}
"""Settings that do what one of NEEDS_TWO does; every other is setting.change alone."""


def may(role: Role, act: Act) -> bool:
    return role in MAY[act]


@dataclass(frozen=True)
class Account:
    """One who may sign in. Accounts are disabled, never removed: the log names them."""

    name: str
    """2 to 32 of a-z, 0-9, point and hyphen; a person's, never a patient's."""
    role: Role
    is_disabled: bool = False
    locked_until: str | None = None
    """UTC, ISO 8601, by this machine's clock; None when it is not locked out."""
    must_change: bool = False
    """The secret was given by somebody else: until `change_secret` nothing may be done with it."""


class Users(Protocol):
    """The accounts of this machine. All may raise AccessError."""

    def is_empty(self) -> bool: ...

    def accounts(self) -> Sequence[Account]:
        """All, by name."""

    def get(self, name: str) -> Account | None: ...

    def sign_in(self, name: str, secret: str) -> Account:
        """Whose name and secret these are.

        Raises: AccessError, `code` signin-failed (unknown name, wrong secret and disabled account
        are one), signin-lockout (this attempt locks the name out) or signin-locked (it was).
        """

    def add(self, name: str, role: Role, secret: str, *, is_own: bool = False) -> Account:
        """The secret must be changed at the first signing in, unless it `is_own`: chosen by the
        person who will use it."""

    def set_role(self, name: str, role: Role) -> None: ...

    def change_secret(self, name: str, secret: str, new_secret: str) -> None:
        """One's own: the old one is asked for, as `sign_in` does."""

    def reset_secret(self, name: str, new_secret: str) -> None:
        """Somebody else's, who must change it at the next signing in; ends a lock-out."""

    def recover(self, name: str, new_secret: str) -> None:
        """An administrator who is lost; `core.admission` asks first who may do this."""

    def seal(self) -> str:
        """A new recovery code, to be shown once; the one before it is void."""

    def has_sealed(self, code: str) -> bool:
        """Whether it is the recovery code in force."""

    def disable(self, name: str) -> None:
        """The last administrator cannot be disabled, nor be given another role."""

    def enable(self, name: str) -> None: ...


def enabled_administrators(accounts: Sequence[Account]) -> int:
    return sum(one.role == "administrator" and not one.is_disabled for one in accounts)
