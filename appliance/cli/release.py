"""`appliance release`: the model releases on this machine."""

import click

from appliance.cli.diagnostics import print_error
from appliance.cli.output import (
    NOT_FOR_CLINICAL_USE,
    print_field,
    print_json,
    print_line,
    print_row,
)
from appliance.config import Config
from appliance.errors import ReleaseError


@click.group()
def release() -> None:
    """List, show and verify model releases."""


@release.command("list")
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
        note = f" - {NOT_FOR_CLINICAL_USE}" if found.card.demonstration else ""
        print_row((mark, 6), (f"{name} {found.version}{note}", 0))


@release.command("show")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="The whole manifest.")
@click.pass_obj
def show(config: Config, name: str | None, as_json: bool) -> None:
    """What a release is made of and how well it was measured (default: the one in use)."""
    from appliance.release.shelf import find_release

    found = find_release(config.releases_folder, name or config.release)
    if as_json:
        print_json(found.manifest)
        return
    print_line(f"{found.name} {found.version} ({found.card.sha256[:12]})")
    if found.card.demonstration:
        print_field("", NOT_FOR_CLINICAL_USE)
    print_field("intended use", found.manifest["intended_use"])
    print_field("labels", ", ".join(found.card.labels.names))
    for domain, scores in (found.manifest["evaluation"] or {"domains": {}})["domains"].items():
        low, high = scores["accuracy_interval"]
        print_field(
            domain,
            f"accuracy {scores['accuracy']:.3f} ({low:.3f}-{high:.3f}), balanced accuracy "
            f"{scores['balanced_accuracy']:.3f}, n {scores['images']}",
        )
    for source in found.manifest["data"]:
        print_field("data", f"{source['name']}: {source['terms']}")


@release.command("verify")
@click.argument("name", required=False)
@click.pass_obj
def verify(config: Config, name: str | None) -> None:
    """Check every file of a release against its manifest."""
    from appliance.release.manifest import verify as verify_release
    from appliance.release.shelf import find_release

    found = find_release(config.releases_folder, name or config.release)
    verify_release(found)
    print_line(f"{found.name} {found.version}: {len(found.files)} files, as declared")
