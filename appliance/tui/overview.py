"""What the status screen tells: the release, the index, the log, the disk, and the findings."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from appliance.config import Config
from appliance.errors import ApplianceError
from appliance.tui.desk import Opened
from appliance.tui.words import Words

if TYPE_CHECKING:
    from appliance.core.health import Finding
    from appliance.core.ports import ReleaseCard

GIGABYTE = 1e9


@dataclass(frozen=True)
class Overview:
    config: Config
    card: "ReleaseCard | None"
    """None: there is no usable release."""
    version: str
    documents: int
    passages: int
    entries: int
    checkpoint: str
    """When the newest was made; UTC, empty where there is none."""
    free_bytes: int
    findings: "Sequence[Finding]"

    def facts(self, say: Words) -> Iterator[tuple[str, str]]:
        """Name, as a key of the catalogue under `status`, and what is told."""
        if self.card is None:
            yield "release", say("status.no_release")
        else:
            yield "release", f"{self.card.name} {self.version} ({self.card.sha256[:12]})"
            if self.card.demonstration:
                yield "use", say("answer.demonstration")
            else:
                yield "use", say("status.real")
        yield "index", say("status.indexed", documents=self.documents, passages=self.passages)
        yield "log", say("status.entries", count=self.entries)
        when = self.checkpoint[:16].replace("T", " ")
        yield "checkpoint", f"{when} UTC" if when else say("status.no_checkpoint")
        yield "disk", say("status.free", gigabytes=f"{self.free_bytes / GIGABYTE:.1f}")
        yield "people", say(f"status.access.{self.config.access}")
        yield "place", str(self.config.home)


def overview(opened: Opened) -> Overview:
    """What cannot be opened counts as none: the findings say why."""
    from appliance.release.shelf import find_release
    from appliance.wiring import find_faults

    config = opened.config
    card, version, documents, passages, entries, checkpoint = None, "", 0, 0, 0, ""
    try:
        release = find_release(config.releases_folder, config.release)
        card, version = release.card, release.version
    except ApplianceError:
        pass
    try:
        indexed = opened.guidelines.documents()
        documents, passages = len(indexed), sum(each.passages for each in indexed)
    except ApplianceError:
        pass
    try:
        entries, kept = opened.audit.size(), opened.audit.checkpoints()
        checkpoint = kept[-1].at if kept else ""
    except ApplianceError:
        pass
    place = next(p for p in (config.home, *config.home.parents) if p.exists())
    free_bytes = shutil.disk_usage(place).free
    findings = find_faults(config, quick=True)
    return Overview(
        config, card, version, documents, passages, entries, checkpoint, free_bytes, findings
    )


def checkpoint_code(opened: Opened) -> str:
    """Sign the log as it stands; the short code for the register. Raises: AuditError."""
    from appliance.core.checkpoint import read_checkpoint, short_code

    return short_code(read_checkpoint(opened.audit.sign("shown")))
