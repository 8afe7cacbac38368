"""Access: every refused cell of the table role x command, by the real commands; what signing in and
the guard cost.

python -m tests.benchmarks.access

Control: the same walk with a guard that lets everybody pass, which must be found.
"""

import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import click
from argon2 import profiles

from appliance.cli.guard import FREE, act
from appliance.cli.main import main as appliance
from appliance.cli.main import run
from appliance.config import load_config
from appliance.core.access import ROLES, Act, Role, may
from appliance.edges import clock
from appliance.edges.audit_reader import AuditReader
from appliance.edges.users_db import UserDatabase
from appliance.wiring import open_users, this_terminal

EVERYBODY: tuple[Role | Literal[""], ...] = ("", *ROLES)
"""The roles, and nobody signed in."""
Cell = tuple[Role | Literal[""], str, list[str]]
"""Role, command and its arguments."""
SECRETS: dict[Role, str] = {
    "clinician": "meja kayu jati",
    "auditor": "lampu meja biru",
    "administrator": "pintu besi hitam",
}
SAMPLES = 30


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, home(Path(scratch)):
        make_accounts()
        cells = refused_cells()
        refused, recorded = sweep(cells)
        print(f"refused cells {len(cells)}: {refused} refused, {recorded} recorded")
        with lenient("log.read"):
            refused, recorded = sweep(cells)
        print(f"control, everybody may read the log: {refused} refused, {recorded} recorded")
        print(f"as processes of their own, nobody signed in: {by_process()} of {len(FEW)} refused")
        print(
            f"guard: single {guard_ms('single'):.3f} ms, people sign in {guard_ms('users'):.2f} ms"
        )
        print(f"signing in {sign_in_s():.3f} s")


def leaves(group: Any = appliance, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command that does something, as `audit list`."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, (*path, name))
        if not hasattr(command, "commands") or command.invoke_without_command:
            yield " ".join((*path, name)), command


def refused_cells() -> list[Cell]:
    """Every cell that the table refuses; to nobody it refuses all."""
    cells: list[Cell] = []
    for name, command in leaves():
        if name in FREE:
            continue
        arguments = [*name.split(), *plausible(command)]
        for role in EVERYBODY:
            if not role or not may(role, command.callback.act):
                cells.append((role, name, arguments))
    return cells


def plausible(command: click.Command) -> list[str]:
    """As many arguments as the command needs to be understood."""
    given = []
    for parameter in command.params:
        is_yes = parameter.name == "yes"
        if not parameter.required and not is_yes:
            continue
        value = "yes" if is_yes else example(parameter.type)
        if isinstance(parameter, click.Option):
            given += [parameter.opts[0]] if parameter.is_flag else [parameter.opts[0], value]
        else:
            given += [value] * max(parameter.nargs, 1)
    return given


def example(kind: Any) -> str:
    if isinstance(kind, click.Path) and kind.exists:
        return "."
    if isinstance(kind, click.Choice):
        return str(kind.choices[0])
    if isinstance(kind, click.IntRange):
        return "1"
    return "2026-01-01"


def sweep(cells: list[Cell]) -> tuple[int, int]:
    """How many of the cells were refused, with nothing shown, and how many were recorded."""
    refused = 0
    before = size()
    for role in EVERYBODY:
        sign_in_as(role)
        for owner, _, arguments in cells:
            if owner == role:
                code, shown = quietly(arguments)
                refused += code == 2 and not shown
    with AuditReader(log_folder()) as log:
        denied = {
            (entry.body["role"], entry.body["command"], entry.user)
            for entry in log.entries(before + 1)
            if entry.kind == "access.denied"
        }
    recorded = sum(
        any((role, command, role and name_of(role)) in denied for command in (name, group_of(name)))
        for role, name, _ in cells
    )
    return refused, recorded


@contextmanager
def lenient(act: str) -> Iterator[None]:
    """For the control: a guard that lets everybody do one thing."""

    def allows(role: Role, wanted: Act) -> bool:
        return wanted == act or may(role, wanted)

    with (
        mock.patch("appliance.cli.guard.may", allows),
        mock.patch("appliance.core.admission.may", allows),
    ):
        yield


def group_of(name: str) -> str:
    """`config` does something by itself, so that `config set` may be refused at its group."""
    return name.partition(" ")[0]


def name_of(role: str) -> str:
    return f"the-{role}"


def make_accounts() -> None:
    """One of each role, their secrets hashed in no time; from now on people sign in."""
    config = load_config(os.environ, {})
    with UserDatabase(config.users_folder, clock.now, profiles.CHEAPEST) as users:
        for role, secret in SECRETS.items():
            users.add(name_of(role), role, secret, is_own=True)
    settings = config.home / "settings.toml"
    settings.write_text('access = "users"\n', encoding="utf-8")


def sign_in_as(role: str) -> None:
    """The session that `users signin` makes, without the secret's hash."""
    with open_users(load_config(os.environ, {})) as users:
        users.end_session(this_terminal())
        if role:
            users.begin_session(this_terminal(), name_of(role), 3600)


def quietly(arguments: list[str]) -> tuple[int, str]:
    """Exit code and standard output."""
    with redirect_stdout(io.StringIO()) as shown, redirect_stderr(io.StringIO()):
        code = run(arguments)
    return code, shown.getvalue()


FEW = (["config"], ["audit", "list"], ["caption", "x.png"], ["users", "list"])


def by_process() -> int:
    """With nobody signed in: of a session of their own."""
    return sum(
        subprocess.run(
            [sys.executable, "-m", "appliance", *arguments],
            check=False,
            capture_output=True,
            start_new_session=True,
        ).returncode
        == 2
        for arguments in FEW
    )


def guard_ms(access: str) -> float:
    """What the guard adds to a command that its person may run."""
    sign_in_as("clinician")
    config = replace(load_config(os.environ, {}), access=access)
    spent = []
    for _ in range(SAMPLES):
        parent = click.Context(appliance, obj=config)
        with click.Context(click.Command("x"), parent, info_name="x"):
            spent.append(seconds(act("lookup")(lambda: None)))
    return statistics.median(spent) * 1000


def sign_in_s() -> float:
    with open_users(load_config(os.environ, {})) as users:
        name, secret = name_of("auditor"), SECRETS["auditor"]
        users.sign_in(name, secret)  # makes its hash anew, as strong as ours are
        return statistics.median(
            seconds(lambda: users.sign_in(name, secret)) for _ in range(SAMPLES)
        )


def seconds(do: Callable[[], object]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def size() -> int:
    if not (log_folder() / "audit.db").exists():
        return 0
    with AuditReader(log_folder()) as log:
        return log.size()


def log_folder() -> Path:
    return load_config(os.environ, {}).log_folder


@contextmanager
def home(folder: Path) -> Iterator[None]:
    with mock.patch.dict(os.environ, {"APPLIANCE_HOME": str(folder)}):
        yield


if __name__ == "__main__":
    main()
