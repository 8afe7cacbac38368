"""Which entries an export is to hold."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from appliance.core.entry import Entry
from appliance.core.kinds import is_known
from appliance.errors import ConfigError


@dataclass(frozen=True)
class Selection:
    """All entries, but for what is given."""

    since: datetime | None = None
    """Not before; with its time zone."""
    until: datetime | None = None
    """Before."""
    kinds: tuple[str, ...] = ()
    """`caption` takes `caption.asked` and `caption.answered`; a whole kind only itself."""
    user: str | None = None
    image: str | None = None
    """The log's own mark of an image, not the image's hash."""

    def holds(self, entry: Entry) -> bool:
        at = datetime.fromisoformat(entry.at)
        return (
            (self.since is None or at >= self.since)
            and (self.until is None or at < self.until)
            and (not self.kinds or any(_is_of(entry.kind, kind) for kind in self.kinds))
            and (self.user is None or entry.user == self.user)
            and (self.image is None or entry.body.get("image") == self.image)
        )

    def as_json(self, *, with_user: bool) -> dict[str, Any]:
        """What was asked for, without what was not. A user whom the log does not know is not
        named: anything may have been typed."""
        given = {key: value for key, value in asdict(self).items() if value not in (None, ())}
        if not with_user and self.user is not None:
            given["user"] = ""
        for key in ("since", "until"):
            if key in given:
                given[key] = given[key].isoformat()
        return given


def read_time(text: str) -> datetime:
    """An ISO 8601 date or time, UTC unless it says otherwise. Raises: ConfigError."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ConfigError(
            f"not a date or time: {text!r}", "write 2026-01-31 or 2026-01-31T08:00"
        ) from exc
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def known_kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """The same. Raises: ConfigError for one that no entry can have."""
    for kind in kinds:
        if not is_known(kind):
            raise ConfigError(
                f"there are no entries of this kind: {kind}",
                "the kinds stand in `appliance audit list`, for example caption or user.signin",
            )
    return kinds


def _is_of(kind: str, wanted: str) -> bool:
    return kind == wanted or kind.startswith(wanted + ".")
