"""Recording an act: the intent before it, what came of it after, whatever that was."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from appliance.core.ports import AuditLog
from appliance.errors import ApplianceError, AuditError


@contextmanager
def recorded(audit: AuditLog, act: str, asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Record `act`.asked, run the block, record `act`.done with what the block put in the mapping.

    A failure is recorded as `act`.failed and raised again. Raises: AuditError.
    """
    audit.append(f"{act}.asked", asked)
    outcome: dict[str, Any] = {}
    try:
        yield outcome
    except AuditError:
        raise
    except ApplianceError as exc:
        audit.append(f"{act}.failed", {"error": exc.code})
        raise
    audit.append(f"{act}.done", outcome)
