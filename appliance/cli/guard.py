"""Who may run a command: every one that does anything bears `@act(...)`, or is named in FREE.

Where `access` is `single` nobody is asked anything and nothing more is done: one person's machine,
and that person may do everything, alone. Where it is `users`, the session at this terminal says
who runs the command; a refusal is recorded, and for an act of NEEDS_TWO a second person gives name
and secret. What this is worth against other programs of the same account of the operating system:
`edges.users_db`.
"""

import functools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from appliance.cli.secrets import ask_secret
from appliance.config import HOME_VARIABLE, SETTINGS_FILE, Config, load_config
from appliance.core.access import NEEDS_TWO, Act, may
from appliance.errors import AccessError

if TYPE_CHECKING:
    from appliance.core.access import Account
    from appliance.edges.users_sessions import Sessions

second_option = click.option(
    "--second", metavar="NAME", help="Who agrees, where people sign in; asks the secret."
)
P = ParamSpec("P")
R = TypeVar("R")

FREE = {
    "doctor": "shows no patient's data, and must work when nobody can sign in",
    "tui": "the screen has people sign in by itself",
    "kit keys make": "a workstation's: touches nothing of this machine, as the next five",
    "kit keys list": "a workstation's",
    "kit keys sign": "a workstation's",
    "kit wheels": "a workstation's",
    "kit build": "a workstation's",
    "kit sign": "a workstation's: the key's holder signs, with its password",
    "kit allow-older": "a workstation's, likewise",
    "kit verify": "reads a stick",
    "kit self-test": "the installer's, in a home that is thrown away",
    "kit try-data": "the installer's, on a copy",
    "kit note": "the launcher's and install.sh's, when nobody can be signed in; records only what "
    "the program's own folder shows to be so",
    "users signin": "how one is let in",
    "users begin": "makes the first account, where there is none",
    "users recover": "asks for the recovery code or two people",
}
"""Commands that anybody may run, and why."""
FLAGS = ("release", "risk")
"""Of the clinic's settings, those that have a flag."""


def act(name: Act) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """What a command does; it is run as the person who may. Above `@click.pass_obj`."""

    def decorate(command: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(command)
        def guarded(*arguments: P.args, **options: P.kwargs) -> R:
            second = str(options.pop("second") or "") if name in NEEDS_TWO else ""
            context = click.get_current_context()
            config = replace(context.obj, command=command_name(context))
            if config.access == "users":
                config = admitted(config, name, second)
            context.obj = config
            return command(*arguments, **options)

        guarded.act = name  # type: ignore[attr-defined]
        if name in NEEDS_TWO:
            return second_option(guarded)
        return guarded

    return decorate


def free(command: Callable[P, R]) -> Callable[P, R]:
    """Of a command in FREE: nobody is asked for. Above `@click.pass_obj`."""

    @functools.wraps(command)
    def named(*arguments: P.args, **options: P.kwargs) -> R:
        context = click.get_current_context()
        context.obj = replace(context.obj, command=command_name(context))
        return command(*arguments, **options)

    return named


def command_name(context: click.Context) -> str:
    """As `audit list`."""
    names = []
    while context.parent is not None:
        names.append(context.info_name or "")
        context = context.parent
    return " ".join(reversed(names))


def signed_in(config: Config, users: "Sessions") -> tuple["Account | None", str]:
    """Who is signed in at this terminal, and whose session just ended by idleness."""
    from appliance.wiring import this_terminal

    terminal = this_terminal()
    account = users.renew_session(terminal, config.idle_lock_s)
    return account, "" if account else users.end_session(terminal) or ""


def admitted(config: Config, name: Act, second: str) -> Config:
    """Where people sign in: with who acts in it. Raises: AccessError, AuditError."""
    from appliance.core.admission import agree, deny, require, sign_out
    from appliance.wiring import open_audit, open_users

    with ExitStack() as stack:
        try:
            users = stack.enter_context(open_users(config))
            refuse_without_accounts(config, users)
            account, ended = signed_in(config, users)
        except AccessError:
            with open_audit(config) as audit:
                deny(audit, name, None, config.command)
            raise
        if account is not None:
            config = replace(config, user=account.name)
            if may(account.role, name) and name not in NEEDS_TWO and not _flagged(config, name):
                return config
        audit = stack.enter_context(open_audit(config))
        if ended:
            sign_out(audit, ended, "idle")
        account = require(account, name, audit, config.command)
        if key := _flagged(config, name):
            deny(audit, name, account, config.command)
            raise _decided(key)
        if name in NEEDS_TWO:
            secret = ask_secret(f"secret of {second}") if second else ""
            agree(users, audit, account, name, second, secret, config.command)
    return config


def refuse_flags(config: Config) -> None:
    """For the screen. Raises: AccessError where people sign in and a flag changes what they do."""
    if config.access == "users" and (key := _flagged(config, "consult")):
        raise _decided(key)


def _decided(key: str) -> AccessError:
    return AccessError(
        f"`{key}` is what the clinic decided, and not for one command to change",
        f"leave --{key} out",
    )


def _flagged(config: Config, name: Act) -> str:
    """Which of FLAGS changes a consultation; empty: none."""
    if name != "consult":
        return ""
    decided = load_config({HOME_VARIABLE: str(config.home)}, {})
    return next((key for key in FLAGS if getattr(config, key) != getattr(decided, key)), "")


def refuse_without_accounts(config: Config, users: "Sessions") -> None:
    """Raises: AccessError where people are to sign in and there is nobody who could."""
    if users.is_empty():
        raise AccessError(
            f'people are to sign in (access = "users"), and there are no accounts: {users.path}',
            f"take the line `access` out of {config.home / SETTINGS_FILE}, which the log will tell;"
            " then run `appliance restore` with a backup, or `appliance users begin` without one",
        )
