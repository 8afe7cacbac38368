"""`appliance config`: the settings in force, and changing one."""

import os
from dataclasses import asdict

import click

from appliance.cli.diagnostics import print_note
from appliance.cli.guard import act, admitted, second_option
from appliance.cli.output import print_json, print_line
from appliance.config import SETTINGS_FILE, Config
from appliance.core.access import SETTING_ACTS


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@act("setting.read")
@click.pass_obj
def config(config: Config, as_json: bool) -> None:
    """Settings in force, and the file that can change them."""
    if click.get_current_context().invoked_subcommand:
        return
    values = {key: str(value) if key == "home" else value for key, value in asdict(config).items()}
    del values["command"]  # this one
    values["settings_file"] = str(config.home / SETTINGS_FILE)
    if as_json:
        print_json(values)
        return
    for key, value in values.items():
        print_line(f"{key} = {value}")


@config.command("set")
@click.argument("key")
@click.argument("value")
@second_option
@act("setting.change")
@click.pass_obj
def set_value(config: Config, key: str, value: str, second: str | None) -> None:
    """Put a setting into the file; what else stands there stays as it is.

    Where people sign in, `access`, `keep_cases_days` and `release` need a second person.
    """
    from appliance.wiring import change_setting

    if config.access == "users" and key in SETTING_ACTS:
        admitted(config, SETTING_ACTS[key], second or "")
    changed = change_setting(config, key, value)
    print_line(f"{key} = {changed}")
    if os.environ.get(variable := f"APPLIANCE_{key.upper()}"):
        print_note(f"{variable} is set, and counts more than the file")
