"""`appliance users`: who works with this machine, and who is signed in at this terminal."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from appliance.cli.diagnostics import print_note
from appliance.cli.guard import act, free, refuse_without_accounts
from appliance.cli.output import print_json, print_line, print_row
from appliance.cli.secrets import ask_secret
from appliance.config import Config
from appliance.core.access import ROLES, Account, Role, enabled_administrators
from appliance.errors import AccessError, AuditError

if TYPE_CHECKING:
    from appliance.core.access import Users
    from appliance.edges.audit_db import AuditDatabase
    from appliance.edges.users_sessions import Sessions

role_option = click.option("--role", type=click.Choice(ROLES), required=True)


@click.group()
def users() -> None:
    """Sign in and out; add, list and change accounts.

    Signing in tells the people of a clinic apart. It is no wall against whoever runs other
    programs on this machine as the same account of the operating system: they can read and change
    every file of the appliance. Encrypt the whole disk, and give that account to those only who
    may have all of it.
    """


@users.command("begin")
@click.argument("name")
@free
@click.pass_obj
def begin(config: Config, name: str) -> None:
    """From now on everybody signs in. Makes NAME, the first administrator.

    Prints the recovery code, once: whoever has it can give an administrator a new secret.
    """
    from appliance.config import write_setting
    from appliance.core.record import recorded
    from appliance.core.secret import refuse_bad_name

    refuse_bad_name(name)
    with ExitStack() as stack:
        accounts, audit = _open(stack, config)
        if not accounts.is_empty():
            raise AccessError(
                f"there are accounts already: {accounts.path}",
                "to have people sign in, run `appliance config set access users`",
            )
        if config.access == "users":
            refuse_without_accounts(config, accounts)
        secret = ask_secret(f"a secret for {name}", twice=True)
        with recorded(audit, "user.begin", {"account": name}):
            accounts.add(name, "administrator", secret, is_own=True)
            code = accounts.seal()
            write_setting(config.home, "access", "users")
    _print_code(code)
    print_note(f"{name} is the administrator; now `appliance users signin {name}`")
    _note_a_lone_administrator([Account(name, "administrator")])


@users.command("signin")
@click.argument("name")
@free
@click.pass_obj
def signin(config: Config, name: str) -> None:
    """Sign in at this terminal, until you sign out or run no command for `idle_lock_s` seconds."""
    from appliance.core.admission import change_secret, sign_in, sign_out
    from appliance.wiring import open_audit, open_users, this_terminal

    refuse_where_single(config)
    with ExitStack() as stack:
        accounts = stack.enter_context(open_users(config))
        refuse_without_accounts(config, accounts)
        terminal = this_terminal()
        secret = ask_secret(f"secret of {name}")
        try:
            audit = stack.enter_context(open_audit(config))
        except AuditError as exc:
            account = _sign_in_unrecorded(accounts, name, secret, exc)
        else:
            account = sign_in(accounts, audit, name, secret)
            if account.must_change:
                print_note("this secret was given to you: choose one of your own")
                new_secret = ask_secret("a new secret", twice=True)
                change_secret(accounts, audit, name, secret, new_secret)
            if before := accounts.end_session(terminal):
                sign_out(audit, before, "another")
        accounts.begin_session(terminal, name, config.idle_lock_s)
        if account.role == "administrator":
            _note_a_lone_administrator(accounts.accounts())
    print_note(f"signed in: {name}, {account.role}; ends when idle for {config.idle_lock_s} s")


@users.command("signout")
@act("own.account")
@click.pass_obj
def signout(config: Config) -> None:
    """Sign out at this terminal."""
    from appliance.core.admission import sign_out
    from appliance.wiring import this_terminal

    refuse_where_single(config)
    with ExitStack() as stack:
        accounts, audit = _open(stack, config)
        if before := accounts.end_session(this_terminal()):
            sign_out(audit, before, "asked")
    print_note(f"signed out: {config.user}")


@users.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@act("user.read")
@click.pass_obj
def list_accounts(config: Config, as_json: bool) -> None:
    """All accounts, disabled ones too."""
    from appliance.wiring import open_users

    with open_users(config) as accounts:
        found = accounts.accounts()
    for account in found:
        if as_json:
            print_json(vars(account))
        else:
            print_row((account.name, 32), (account.role, 13), (_state(account), 0))
    if config.access == "users":
        _note_a_lone_administrator(found)


@users.command("add")
@click.argument("name")
@role_option
@act("user.manage")
@click.pass_obj
def add(config: Config, name: str, role: Role) -> None:
    """Make an account. Its first secret, which you give, is changed at the first signing in."""
    from appliance.core.record import recorded
    from appliance.core.secret import refuse_bad_name

    refuse_bad_name(name)
    refuse_where_single(config)
    secret = ask_secret(f"a first secret for {name}", twice=True)
    with ExitStack() as stack:
        accounts, audit = _open(stack, config)
        with recorded(audit, "user.add", {"account": name, "role": role}):
            accounts.add(name, role, secret)
    print_line(f"added: {name}, {role}")


@users.command("role")
@click.argument("name")
@click.argument("role", type=click.Choice(ROLES))
@act("user.manage")
@click.pass_obj
def change_role(config: Config, name: str, role: Role) -> None:
    """Give NAME another role."""
    _change(config, "user.role", name, lambda accounts: accounts.set_role(name, role), role=role)
    print_line(f"{name} is now {role}")


@users.command("disable")
@click.argument("name")
@act("user.manage")
@click.pass_obj
def disable(config: Config, name: str) -> None:
    """Let NAME sign in no more. Accounts are never removed: the log names them."""
    _change(config, "user.disable", name, lambda accounts: accounts.disable(name))
    print_line(f"disabled: {name}")


@users.command("enable")
@click.argument("name")
@act("user.manage")
@click.pass_obj
def enable(config: Config, name: str) -> None:
    """Let NAME sign in again."""
    _change(config, "user.enable", name, lambda accounts: accounts.enable(name))
    print_line(f"enabled: {name}")


@users.command("reset")
@click.argument("name")
@act("user.manage")
@click.pass_obj
def reset(config: Config, name: str) -> None:
    """Give NAME a new secret, to be changed at the next signing in; ends a lock-out."""
    secret = ask_secret(f"a new secret for {name}", twice=True)
    _change(config, "user.reset", name, lambda accounts: accounts.reset_secret(name, secret))
    print_line(f"{name} has a new secret, to be changed at the next signing in")


@users.command("secret")
@act("own.account")
@click.pass_obj
def own_secret(config: Config) -> None:
    """Change your own secret."""
    from appliance.core.admission import change_secret

    refuse_where_single(config)
    secret = ask_secret(f"secret of {config.user}")
    new_secret = ask_secret("a new secret", twice=True)
    with ExitStack() as stack:
        accounts, audit = _open(stack, config)
        change_secret(accounts, audit, config.user, secret, new_secret)
    print_line(f"{config.user} has a new secret")


@users.command("seal")
@act("user.manage")
@click.pass_obj
def seal(config: Config) -> None:
    """Make a new recovery code, when the envelope is lost; the old code is void."""
    from appliance.core.record import recorded

    refuse_where_single(config)
    with ExitStack() as stack:
        accounts, audit = _open(stack, config)
        with recorded(audit, "user.seal", {}):
            code = accounts.seal()
    _print_code(code)


@users.command("recover")
@click.argument("name")
@click.option("--agreed", nargs=2, metavar="NAME NAME", help="Two other people, instead of a code.")
@free
@click.pass_obj
def recover(config: Config, name: str, agreed: tuple[str, str] | None) -> None:
    """Give NAME, an administrator whose secret is lost, a new one: by the sealed recovery code, or
    by two other people with their secrets."""
    from appliance.core.admission import recover as recover_account

    refuse_where_single(config)
    with ExitStack() as stack:
        accounts, audit = _open(stack, config)
        refuse_without_accounts(config, accounts)
        code = "" if agreed else ask_secret("the recovery code")
        people = [(one, ask_secret(f"secret of {one}")) for one in agreed or ()]
        secret = ask_secret(f"a new secret for {name}", twice=True)
        new_code = recover_account(accounts, audit, name, secret, code=code, people=people)
    print_line(f"{name} has a new secret")
    if new_code:
        _print_code(new_code)


def refuse_where_single(config: Config) -> None:
    """Raises: AccessError where nobody signs in."""
    if config.access == "single":
        raise AccessError(
            'single user: nobody signs in here (access = "single")',
            "to have everybody sign in, run `appliance users begin NAME`",
        )


def _sign_in_unrecorded(
    accounts: "Sessions", name: str, secret: str, broken: AuditError
) -> Account:
    """An administrator must be able to look at a log that is broken, and to set it aside; whatever
    else is recorded goes on being refused. Raises: AccessError; AuditError for other people."""
    account = accounts.sign_in(name, secret)
    if account.role != "administrator" or account.must_change:
        raise broken
    print_note(f"not recorded: {broken.message}")
    return account


def _open(stack: ExitStack, config: Config) -> "tuple[Sessions, AuditDatabase]":
    from appliance.wiring import open_audit, open_users

    accounts = stack.enter_context(open_users(config))
    return accounts, stack.enter_context(open_audit(config))


def _change(
    config: Config, act: str, name: str, change: Callable[["Users"], None], **body: str
) -> None:
    from appliance.core.record import recorded

    refuse_where_single(config)
    with ExitStack() as stack:
        accounts, audit = _open(stack, config)
        known = name if accounts.get(name) else ""
        with recorded(audit, act, {"account": known, **body}):
            change(accounts)


def _state(account: Account) -> str:
    states = [
        "disabled" if account.is_disabled else "",
        f"locked out until {account.locked_until}" if account.locked_until else "",
        "has to change the secret" if account.must_change else "",
    ]
    return "; ".join(filter(None, states))


def _print_code(code: str) -> None:
    print_line(f"recovery code: {code}")
    print_note("write it down, put it into an envelope and seal it: it is shown only now")


def _note_a_lone_administrator(accounts: list[Account]) -> None:
    if enabled_administrators(accounts) == 1:
        print_note(
            "there is one administrator only: add a second, `appliance users add NAME --role"
            " administrator`, or a lost secret leaves only the recovery code"
        )
