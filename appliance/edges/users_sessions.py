"""Who is signed in at which terminal: for the commands, which are a process each.

A session belongs to one login terminal: the session id of the processes in it and the start time
of its first process, in this boot of the machine. It ends by itself when no command came for the
idle limit, by a clock that goes on while the machine sleeps and that setting the time does not
move. Another program of the same account of the operating system can forge all of this: see
`edges.users_db`.
"""

import os
from pathlib import Path

from appliance.core.access import Account
from appliance.edges.users_db import UserDatabase
from appliance.errors import AccessError

PROCESSES = Path("/proc")


def terminal_name(boot: str) -> str:
    """Of this process's terminal. Raises: AccessError where there is none, as off Linux."""
    leader = os.getsid(0)
    try:
        # proc(5): the 22nd field, counted after the name, which may hold spaces and brackets.
        start = (PROCESSES / str(leader) / "stat").read_text().rpartition(")")[2].split()[19]
    except OSError as exc:
        if not boot:
            raise AccessError(
                "signing in at a terminal needs Linux", "use the screen: `appliance tui`"
            ) from exc
        start = "ended"  # its number is not given away as long as a process of it lives
    return f"{boot}:{leader}:{start}"


class Sessions(UserDatabase):
    """The accounts, and who of them is signed in where."""

    def begin_session(self, terminal: str, name: str, idle_s: int) -> None:
        up_ms = self._now().up_ms
        with self._writing() as execute:
            # Of other boots, too: a terminal's name has the boot in it.
            execute("DELETE FROM session WHERE until_up_ms < ?", up_ms)
            until_up_ms = up_ms + idle_s * 1000
            execute("INSERT OR REPLACE INTO session VALUES (?, ?, ?)", terminal, name, until_up_ms)

    def renew_session(self, terminal: str, idle_s: int) -> Account | None:
        """Who is signed in there, the idle time begun anew; None when nobody is any more."""
        up_ms = self._now().up_ms
        found = self._read(
            "SELECT account FROM session WHERE terminal = ? AND until_up_ms >= ?", terminal, up_ms
        )
        account = self.get(found[0][0]) if found else None
        if account is None or account.is_disabled or account.must_change:
            return None
        with self._writing() as execute:
            until_up_ms = up_ms + idle_s * 1000
            execute("UPDATE session SET until_up_ms = ? WHERE terminal = ?", until_up_ms, terminal)
        return account

    def end_session(self, terminal: str) -> str | None:
        """Whose it was; None when there was none."""
        found = self._read("SELECT account FROM session WHERE terminal = ?", terminal)
        if found:
            with self._writing() as execute:
                execute("DELETE FROM session WHERE terminal = ?", terminal)
        return found[0][0] if found else None
