"""Signing in, being let in, and agreeing: what CLI and TUI call, so that each is recorded alike.

All of it is for `access = "users"`; where a machine is one person's, nobody is asked anything. A
name that no account has is not recorded: it may be a secret typed into the wrong field.
"""

from collections.abc import Sequence

from appliance.core.access import MAY, Account, Act, Users, may
from appliance.core.ports import AuditLog
from appliance.core.record import recorded
from appliance.errors import AccessError


def sign_in(users: Users, audit: AuditLog, name: str, secret: str) -> Account:
    """Recorded as user.signin, before and after. Whoever comes back with `must_change` may do
    nothing until `change_secret`.

    Raises: AccessError, AuditError.
    """
    known = name if users.get(name) else ""
    audit.append("user.signin.asked", {"account": known})
    try:
        account = users.sign_in(name, secret)
    except AccessError as exc:
        audit.append("user.signin.failed", {"account": known, "error": exc.code})
        if exc.code == "signin-lockout":
            audit.append("user.lockout.begun", {"account": known})
        raise
    audit.append("user.signin.done", {"account": account.name, "role": account.role})
    return account


def change_secret(users: Users, audit: AuditLog, name: str, secret: str, new_secret: str) -> None:
    """One's own. Raises: AccessError, AuditError."""
    with recorded(audit, "user.secret", {"account": name if users.get(name) else ""}):
        users.change_secret(name, secret, new_secret)


def sign_out(audit: AuditLog, account: str, why: str) -> None:
    """`why`: asked, idle, or another when somebody else signs in at the same place."""
    audit.append("user.signout.done", {"account": account, "why": why})


def deny(audit: AuditLog, act: Act, account: Account | None, command: str = "") -> None:
    """That it was refused; `command` is what they ran."""
    body = {"act": act, "role": account.role if account else "", "command": command}
    audit.append("access.denied", body)


def require(account: Account | None, act: Act, audit: AuditLog, command: str = "") -> Account:
    """The account, when it may do this; else recorded as access.denied, with what they ran.

    `account` is None where nobody is signed in. Raises: AccessError, AuditError.
    """
    if account is not None and may(account.role, act) and not account.must_change:
        return account
    deny(audit, act, account, command)
    if account is None:
        raise AccessError("nobody is signed in here", "run `appliance users signin NAME`")
    if account.must_change:
        raise must_choose(account.name)
    raise AccessError(
        f"{account.name} may not do this as {account.role}: {act}",
        "ask somebody who may: " + " or ".join(sorted(MAY[act])),
    )


def agree(
    users: Users,
    audit: AuditLog,
    account: Account,
    act: Act,
    name: str,
    secret: str,
    command: str = "",
) -> Account:
    """The second person for an act of NEEDS_TWO, signed in for this one act; recorded as
    access.agreed or access.denied. Any enabled account may agree, but one's own.

    Raises: AccessError, AuditError.
    """
    try:
        if name in ("", account.name):
            raise AccessError(
                f"this needs two people: {act}",
                "ask another person with an account, and name them: --second NAME",
            )
        second = sign_in(users, audit, name, secret)
        if second.must_change:
            raise must_choose(name)
    except AccessError:
        deny(audit, act, account, command)
        raise
    audit.append("access.agreed", {"act": act, "account": account.name, "second": name})
    return second


def recover(
    users: Users,
    audit: AuditLog,
    name: str,
    new_secret: str,
    *,
    code: str = "",
    people: Sequence[tuple[str, str]] = (),
) -> str:
    """An administrator who is lost gets a new secret: by the sealed recovery code, or by two other
    people with their names and secrets. A new recovery code when the old one was used, else empty.

    Recorded as user.recover. Raises: AccessError, AuditError.
    """
    asked = {"account": name if users.get(name) else "", "by": "code" if code else "people"}
    with recorded(audit, "user.recover", asked) as outcome:
        if code:
            if not users.has_sealed(code):
                raise AccessError(
                    "this is not the recovery code in force", "check every letter of it"
                )
        else:
            names = {one for one, _ in people} - {name}
            if len(people) != 2 or len(names) != 2:
                raise AccessError(
                    "this needs two people besides the one to recover", "name two others"
                )
            for one, secret in people:
                if sign_in(users, audit, one, secret).must_change:
                    raise must_choose(one)
            outcome["agreed"] = sorted(names)
        users.recover(name, new_secret)
        return users.seal() if code else ""


def must_choose(name: str) -> AccessError:
    return AccessError(
        f"the secret of {name} was given by somebody else",
        f"run `appliance users signin {name}` and choose one of your own",
        code="secret-given",
    )
