"""`appliance kit`: the program on a USB stick, built and signed here, installed there."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from appliance.cli.diagnostics import print_note, print_progress
from appliance.cli.guard import act, free
from appliance.cli.output import print_json, print_line
from appliance.cli.secrets import ask_secret
from appliance.config import Config
from appliance.errors import AuditError, ConfigError, KitError

if TYPE_CHECKING:
    from appliance.kit.slots import Place
    from appliance.kit.verify import KeyList, Kit

PATH = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
prefix_option = click.option("--prefix", type=PATH, help="Where the program is; default ~/.local.")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object.")
key_option = click.option("--key", type=FILE, required=True, metavar="NAME.key")


@click.group()
def kit() -> None:
    """Build, sign, verify, install and go back.

    On a workstation: keys, wheels, build, sign, allow-older. In the clinic: verify, install,
    status, rollback, uninstall.
    """


@kit.group()
def keys() -> None:
    """Those who answer for kits: three hold a key each, two sign."""


@keys.command("make")
@click.argument("name")
@click.option("--to", "folder", type=FOLDER, default=".", show_default=True)
@free
@click.pass_obj
def make_key(config: Config, name: str, folder: Path) -> None:
    """NAME.key, which its holder keeps, and NAME.pub for the list of keys.

    The password is asked at the terminal or read from standard input; none leaves the file open.
    """
    from appliance.kit import signing

    private, public = signing.make_key(folder, name, ask_secret("password of the key", twice=True))
    print_line(f"{private}: keep it apart from the others; {public}: for `appliance kit keys list`")


@keys.command("list")
@click.argument("folder", type=PATH)
@click.argument("public", nargs=-1, required=True, type=FILE, metavar="NAME.pub...")
@free
@click.pass_obj
def list_keys(config: Config, folder: Path, public: tuple[Path, ...]) -> None:
    """Write the first list of keys to FOLDER, or the next, which is then to be signed."""
    from appliance.kit.signing import make_key_list
    from appliance.kit.verify import short_code

    made = make_key_list(folder, public)
    print_line(f"list {made.serial}, of {len(made.keys)} keys; code {short_code(made.text)}")
    if made.serial > 1:
        print_note(f"next: two of the list before run `appliance kit keys sign {folder}`")


@keys.command("sign")
@click.argument("folder", type=FOLDER)
@key_option
@free
@click.pass_obj
def sign_keys(config: Config, folder: Path, key: Path) -> None:
    """Sign the newest list in FOLDER by a key of the list before it."""
    from appliance.kit import signing

    signed = signing.sign_keys(folder, key, _ask_password(key))
    print_line(f"signed by {', '.join(signed)}")


@kit.command("wheels")
@click.argument("out", type=PATH)
@click.option("--project", type=FOLDER, default=".", show_default=True, help="The source tree.")
@click.option("--llama", type=FILE, metavar="WHEEL", help="llama-cpp-python, compiled before.")
@click.option(
    "--extra", "extras", multiple=True, metavar="NAME", help="As ocr; may be given often."
)
@click.option(
    "--python", "pythons", multiple=True, metavar="3.N", help="Beside this one's version."
)
@click.option("--cuda", is_flag=True, help="Only what differs where there is an NVIDIA card.")
@free
@click.pass_obj
def wheels(
    config: Config,
    out: Path,
    project: Path,
    llama: Path | None,
    extras: tuple[str, ...],
    pythons: tuple[str, ...],
    cuda: bool,
) -> None:
    """Gather the program's wheels in OUT. Needs a package index and, for llama.cpp, a compiler."""
    from appliance.kit.wheelhouse import make_cuda_wheels, make_wheelhouse

    if cuda:
        made = make_cuda_wheels(project, out, print_note)
    else:
        made = make_wheelhouse(project, out, extras, pythons, llama, print_note)
    size_bytes = sum(wheel.path.stat().st_size for wheel in made)
    print_line(f"{out}: {len(made)} wheels, {size_bytes / 1e6:.0f} MB")


@kit.command("build")
@click.argument("out", type=PATH)
@click.option("--number", type=click.IntRange(1), required=True, help="Higher than any before.")
@click.option("--wheels", type=FOLDER, required=True, help="Of `appliance kit wheels`.")
@click.option("--cuda", type=FOLDER, help="Of `appliance kit wheels --cuda`.")
@click.option("--keys", type=FOLDER, required=True, help="Of `appliance kit keys list`.")
@click.option(
    "--release", "names", multiple=True, metavar="NAME", help="Of this home; may be given often."
)
@click.option("--index", type=FOLDER, help="A guideline index, a set of its own in the clinic.")
@click.option("--guideline", "guidelines", multiple=True, type=FILE, help="May be given often.")
@click.option("--date", type=click.DateTime(["%Y-%m-%d"]), help="Of the kit; default: today.")
@free
@click.pass_obj
def build(
    config: Config,
    out: Path,
    number: int,
    wheels: Path,
    cuda: Path | None,
    keys: Path,
    names: tuple[str, ...],
    index: Path | None,
    guidelines: tuple[Path, ...],
    date: datetime | None,
) -> None:
    """Write a kit to OUT, to be signed. The demonstration release is part of the program."""
    try:
        from appliance.kit.build import Wanted, build_kit
    except ModuleNotFoundError as exc:
        raise ConfigError(
            f"kits are not built on this machine: {exc.name} is not installed",
            "use a workstation with the extra `kit`: pip install 'clinic-appliance[kit]'",
        ) from exc
    from appliance.kit.selftest import known_answers
    from appliance.release.shelf import DEMONSTRATION, find_release
    from appliance.wiring import open_captioner

    releases = [find_release(config.releases_folder, name) for name in names]
    answers = {}
    for release in [find_release(config.releases_folder, DEMONSTRATION), *releases]:
        print_progress(f"{release.name} reads the drawings")
        with open_captioner(release, config.threads) as captioner:
            answers[release.name] = known_answers(captioner)
    wanted = Wanted(
        number, date or datetime.now(UTC), wheels, keys, releases, answers, index, guidelines, cuda
    )
    built = build_kit(wanted, out, print_progress)
    print_progress("")
    print_line(f"{out}: kit {number}, {built.files} files, {built.size_bytes / 1e6:.0f} MB")
    print_line(f"manifest   {built.sha256}")
    print_line("For the paper that goes with it:")
    print_line(f"install.sh {built.installer_sha256}")
    print_line(f"keys       {built.keys_code}")
    print_note(f"next: two of the holders run `appliance kit sign {out} --key NAME.key`")


@kit.command("sign")
@click.argument("folder", type=FOLDER)
@key_option
@free
@click.pass_obj
def sign(config: Config, folder: Path, key: Path) -> None:
    """Check every byte of a kit, then sign it."""
    from appliance.kit import signing

    found = signing.read_to_sign(folder)
    _verify_files(found)
    signed = signing.sign_kit(found, key, _ask_password(key))
    print_line(f"kit {found.version}, manifest {found.sha256}: signed by {', '.join(signed)}")
    if len(signed) < found.keys.threshold:
        print_note(f"{found.keys.threshold - len(signed)} more must sign")
    else:
        print_note("next: copy the folder to a stick as it is, beside whatever else is there")


@kit.command("allow-older")
@click.argument("folder", type=FOLDER)
@key_option
@free
@click.pass_obj
def allow_older(config: Config, folder: Path, key: Path) -> None:
    """Sign that this kit may be installed over a newer one; like a kit, two must."""
    from appliance.kit import signing

    found = signing.read_to_sign(folder)
    signed = signing.allow_older(found, key, _ask_password(key))
    print_line(f"kit {found.version} may replace a newer one: signed by {', '.join(signed)}")


@kit.command("verify")
@click.argument("folder", type=FOLDER)
@click.option("--keys", "code", metavar="CODE", help="From the paper, where no kit is installed.")
@prefix_option
@json_option
@free
@click.pass_obj
def verify(
    config: Config, folder: Path, code: str | None, prefix: Path | None, as_json: bool
) -> None:
    """Check a kit's signatures and every byte of its files."""
    from appliance.kit.verify import open_kit

    found = open_kit(folder, _trusted(folder, code, _place(config, prefix)))
    _verify_files(found)
    if as_json:
        print_json(
            {
                "kit": found.version,
                "appliance": found.appliance,
                "files": len(found.files),
                "size_bytes": found.size_bytes,
                "sha256": found.sha256,
                "signed_by": list(found.signed_by),
            }
        )
        return
    print_line(
        f"kit {found.version}: {len(found.files)} files, {found.size_bytes / 1e6:.0f} MB, whole; "
        f"signed by {', '.join(found.signed_by)}"
    )


@kit.command("install")
@click.argument("folder", type=FOLDER)
@click.option("--keys", "code", metavar="CODE", help="From the paper, at the first install.")
@prefix_option
@act("kit.change")
@click.pass_obj
def install(config: Config, folder: Path, code: str | None, prefix: Path | None) -> None:
    """Install the kit in FOLDER beside what runs, try it there, then switch to it."""
    from appliance.core.record import recorded
    from appliance.kit.install import install as install_kit
    from appliance.kit.install import manifest_hash, set_name
    from appliance.wiring import open_audit

    place = _place(config, prefix)

    def type_code() -> str:
        return code or str(click.prompt("Code of the keys, from the paper", err=True))

    with open_audit(config) as audit, recorded(audit, "kit.install", {}) as outcome:
        active = install_kit(folder, place, print_progress, type_code)
        outcome |= {"kit": active.version, "manifest": manifest_hash(place, active)}
    print_progress("")
    print_line(f"kit {active.version} is installed; {place.launcher} starts it")
    brought = set_name(active.version)
    if brought != config.guidelines and (config.sets_folder / brought).exists():
        print_note(
            f"its guidelines are not in use: look at them with `appliance guidelines list --set "
            f"{brought}`, then two people run `appliance guidelines activate {brought}`"
        )


@kit.command("status")
@prefix_option
@json_option
@act("release.read")
@click.pass_obj
def status(config: Config, prefix: Path | None, as_json: bool) -> None:
    """Which version runs, which one it can go back to, and whose kits are trusted."""
    from appliance.kit.slots import NONE, read_active, read_trust, version_of
    from appliance.kit.verify import short_code

    place = _place(config, prefix)
    active, trust = read_active(place), read_trust(place)
    if active is None or trust is None:
        raise KitError(f"no kit is installed in {place.lib}", "give --prefix if it is elsewhere")
    before = None if active.previous == NONE else version_of(active.previous)
    said = {
        "kit": active.version,
        "before": before,
        "state": active.state,
        "highest": trust.version,
        "keys": {"list": trust.keys.serial, "code": short_code(trust.keys.text)},
        "place": str(place.lib),
    }
    if as_json:
        print_json(said)
        return
    print_line(f"kit {active.version} in {place.lib}")
    print_line(f"before it: {'none' if before is None else f'kit {before}'}")
    if active.state != "good":
        print_line(f"it has not started yet; failed starts: {active.state}")
    print_line(f"keys: list {trust.keys.serial}, code {short_code(trust.keys.text)}")


@kit.command("rollback")
@prefix_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@act("kit.change")
@click.pass_obj
def rollback(config: Config, prefix: Path | None, yes: bool) -> None:
    """Run the version before this one again. The record and the settings stay as they are."""
    from appliance.core.record import recorded
    from appliance.kit.install import refuse_unusable_before
    from appliance.kit.slots import Active, go_back
    from appliance.wiring import open_audit

    if not yes:
        click.confirm("Run the version before this one?", abort=True, err=True)
    place = _place(config, prefix)
    refuse_unusable_before(place)
    active: Active | None = None
    try:
        with open_audit(config) as audit, recorded(audit, "kit.rollback", {}) as outcome:
            active = go_back(place)
            outcome["kit"] = active.version
    except AuditError as exc:  # which may be why one wants to go back
        active = active or go_back(place)
        print_note(f"note: this is not in the record: {exc.message}")
    print_line(f"kit {active.version} runs from now on")


@kit.command("uninstall")
@prefix_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--and-the-record", is_flag=True, help="Remove the home too; asks once more.")
@click.option("--really-the-record", is_flag=True, help="The second yes, where nobody can answer.")
@act("kit.change")
@click.pass_obj
def uninstall(
    config: Config, prefix: Path | None, yes: bool, and_the_record: bool, really_the_record: bool
) -> None:
    """Remove the program. The record, cases and settings stay unless that is said twice."""
    from appliance.core.record import recorded
    from appliance.kit import slots
    from appliance.wiring import open_audit

    place = _place(config, prefix)
    if not yes:
        click.confirm(f"Remove the program in {place.lib}?", abort=True, err=True)
    if and_the_record and not really_the_record:
        typed = click.prompt(f"Type the folder to remove with the record, {config.home}", err=True)
        if typed != str(config.home):
            raise ConfigError(f"you typed {typed!r}: nothing was removed", "type it as it stands")
    with open_audit(config) as audit, recorded(audit, "kit.uninstall", {}):
        slots.uninstall(place)
    if and_the_record:
        slots.remove_home(place)
    kept = "removed" if and_the_record else "kept"
    print_line(f"the program was removed; the record in {config.home} was {kept}")


@kit.command("self-test", hidden=True)
@click.argument("folder", type=FOLDER, required=False)
@click.option("--release", "releases", multiple=True, type=FOLDER)
@free
@click.pass_obj
def self_test(config: Config, folder: Path | None, releases: tuple[Path, ...]) -> None:
    """What the installer asks of a new version, in an empty home."""
    from appliance.cli.tui import try_screen
    from appliance.wiring import try_version

    try_version(config, folder, releases)
    try_screen(config)
    print_line("the trial passed")


@kit.command("try-data", hidden=True)
@free
@click.pass_obj
def try_data(config: Config) -> None:
    """What the installer asks of a new version on a copy of this machine's data."""
    from appliance.wiring import try_data as try_all

    try_all(config)


@kit.command("note", hidden=True)
@click.argument("what", type=click.Choice(["installed", "went-back"]))
@free
@click.pass_obj
def note(config: Config, what: str) -> None:
    """Record what install.sh or the launcher did, if it is so."""
    from appliance.kit.slots import GOOD, NONE, read_active, running_slot, version_of
    from appliance.wiring import open_audit

    slot, active = running_slot(), read_active(_place(config, None))
    if slot is None or active is None or active.current != slot.name:
        raise KitError("this is not the version that runs here", "there is nothing to record")
    if what == "went-back" and (active.previous, active.state) != (NONE, GOOD):
        raise KitError("no version was given up here", "there is nothing to record")
    with open_audit(config) as audit:
        audit.append(f"kit.{what}", {"kit": version_of(slot.name)})


def _place(config: Config, prefix: Path | None) -> "Place":
    from appliance.kit.slots import Place, running_prefix

    return Place((prefix or running_prefix()).absolute(), config.home)


def _trusted(folder: Path, code: str | None, place: "Place") -> "KeyList":
    """The keys of this machine, or, where nothing is installed, those with the code."""
    from appliance.kit.install import keys_by_code
    from appliance.kit.slots import read_trust

    if trust := read_trust(place):
        return trust.keys
    if code is None:
        raise ConfigError("no kit is installed here, so no keys are trusted", "give --keys CODE")
    return keys_by_code(folder, code)


def _verify_files(found: "Kit") -> None:
    from appliance.kit.verify import verify_files

    done_bytes = 0

    def progress(size_bytes: int) -> None:
        nonlocal done_bytes
        done_bytes += size_bytes
        print_progress(f"checking {done_bytes / 1e6:.0f} of {found.size_bytes / 1e6:.0f} MB")

    verify_files(found, progress)
    print_progress("")


def _ask_password(key: Path) -> Callable[[], str]:
    return lambda: ask_secret(f"password of {key.name}")
