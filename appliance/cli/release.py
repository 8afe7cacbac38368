"""`appliance release`: the model releases on this machine."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from appliance.cli.diagnostics import print_error, print_note, print_progress
from appliance.cli.guard import act
from appliance.cli.measure import measure
from appliance.cli.output import print_json, print_line, print_row
from appliance.cli.release_card import print_release, warnings_of
from appliance.config import Config
from appliance.errors import ReleaseError

if TYPE_CHECKING:
    from appliance.release.manifest import Release

FILE = click.Path(path_type=Path)


@click.group()
def release() -> None:
    """List, show, verify, import, measure and activate model releases."""


release.add_command(measure)


@release.command("list")
@act("release.read")
@click.pass_obj
def list_releases(config: Config) -> None:
    """Releases on this machine; the one in use is marked."""
    from appliance.release.shelf import find_release, release_names

    for name in release_names(config.releases_folder):
        mark = "in use" if name == config.release else ""
        try:
            found = find_release(config.releases_folder, name)
        except ReleaseError as exc:
            print_error(exc)
            continue
        notes = [f" - {note}" for note in warnings_of(found)]
        print_row((mark, 6), (f"{name} {found.version}{''.join(notes)}", 0))


@release.command("show")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="The whole manifest.")
@act("release.read")
@click.pass_obj
def show(config: Config, name: str | None, as_json: bool) -> None:
    """What a release is made of and how well it was measured (default: the one in use)."""
    from appliance.release.shelf import find_release

    found = find_release(config.releases_folder, name or config.release)
    if as_json:
        print_json(found.manifest)
    else:
        print_release(found)


@release.command("verify")
@click.argument("name", required=False)
@act("release.read")
@click.pass_obj
def verify(config: Config, name: str | None) -> None:
    """Check every file of a release against its manifest."""
    from appliance.release.manifest import verify as verify_release
    from appliance.release.shelf import find_release

    found = find_release(config.releases_folder, name or config.release)
    verify_release(found)
    print_line(f"{found.name} {found.version}: {len(found.files)} files, as declared")


@release.command("import")
@click.argument("model", type=FILE, metavar="MODEL.gguf")
@click.argument("projector", type=FILE, metavar="MMPROJ.gguf")
@click.option("--base", required=True, metavar="NAME", help="The model it is, or `other`.")
@click.option("--name", default="", metavar="NAME", help="Name of the release.")
@click.option("--labels", type=FILE, metavar="FILE", help="Label list (TOML); else the usual one.")
@click.option(
    "--prompt",
    type=click.Choice(["listing", "trained"]),
    default="listing",
    show_default=True,
    help="Name the labels in the prompt, or ask as this project's training does.",
)
@act("release.change")
@click.pass_obj
def import_release(
    config: Config,
    model: Path,
    projector: Path,
    base: str,
    name: str,
    labels: Path | None,
    prompt: str,
) -> None:
    """Make a release of a GGUF pair that someone else made.

    NAME of the base: medgemma-4b-it, medgemma-1.5-4b-it, medgemma-27b-it or other. The two files
    are checked before they are loaded, copied, and tried on drawings: a projector of another
    model is refused. The release abstains on every picture until `appliance release measure`.
    """
    from appliance.core.record import recorded
    from appliance.release.importing import Wanted, import_pair
    from appliance.release.label_list import default_labels, read_labels
    from appliance.wiring import open_audit, open_captioner

    wanted = Wanted(
        model,
        projector,
        base,
        name,
        read_labels(labels) if labels else default_labels(),
        lists_labels=prompt == "listing",
    )
    with open_audit(config) as audit, recorded(audit, "release.import", {}) as outcome:
        found = import_pair(
            wanted,
            config.releases_folder,
            open_captioner,
            config.threads,
            datetime.now(UTC).date().isoformat(),
            print_progress,
        )
        outcome["release"] = found.card.sha256
    print_progress("")
    print_release(found)
    trial = found.manifest["imported"]["trial"]
    print_note(f"{trial['whole_captions']} of {trial['drawings']} drawings got a whole caption")
    for note in found.manifest["base_model"]["notes"]:
        print_note(f"note: {note}")
    print_note(
        f"next: `appliance release measure {found.name} --images LABELS.csv`; "
        f"to use it: `appliance --release {found.name} caption IMAGE`"
    )


@release.command("activate")
@click.argument("name")
@act("release.activate")
@click.pass_obj
def activate(config: Config, name: str) -> None:
    """Use the release NAME from now on; where people sign in, two must agree."""
    from appliance.wiring import activate_release

    _print_in_use(activate_release(config, name))


@release.command("rollback")
@act("release.activate")
@click.pass_obj
def rollback(config: Config) -> None:
    """Use the release again that was in use before the present one."""
    from appliance.wiring import roll_release_back

    _print_in_use(roll_release_back(config))


def _print_in_use(found: "Release") -> None:
    print_line(f"{found.name} {found.version} is in use")
    for warning in warnings_of(found):
        print_note(f"note: {warning}")
    if os.environ.get("APPLIANCE_RELEASE"):
        print_note("APPLIANCE_RELEASE is set, and counts more than the setting")
