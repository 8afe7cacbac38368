"""A Chroma server that a district office runs for many boxes: is it one that may be used?

It is asked over plain HTTP before chromadb's client may act on its answers. The appliance never
starts one. It knows nothing of passages.
"""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from cpg_store.errors import ServerRefused

FIXED_VERSION = (1, 5, 9)
"""Servers from 1.0.0 to 1.5.8 can be made to run code named in a collection (CVE-2026-45829)."""
_HIDDEN_VERSION = "1.0.0"
"""What every server written in Rust answers, whatever its version."""
_FIRST_IN_FIXED_VERSION = "SparseIndexAlgorithm"
"""A schema in the description that the server of 1.5.9 gives of itself, and that of 1.5.8 does
not: compared by running both."""
_SECONDS = 10
_MOST_BYTES = 4 << 20


@dataclass(frozen=True)
class IndexServer:
    """Where a server listens."""

    host: str
    port: int
    is_encrypted: bool

    @classmethod
    def at(cls, url: str) -> "IndexServer":
        """Read `http://host:port`. Raises: ServerRefused."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        plain = not (parts.path.strip("/") or parts.query or parts.fragment or parts.username)
        if parts.scheme not in ("http", "https") or not parts.hostname or not port or not plain:
            hint = "give it as http://host:port or https://host:port"
            raise ServerRefused(f"not the address of an index server: {url!r}", hint)
        return cls(parts.hostname, port, parts.scheme == "https")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.is_encrypted else ''}://{host}:{self.port}"

    def refuse_older(self) -> None:
        """Raises: ServerRefused when it is older than the fixed version, or does not answer."""
        version = self._ask("/api/v2/version")
        if not isinstance(version, str):
            raise self._refusal("does not say its version")
        if version == _HIDDEN_VERSION:
            described = self._ask("/openapi.json")
            schemas = described.get("components", {}) if isinstance(described, dict) else {}
            is_fixed = _FIRST_IN_FIXED_VERSION in schemas.get("schemas", {})
        else:
            is_fixed = _numbers(version) >= FIXED_VERSION
        if not is_fixed:
            raise self._refusal(f"is older than {'.'.join(map(str, FIXED_VERSION))}")

    def stored_configuration(self, collection: str) -> Any:
        """What the server keeps about a collection; None when there is none.

        Raises: ServerRefused.
        """
        place = "/api/v2/tenants/default_tenant/databases/default_database/collections/"
        return self._ask(place + quote(collection, safe=""), may_be_absent=True)

    def _refusal(self, problem: str) -> ServerRefused:
        hint = "ask the office that runs it to update Chroma, or empty the setting `index_server`"
        return ServerRefused(f"the index server {problem}: {self}", hint)

    def _ask(self, path: str, may_be_absent: bool = False) -> Any:
        # With all of HTTP and mail; only a box that shares an index needs them.
        from urllib.error import HTTPError, URLError
        from urllib.request import ProxyHandler, build_opener

        # A proxy of the environment is not asked: the address given is the one that is used.
        opener = build_opener(ProxyHandler({}))
        try:
            with opener.open(str(self) + path, timeout=_SECONDS) as answer:
                return json.loads(answer.read(_MOST_BYTES))
        except HTTPError as exc:
            exc.close()
            if may_be_absent and exc.code == 404:
                return None
            raise self._refusal(f"refuses {path} ({exc.code})") from exc
        except (URLError, OSError, ValueError) as exc:
            hint = "check the network and the setting `index_server`, or empty it"
            raise ServerRefused(f"the index server does not answer: {self}", hint) from exc


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")[:3]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()
