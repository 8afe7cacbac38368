"""`appliance tui`: the screen; also plain `appliance` on a terminal."""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from appliance.cli.faults import keep_fault
from appliance.cli.guard import free, refuse_flags
from appliance.config import Config
from appliance.errors import ConfigError, KitError

if TYPE_CHECKING:
    from textual.pilot import Pilot


@click.command()
@click.option("--plain/--drawn", default=None, help="Words only, for screen readers, or drawn.")
@free
@click.pass_obj
def tui(config: Config, plain: bool | None) -> int:
    """The screen: consult, worklist, history, guidelines, status, atlas."""
    refuse_flags(config)
    return open_screen(config if plain is None else replace(config, plain=plain))


def open_screen(config: Config) -> int:
    """Until it is left; the exit code.

    Raises: ConfigError where there is no terminal, or keys.toml is amiss.
    """
    if not is_terminal():
        raise ConfigError(
            "the screen needs a terminal, and input or output is none",
            "run it in a terminal, or `appliance --help` for the commands",
        )
    from appliance.tui.app import ClinicScreen  # with Textual

    screen = ClinicScreen(config, keep_fault)
    screen.run()
    return screen.return_code or 0


def try_screen(config: Config) -> None:
    """Open it without a terminal, and leave it. Raises: KitError when that fails."""
    from appliance.tui.app import ClinicScreen

    async def leave(pilot: "Pilot[object]") -> None:
        await pilot.pause()
        pilot.app.exit()

    try:
        screen = ClinicScreen(config, keep_fault)
        screen.run(headless=True, auto_pilot=leave)
        failed = screen.return_code
    except Exception:  # whatever the library raises for a style that is not there
        keep_fault()
        failed = 1
    if failed:
        raise KitError(
            f"the screen does not open; why is in {config.faults_file}",
            "tell those who made the kit; what ran before runs on",
        )


def is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
