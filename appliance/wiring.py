"""The one place where ports meet their edges: Config in, open ports out."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from appliance.config import Config
from appliance.core.consult import Ports
from appliance.core.treatment import RuleBook
from appliance.edges import clock
from appliance.edges.audit_archive import Archive, archive_log
from appliance.edges.audit_aside import set_aside_by_hand
from appliance.edges.audit_db import AuditDatabase
from appliance.edges.audit_reader import AuditReader
from appliance.edges.guidelines import GuidelineIndex
from appliance.edges.image_measures import measure
from appliance.edges.images import ImageFiles
from appliance.edges.kept_readings import KeptReadings
from appliance.edges.llama import LlamaCaptioner
from appliance.edges.treatment_rules import read_rules
from appliance.errors import AuditError, AuditMissingError, ConfigError
from appliance.release.box import suitable_threads
from appliance.release.manifest import Release, refuse_unmeasured_risk
from appliance.release.shelf import find_release


@contextmanager
def open_consultation(config: Config, *, lookup: bool) -> Iterator[Ports]:
    """All that `consult` needs; the model's process starts with the first picture.

    Raises: ReleaseError, AuditError, GuidelineIndexError; ConfigError when the release was not
    measured for the site's risk target.
    """
    with ExitStack() as stack:
        release = find_release(config.releases_folder, config.release)
        refuse_unmeasured_risk(release, config.risk)
        yield Ports(
            images=ImageFiles(config.burned_in_text),
            captioner=_open_keeping(stack, release, config),
            guidelines=stack.enter_context(open_guidelines(config)) if lookup else None,
            audit=stack.enter_context(open_audit(config)),
            clock_s=time.monotonic,
            risk=config.risk,
        )


def open_captioner(release: Release, threads: int, encoder: str = "") -> LlamaCaptioner:
    """The model of a release, verified when its process starts with the first picture; with 0
    `threads` as many as suit it."""
    return LlamaCaptioner(release, threads or suitable_threads(release), encoder)


def _open_keeping(stack: ExitStack, release: Release, config: Config) -> KeptReadings:
    threads = config.threads or suitable_threads(release)
    captioner = LlamaCaptioner(release, threads, config.encoder, longest_s=config.timeout_s)
    encoder = config.encoder or release.encoder
    return KeptReadings(stack.enter_context(captioner), config.kept_folder, encoder)


def open_images() -> ImageFiles:
    return ImageFiles()


measure_picture = measure
"""Of an opened image, what the process that decodes a file takes: core.gate.MEASURES."""


def open_audit(config: Config) -> AuditDatabase:
    """The log, to write to; made on first use."""
    return AuditDatabase(config.log_folder, clock.now)


def read_audit(config: Config, folder: Path | None = None) -> AuditReader:
    """The log, or one in another folder, to read and prove; works on a read-only medium."""
    return AuditReader(folder or config.log_folder)


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


def open_guidelines(
    config: Config, *, create: bool = False, to_rebuild: bool = False
) -> GuidelineIndex:
    return GuidelineIndex(
        config.index_folder,
        config.embedder,
        server=config.index_server,
        create=create,
        to_rebuild=to_rebuild,
    )
