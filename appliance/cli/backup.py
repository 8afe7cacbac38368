"""`appliance backup` and `appliance restore`: everything but the models, sealed, on a stick."""

from dataclasses import replace
from pathlib import Path

import click

from appliance.cli.diagnostics import print_note
from appliance.cli.guard import act
from appliance.cli.output import print_json, print_line
from appliance.cli.secrets import ask_secret
from appliance.config import HOME_VARIABLE, Config, load_config
from appliance.errors import AccessError, ConfigError

LEAST_CHARACTERS = 12
"""A stick is lost more easily than a box: its passphrase is tried without anybody looking."""
FILE = click.Path(path_type=Path)


@click.command()
@click.argument("out", type=FILE)
@click.option("--with-releases", is_flag=True, help="The models too: gigabytes.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@act("backup.make")
@click.pass_obj
def backup(config: Config, out: Path, with_releases: bool, as_json: bool) -> None:
    """Write log, cases, accounts, guidelines, rules and settings to OUT, a folder or a new file.

    Of guidelines it takes the clinic's own documents and the set in use. It is encrypted with a
    passphrase, asked for at the terminal or read from standard input, and read back before it
    counts. Everything may be in use meanwhile.
    """
    from appliance.wiring import make_backup

    passphrase = ask_secret("Passphrase for the backup", twice=True)
    if len(passphrase) < LEAST_CHARACTERS:
        raise ConfigError(
            f"a passphrase of {len(passphrase)} characters is too short",
            f"give {LEAST_CHARACTERS} or more, for example five words, and write it down apart",
        )
    made = make_backup(config, out, passphrase, with_releases=with_releases)
    if as_json:
        print_json(
            {
                "file": str(made.file),
                "size_bytes": made.size_bytes,
                "files": len(made.manifest.files),
                "entries": made.manifest.entries,
            }
        )
        return
    print_line(f"{made.file}: {made.size_bytes:,} bytes, read back; entry {made.manifest.entries}")
    print_note("without its passphrase nobody can open it, you neither")


@click.command()
@click.argument("file", type=FILE)
@click.option("--to", "home", type=FILE, help="The home to restore to; else this one.")
@click.option("--replace", "replaces", is_flag=True, help="Set a newer log here aside.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@act("backup.restore")
@click.pass_obj
def restore(config: Config, file: Path, home: Path | None, replaces: bool, yes: bool) -> None:
    """Put the backup FILE in place of what is here; that is set aside, never deleted.

    The log goes on from where it was backed up. Use it on one box only: if the box that the
    backup was made on goes on, too, there are two logs of one name, and checkpoints of the one do
    not fit the other.
    """
    from appliance.edges.guideline_sets import OWN, set_names
    from appliance.release.shelf import release_names
    from appliance.wiring import restore_backup

    here = config.home
    if home is not None:
        config = replace(config, home=home.absolute())
        there = load_config({HOME_VARIABLE: str(config.home)}, {})
        if there.access == "users" and config.home.resolve() != here.resolve():
            raise AccessError(
                f"people sign in there, and none of them agreed: {config.home}",
                f"sign in with {HOME_VARIABLE}={config.home}, and restore without --to",
            )
    if not yes:
        click.confirm(f"Put {file} in place of what is in {config.home}?", abort=True, err=True)
    done = restore_backup(config, file, ask_secret("Passphrase of the backup"), replaces=replaces)
    print_line(f"{config.home}: restored as of {done.manifest.at}, entry {done.entries}")
    if done.set_aside:
        print_line(f"what was there is in {done.set_aside}")
        now = {OWN, *set_names(config)}
        before = set_names(replace(config, home=done.set_aside))
        if aside := ", ".join(name for name in before if name not in now):
            print_note(
                f"so are the guideline sets that the backup lacks, {aside}: to have one again, "
                f"move its folder to {config.sets_folder}"
            )
    known = set(release_names(config.releases_folder))
    if missing := {release["name"] for release in done.manifest.releases} - known:
        print_note(f"releases to bring back: {', '.join(sorted(missing))}")
