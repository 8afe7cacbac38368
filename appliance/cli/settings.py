"""`appliance config`: the settings in force."""

from dataclasses import asdict

import click

from appliance.cli.output import print_json, print_line
from appliance.config import SETTINGS_FILE, Config


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def config(config: Config, as_json: bool) -> None:
    """Settings in force, and the file that can change them."""
    values = {key: str(value) if key == "home" else value for key, value in asdict(config).items()}
    values["settings_file"] = str(config.home / SETTINGS_FILE)
    if as_json:
        print_json(values)
        return
    for key, value in values.items():
        print_line(f"{key} = {value}")
