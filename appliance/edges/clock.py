"""The machine's clocks."""

import time
from datetime import UTC, datetime
from pathlib import Path

from appliance.core.entry import Moment

BOOT_NAME = Path("/proc/sys/kernel/random/boot_id")  # Linux: a random name for each boot


def now() -> Moment:
    try:
        boot = BOOT_NAME.read_text().strip()[:8]
    except OSError:
        boot = ""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return Moment(at, boot, time.monotonic_ns() // 1_000_000)
