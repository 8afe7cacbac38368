"""The one place where ports meet their edges: Config in, open ports out."""

import io
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance import __version__
from appliance.config import HOME_VARIABLE, PLACES, SETTINGS, Config, load_config, write_setting
from appliance.core.access import enabled_administrators
from appliance.core.atlas import Atlas, AtlasCard, Towers
from appliance.core.cases import CaseKeeper, Wanted
from appliance.core.checkpoint import verifier_key
from appliance.core.consult import Ports
from appliance.core.health import Finding
from appliance.core.labels import LabelSet
from appliance.core.ports import AuditLog, Captioner
from appliance.core.program import Program
from appliance.core.record import recorded
from appliance.core.treatment import RuleBook
from appliance.core.worklist import Item
from appliance.edges import clock
from appliance.edges.audit_archive import Archive, archive_log
from appliance.edges.audit_aside import set_aside_by_hand
from appliance.edges.audit_db import AuditDatabase
from appliance.edges.audit_reader import AuditReader, has_log
from appliance.edges.case_store import CaseStore, UnopenedCases
from appliance.edges.guideline_sets import (
    OWN,
    Change,
    made_ready,
    open_index,
    set_in_use,
    set_names,
)
from appliance.edges.guidelines import GuidelineIndex
from appliance.edges.image_measures import measure
from appliance.edges.images import ImageFiles
from appliance.edges.kept_readings import KeptReadings
from appliance.edges.llama import LlamaCaptioner
from appliance.edges.picture_paths import find_pictures
from appliance.edges.treatment_rules import read_rules
from appliance.edges.worklist_file import WorklistFile, new_items, settled
from appliance.errors import (
    AuditError,
    AuditMissingError,
    CaseError,
    ConfigError,
    KitError,
    ReleaseError,
)
from appliance.release.atlas_files import find_atlas
from appliance.release.box import suitable_threads
from appliance.release.manifest import MANIFEST, Release, read_release, refuse_unmeasured_risk
from appliance.release.manifest import verify as verify_release
from appliance.release.shelf import (
    DEMONSTRATION,
    find_release,
    note_release_before,
    release_before,
    release_names,
)

if TYPE_CHECKING:
    from appliance.edges.atlas import AtlasFolder
    from appliance.edges.backup import Backup
    from appliance.edges.restore import Restored
    from appliance.edges.users_sessions import Sessions


@dataclass(frozen=True)
class Reader:
    """The release in use, ready to read pictures."""

    release: Release
    captioner: Captioner
    cancel: Callable[[], None]
    """As of `Ports`."""


@contextmanager
def open_reader(config: Config) -> Iterator[Reader]:
    """Its process starts with the first picture. Raises: ReleaseError."""
    release = find_release(config.releases_folder, config.release)
    with _open_model(release, config) as captioner:
        kept = KeptReadings(captioner, config.kept_folder, config.encoder or release.encoder)
        yield Reader(release, kept, captioner.cancel)


@contextmanager
def open_consultation(
    config: Config, *, lookup: bool, reader: Reader | None = None
) -> Iterator[Ports]:
    """All that `consult` needs; with the `reader` that is open already, if one is.

    Raises: ReleaseError, AuditError, GuidelineIndexError; ConfigError when the release was not
    measured for the site's risk target.
    """
    with ExitStack() as stack:
        reader = reader or stack.enter_context(open_reader(config))
        refuse_unmeasured_risk(reader.release, config.risk)
        guidelines = stack.enter_context(open_guidelines(config)) if lookup else None
        audit = stack.enter_context(open_audit(config))
        yield Ports(
            images=ImageFiles(config.burned_in_text),
            captioner=reader.captioner,
            guidelines=guidelines,
            audit=audit,
            clock_s=time.monotonic,
            risk=config.risk,
            cases=_open_keeper(stack, config, audit),
            cancel=reader.cancel,
            atlas=_open_beside(stack, config, reader),
            atlas_cases=config.atlas_cases,
            guideline_set=set_in_use(config) if guidelines else None,
        )


def activate_release(config: Config, name: str) -> Release:
    """The release `name` is in use from now on, recorded. Raises: ReleaseError when it is not
    whole, ConfigError when it was not measured for the site's risk target, AuditError."""
    return _put_in_use(config, name, "release.activate")


def roll_release_back(config: Config) -> Release:
    """The release that was in use before the present one is again. Raises: as activating."""
    return _put_in_use(config, release_before(config.releases_folder), "release.rollback")


def _put_in_use(config: Config, name: str, act: str) -> Release:
    with (
        open_audit(config) as audit,
        recorded(audit, act, {"before": config.release}) as outcome,
    ):
        release = find_release(config.releases_folder, name)
        verify_release(release)
        refuse_unmeasured_risk(release, config.risk)
        outcome |= {"release": release.card.sha256, "name": name}
        note_release_before(config.releases_folder, config.release)
        write_setting(config.home, "release", name)
    return release


def open_captioner(release: Release, threads: int, encoder: str = "") -> LlamaCaptioner:
    """The model of a release, verified when its process starts with the first picture; with 0
    `threads` as many as suit it."""
    return LlamaCaptioner(release, threads or suitable_threads(release), encoder)


def _open_model(release: Release, config: Config) -> LlamaCaptioner:
    threads = config.threads or suitable_threads(release)
    return LlamaCaptioner(release, threads, config.encoder, longest_s=config.timeout_s)


def open_cases(config: Config) -> CaseStore:
    """The kept cases, those that are too old purged, at most once a day.

    Raises: CaseError; AuditError when the purge cannot be recorded.
    """
    store = CaseStore(config.cases_folder)
    try:
        if _purge_due(store, config):
            with open_audit(config) as audit:
                _purge_old(store, config, audit)
    except BaseException:
        store.close()
        raise
    return store


def _open_keeper(stack: ExitStack, config: Config, audit: AuditLog) -> CaseKeeper | None:
    """With 0 days nothing is kept, and what was kept before is purged."""
    if not config.keep_cases_days and not config.cases_folder.exists():
        return None
    try:
        store = stack.enter_context(CaseStore(config.cases_folder))
        _purge_old(store, config, audit)
    except CaseError as exc:
        return UnopenedCases(exc)
    return store if config.keep_cases_days else None


def _purge_due(store: CaseStore, config: Config) -> str | None:
    return store.due(datetime.fromisoformat(clock.now().at), config.keep_cases_days)


def _purge_old(store: CaseStore, config: Config, audit: AuditLog) -> None:
    if before := _purge_due(store, config):
        with recorded(audit, "case.purge", {"before": before}) as outcome:
            outcome |= {"before": before, "count": store.purge(before)}
        store.looked(datetime.fromisoformat(clock.now().at))


def labels_of_release(config: Config, sha256: str) -> LabelSet | None:
    """Of the release with this hash; None when it is not here."""
    for name in release_names(config.releases_folder):
        with suppress(ReleaseError):
            card = find_release(config.releases_folder, name).card
            if card.sha256 == sha256:
                return card.labels
    return None


def make_backup(config: Config, out: Path, passphrase: str, *, with_releases: bool) -> "Backup":
    """Log, cases, accounts, guideline index and settings into one sealed file, recorded.

    Raises: ConfigError, BackupError, GuidelineError, AuditError.
    """
    from appliance.edges.backup import make_backup as write_backup  # with ciphers and archives

    releases = [
        (name, release.card.sha256, release.directory if with_releases else None)
        for name, release in _own_releases(config)
    ]
    with (
        open_audit(config) as log,
        recorded(log, "backup.make", {"with_releases": with_releases}) as outcome,
    ):
        made = write_backup(config, log, out, passphrase, clock.now().at, releases)
        outcome |= {"entries": made.manifest.entries, "size_bytes": made.size_bytes}
    return made


def restore_backup(config: Config, file: Path, passphrase: str, *, replaces: bool) -> "Restored":
    """Put a backup in place of what the home holds, recorded in the log that is then there; with
    `replaces` also in the one that is set aside, where that can be written.

    Raises: BackupError, AuditError.
    """
    from appliance.edges.restore import restore_backup as put_in_place

    if replaces:
        with suppress(AuditError), open_audit(config) as log:
            log.append("backup.restore.asked", {})
    done = put_in_place(file, passphrase, config.home, clock.now().at, replaces=replaces)
    # The restored settings are in force now.
    settled = load_config({HOME_VARIABLE: str(config.home)}, {})
    with open_audit(replace(settled, user=config.user, command=config.command)) as log:
        body = {"made": done.manifest.at, "entries": done.entries}
        log.append("backup.restore.done", {**body, "set_aside": done.set_aside is not None})
    return done


def change_setting(config: Config, key: str, text: str) -> Any:
    """Put a setting into settings.toml, recorded; the value that it then has.

    Raises: ConfigError, AccessError, AuditError.
    """
    if (key, text) == ("access", "users"):
        with open_users(config) as users:
            if not enabled_administrators(users.accounts()):
                raise ConfigError(
                    "nobody could sign in yet", "run `appliance users begin NAME`, which sets it"
                )
    if key == "guidelines":
        raise ConfigError(
            "guidelines are put in use by a command of their own, which two people run",
            "run `appliance guidelines activate NAME`",
        )
    with (
        open_audit(config) as audit,
        recorded(audit, "setting.change", {"key": key} if key in SETTINGS else {}) as outcome,
    ):
        value = write_setting(config.home, key, text)
        is_place = key in PLACES and value
        outcome |= {
            "key": key,
            "value": audit.image_mark(f"setting {value}") if is_place else value,
        }
    return value


def find_faults(config: Config, *, full: bool = False, quick: bool = False) -> list[Finding]:
    """What the doctor finds, recorded where there is a log; `full` and `quick` as of `look`."""
    from appliance.edges.health import look  # with ciphers, archives, Chroma

    findings = look(config, clock.now(), full=full, quick=quick)
    if has_log(config.log_folder):
        states = Counter[str](finding.state for finding in findings)
        try:
            with open_audit(config) as log:
                log.append("doctor.done", {**states, "full": full, "quick": quick})
        except AuditError as exc:
            findings.append(Finding("log", "bad", exc.message, exc.hint, exc.exit_code))
    return findings


def _own_releases(config: Config) -> Iterator[tuple[str, Release]]:
    """Name and release of those in the home that can be read; the demonstration's is part of the
    program."""
    for name in release_names(config.releases_folder):
        with suppress(ReleaseError):
            if (config.releases_folder / name).is_dir():
                yield name, find_release(config.releases_folder, name)


def open_images(burned_text: str = "off") -> ImageFiles:
    """`burned_text` is what the setting `burned_in_text` says. Raises: ConfigError."""
    return ImageFiles(burned_text)


def open_worklist(config: Config) -> WorklistFile:
    """The screen's worklist, held until closed. Raises: ConfigError."""
    return WorklistFile(config.worklist_folder)


def worklist_items(arguments: Sequence[str]) -> list[Item]:
    """New items for what `find_pictures` finds: pictures, folders of them, or lists."""
    given = [_at_home(argument) for argument in arguments]
    return new_items(find_pictures(given, io.BytesIO()).paths)


def settled_items(folder: str, least_age_s: float) -> list[Item]:
    """New items for the pictures in a folder that nobody wrote to for so long; none without it."""
    if not Path(_at_home(folder)).is_dir():
        return []
    paths = find_pictures([_at_home(folder)], io.BytesIO()).paths
    return new_items(settled([path for path in paths if path != folder], least_age_s))


def _at_home(path: str) -> str:
    return os.path.expanduser(path)  # noqa: PTH111 - a Path fails on a name that is nobody's


measure_picture = measure
"""Of an opened image, what the process that decodes a file takes: core.gate.MEASURES."""


def decode_picture(encoded: bytes) -> Any:
    """RGB (a PIL image) of a picture file by the clinic's rules, in this process: for files that
    are trusted. Raises: ValueError, and whatever Pillow makes of damage."""
    from appliance.edges.picture_pixels import decode_picture as decode  # Pillow
    from appliance.edges.refusal import Refused

    try:
        image, _, _ = decode(encoded)
    except Refused as exc:
        raise ValueError(str(exc)) from exc
    return image


def open_audit(config: Config) -> AuditDatabase:
    """The log, to write to; made on first use."""
    settings = {name: getattr(config, name) for name in SETTINGS}
    program = Program(__version__, config.command, settings, PLACES)
    return AuditDatabase(config.log_folder, clock.now, config.user, program)


def read_audit(config: Config, folder: Path | None = None) -> AuditReader:
    """The log, or one in another folder, to read and prove; works on a read-only medium."""
    return AuditReader(folder or config.log_folder)


def record_of_reading(config: Config, folder: Path | None) -> AuditDatabase | None:
    """Where it is recorded that a log was read: always in this machine's own, if it has one.

    Raises: AuditError.
    """
    own = config.log_folder
    is_own = folder is None or folder.resolve() == own.resolve()
    return open_audit(config) if is_own or has_log(own) else None


def open_users(config: Config) -> "Sessions":
    """The accounts of this machine; nothing is made before the first is added."""
    from appliance.edges.users_sessions import Sessions  # with Argon2

    return Sessions(config.users_folder, clock.now)


def this_terminal() -> str:
    """As sessions know it. Raises: AccessError where there is none."""
    from appliance.edges.users_sessions import terminal_name

    return terminal_name(clock.now().boot)


def archive_audit(config: Config, before: datetime) -> Archive | None:
    """Archive the entries older than `before`; None when there are none."""
    with open_audit(config) as log:
        return archive_log(log, before)


def set_audit_aside(config: Config) -> Path:
    """Keep a damaged log under its date and begin a new one that names it.

    Raises: ConfigError when the log is whole and can be written; AuditError.
    """
    if is_audit_whole(config):
        raise ConfigError(
            f"the audit log is whole: {config.log_folder}", "there is nothing to set aside"
        )
    place = set_aside_by_hand(config.log_folder, clock.now().at)
    open_audit(config).close()
    return place


def change_signing_key(config: Config) -> tuple[Path, str]:
    """End the log and begin one with another key, whose first entry names the old one; the old
    log's folder and the new public key.

    Raises: AuditMissingError, AuditError.
    """
    if not has_log(config.log_folder):
        raise AuditMissingError(
            f"there is no audit log yet: {config.log_folder}", "it will begin with a new key"
        )
    with open_audit(config) as log:
        log.append("key.change.begun", {"public_key": log.public_key.hex()})
    place = set_aside_by_hand(config.log_folder, clock.now().at, "key changed", with_key=True)
    with open_audit(config) as log:
        log.append("key.change.done", {"public_key": log.public_key.hex()})
        return place, verifier_key(log.origin, log.public_key)


def is_audit_whole(config: Config) -> bool:
    """Whether the log holds and can be written. Raises: AuditMissingError."""
    try:
        with read_audit(config) as log:
            if log.verify().fault:
                return False
        with open_audit(config):
            return True
    except AuditMissingError:
        raise
    except AuditError:
        return False


def open_rules(config: Config) -> RuleBook:
    """What guidelines say of treatments: the project's rules and the clinic's."""
    return read_rules(config.home / "rules")


@contextmanager
def open_towers(place: Path, threads: int = 0) -> Iterator[Towers]:
    """What makes vectors for an atlas: a release's folder, or a CLIP-type pair's.

    Raises: ReleaseError, AtlasError.
    """
    from appliance.edges.atlas import ReleaseTowers  # with Chroma

    if not (place / MANIFEST).is_file():
        yield open_encoder_folder(place)
        return
    release = read_release(place)
    with open_captioner(release, threads) as captioner:
        yield ReleaseTowers(release, captioner)


def open_encoder_folder(folder: Path) -> Towers:
    """Raises: AtlasError."""
    from appliance.edges.encoder_folder import EncoderFolder  # with ONNX Runtime

    return EncoderFolder(folder)


@contextmanager
def open_atlas(config: Config, reader: Reader | None = None) -> Iterator["AtlasFolder"]:
    """The atlas of the release in use, or of the encoder that is set; with the `reader` that is
    open already, if one is.

    Raises: AtlasMissingError, AtlasError, ReleaseError.
    """
    with ExitStack() as stack:
        reader = reader or stack.enter_context(open_reader(config))
        yield stack.enter_context(_open_atlas(config, reader))


def _open_beside(stack: ExitStack, config: Config, reader: Reader) -> Atlas | None:
    """Raises: AtlasMissingError, AtlasError, where cases are to stand beside a consultation."""
    if not config.atlas_cases:
        return None
    return stack.enter_context(_open_atlas(config, reader))


def _open_atlas(config: Config, reader: Reader) -> "AtlasFolder":
    from appliance.edges.atlas import AtlasFolder

    towers = _towers(config, reader.release, reader.captioner)
    return AtlasFolder(
        find_atlas(config.atlas_folder, towers.identity), towers, config.atlas_folder
    )


def _towers(config: Config, release: Release, captioner: Captioner) -> Towers:
    from appliance.edges.atlas import ReleaseTowers

    if config.atlas_encoder:
        return open_encoder_folder(Path(config.atlas_encoder))
    return ReleaseTowers(release, captioner)


def add_atlas(config: Config, folder: Path) -> AtlasCard:
    """Take the atlas in `folder` for the release in use, recorded; the one before is given up.

    Raises: AtlasMissingError, AtlasError, ReleaseError, AuditError.
    """
    from appliance.edges.atlas import add_atlas as copy_atlas

    release = find_release(config.releases_folder, config.release)
    with (
        open_captioner(release, config.threads) as captioner,
        open_audit(config) as audit,
        recorded(audit, "atlas.add", {}) as outcome,
    ):
        towers = _towers(config, release, captioner)
        card = copy_atlas(folder, towers.identity, config.atlas_folder).card
        outcome |= {"atlas": card.sha256, "cases": card.cases}
    return card


def open_guidelines(
    config: Config, *, create: bool = False, to_rebuild: bool = False
) -> GuidelineIndex:
    """Of the set in use. Raises: GuidelineIndexError."""
    return open_index(config, create=create, to_rebuild=to_rebuild)


def activate_guidelines(config: Config, name: str) -> Change:
    """The set `name` answers from now on, with the clinic's own documents in it; recorded.

    Raises: ConfigError, GuidelineError, AuditError; then what was in use is in use.
    """
    asked = {"before": set_in_use(config), "set": name if name in set_names(config) else ""}
    with (
        open_audit(config) as audit,
        recorded(audit, "guideline.activate", asked) as outcome,
        made_ready(config, name) as change,
    ):
        before = asdict(change.before) if change.before else None
        outcome |= {"set": name, **asdict(change.after), "before": before}
        write_setting(config.home, "guidelines", "" if name == OWN else name)
    return change


def try_version(config: Config, kit: Path | None, folders: Sequence[Path]) -> None:
    """This program's trial, in an empty home and without internet sockets: drawings read by the
    demonstration release and those in `folders`, as the `kit` says they should, then one
    consultation, its passages and its record. Raises: KitError, ReleaseError, ModelError ..."""
    from appliance.edges.no_network import forbid_network
    from appliance.kit import selftest
    from cpg_store.sample import sample_guideline

    if config.home.exists() and any(config.home.iterdir()):
        raise KitError(f"a trial needs an empty home: {config.home}", "set APPLIANCE_HOME")
    if not forbid_network(but_local=True):
        raise KitError("this machine cannot refuse internet sockets", "use Linux 3.17 or newer")
    answers = {}
    if kit:
        selftest.refuse_other_packages(kit)
        answers = json.loads((kit / "manifest.json").read_bytes())["releases"]
    releases = [find_release(config.releases_folder, DEMONSTRATION)]
    releases += [found for found in map(read_release, folders) if found.name != DEMONSTRATION]
    for release in releases:
        with open_captioner(release, config.threads) as captioner:
            selftest.refuse_other_answers(captioner, answers.get(release.name, {}))
    with open_guidelines(config, create=True) as index:
        index.add(sample_guideline(), title=None, edition=None)
    with open_consultation(config, lookup=True) as ports:
        selftest.consult_on_drawing(ports, config.home)
    with read_audit(config) as log:
        if fault := log.verify().fault:
            raise KitError(f"the record of the trial is not whole: {fault}", selftest.TELL)


def try_data(config: Config) -> None:
    """Open all that a home keeps, as each day's work would; the installer does it to copies.

    Raises: AuditError, AccessError, CaseError, GuidelineError.
    """
    if has_log(config.log_folder):
        with open_audit(config) as log:
            log.append("kit.tried", {})
        with read_audit(config) as written:
            list(written.entries(written.size() - 100))
    if config.users_folder.exists():
        with open_users(config) as users:
            users.accounts()
    if config.cases_folder.exists():
        with open_cases(config) as cases:
            list(cases.find(Wanted(), 1))
    if config.index_folder.exists():
        with open_guidelines(config) as index:
            index.documents()


def prove_offline(config: Config) -> Finding:
    """Whether the main job is done without a network, recorded where there is a log."""
    from appliance.edges import offline_proof

    try:
        release = find_release(config.releases_folder, config.release)
        finding = offline_proof.prove_offline(release)
        if has_log(config.log_folder):
            with open_audit(config) as log:
                said = {"state": finding.state, "said": finding.text}
                log.append("offline.done", {**said, "release": release.card.sha256})
    except (ReleaseError, AuditError) as exc:
        return Finding(offline_proof.NAME, "bad", exc.message, exc.hint, exc.exit_code)
    return finding
