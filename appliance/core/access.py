"""Who may do what: the one table that the commands and the screen obey.

Plain data. It knows neither accounts nor secrets; those are an edge's.
"""

from typing import Literal, get_args

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
    "guideline.read",
    "guideline.change",
    "release.read",
    "release.change",
    "release.activate",
    "log.read",
    "log.checkpoint",
    "log.export",
    "log.keep",
    "user.manage",
    "setting.change",
    "backup.make",
    "backup.restore",
    "key.change",
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
    "guideline.read": _EVERYBODY,
    "guideline.change": _ADMINISTRATOR,
    "release.read": _EVERYBODY,
    "release.change": _ADMINISTRATOR,
    "release.activate": _ADMINISTRATOR,
    "log.read": _KEEPERS,
    "log.checkpoint": _EVERYBODY,
    "log.export": _KEEPERS,
    "log.keep": _ADMINISTRATOR,
    "user.manage": _ADMINISTRATOR,
    "setting.change": _ADMINISTRATOR,
    "backup.make": _ADMINISTRATOR,
    "backup.restore": _ADMINISTRATOR,
    "key.change": _ADMINISTRATOR,
}
"""Roles by act. What is in no act (help, the doctor, signing in) anybody may do."""

NEEDS_TWO: frozenset[Act] = frozenset(
    {"case.export", "case.purge", "release.activate", "backup.restore", "key.change"}
)
"""A second person, signed in for this act alone, must agree: any account but one's own."""


def may(role: Role, act: Act) -> bool:
    return role in MAY[act]
