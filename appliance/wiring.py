"""The one place where ports meet their edges: Config in, open ports out."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

from appliance.config import Config
from appliance.core.consult import Ports
from appliance.edges.audit_db import AuditDatabase
from appliance.edges.guidelines import GuidelineIndex
from appliance.edges.images import ImageFiles
from appliance.edges.llama import LlamaCaptioner
from appliance.release.manifest import Release
from appliance.release.shelf import find_release


@contextmanager
def open_consultation(config: Config, *, lookup: bool) -> Iterator[Ports]:
    """All that `consult` needs; the model's process starts with the first picture."""
    with ExitStack() as stack:
        release = find_release(config.releases_folder, config.release)
        yield Ports(
            images=ImageFiles(),
            captioner=stack.enter_context(open_captioner(release, config.thread_count)),
            guidelines=stack.enter_context(open_guidelines(config)) if lookup else None,
            audit=stack.enter_context(open_audit(config)),
            clock_s=time.monotonic,
        )


def open_captioner(release: Release, threads: int) -> LlamaCaptioner:
    """The model of a release, verified when its process starts with the first picture."""
    return LlamaCaptioner(release, threads)


def open_images() -> ImageFiles:
    return ImageFiles()


def open_audit(config: Config) -> AuditDatabase:
    return AuditDatabase(config.log_folder, _now_utc)


def open_guidelines(config: Config, *, create: bool = False) -> GuidelineIndex:
    return GuidelineIndex(config.index_folder, config.embedder, create=create)


def _now_utc() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
