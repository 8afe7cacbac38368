"""The machine's clocks."""

import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from appliance.core.entry import Moment

BOOT_NAME = Path("/proc/sys/kernel/random/boot_id")  # Linux: a random name for each boot

UP_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Since the machine's start; on Linux it goes on while the machine sleeps."""


def now() -> Moment:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return Moment(at, _boot(), time.clock_gettime_ns(UP_CLOCK) // 1_000_000)


@cache
def _boot() -> str:
    try:
        return BOOT_NAME.read_text().strip()[:8]
    except OSError:
        return ""
