"""Readings kept from one run to the next: a picture seen before is not read again.

A `Captioner` in front of another. What is kept is the caption's text, the label scores and the
features, never pixels; a picture is known by a keyed hash of its pixels, the release and the
vision encoder. The file is this user's only, holds a bounded number and may be deleted at any
time. What cannot be kept or found again whole never fails a consultation: the model is asked.
"""

import hashlib
import hmac
import json
import sqlite3
from array import array
from contextlib import closing
from pathlib import Path
from typing import Literal

from appliance.core.ports import Captioner, Picture, Reading, ReleaseCard
from appliance.private_files import kept_secret, make_private_folder

ENGINE_VERSION = 1
"""Raised when the same release would read the same picture otherwise."""
MOST_KEPT = 2000
"""Pictures, 12 kB each with MedGemma. The one not asked for the longest goes first."""
BUSY_S = 2.0
SEAL_BYTES = 64
"""Of the keyed hash before each value, in hex."""
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS kept "
    "(picture BLOB PRIMARY KEY, used INTEGER NOT NULL, features BLOB, reading TEXT) STRICT"
)
NEXT_USE = "(SELECT coalesce(max(used), 0) + 1 FROM kept)"

Column = Literal["features", "reading"]


class KeptReadings:
    """Answers from what is kept, else from `captioner`."""

    def __init__(self, captioner: Captioner, folder: Path, encoder: str) -> None:
        """`encoder` names the vision encoder that `captioner` uses."""
        self._captioner = captioner
        self._folder = folder
        self._reader = f"{ENGINE_VERSION} {captioner.release.sha256} {encoder} ".encode()

    @property
    def release(self) -> ReleaseCard:
        return self._captioner.release

    def features(self, picture: Picture) -> tuple[float, ...]:
        kept = self._kept("features", picture)
        if kept is not None:
            return tuple(array("f", kept))
        found = self._captioner.features(picture)
        self._keep("features", picture, array("f", found).tobytes())
        return found

    def read(self, picture: Picture, *, anew: bool = False) -> Reading:
        kept = None if anew else self._kept("reading", picture)
        if kept is not None:
            found = json.loads(kept)
            return Reading(found["text"], tuple(found["label_scores"]))
        reading = self._captioner.read(picture, anew=anew)
        said = {"text": reading.text, "label_scores": reading.label_scores}
        self._keep("reading", picture, json.dumps(said).encode())
        return reading

    def _kept(self, column: Column, picture: Picture) -> bytes | None:
        try:
            with closing(self._open()) as database, database:
                key = self._key(picture)
                database.execute(f"UPDATE kept SET used = {NEXT_USE} WHERE picture = ?", (key,))
                row = database.execute(
                    f"SELECT CAST({column} AS BLOB) FROM kept WHERE picture = ?", (key,)
                )
                sealed = next(iter(row.fetchone() or ()), None) or b""
                value = sealed[SEAL_BYTES:]
                return value if sealed == self._sealed(column, key, value) else None
        except (OSError, sqlite3.Error):
            return None

    def _keep(self, column: Column, picture: Picture, value: bytes) -> None:
        try:
            with closing(self._open()) as database, database:
                key = self._key(picture)
                sealed = self._sealed(column, key, value)
                database.execute(
                    f"INSERT INTO kept (picture, used, {column}) VALUES (?, {NEXT_USE}, ?) "
                    f"ON CONFLICT DO UPDATE SET {column} = excluded.{column}",
                    (key, sealed.decode() if column == "reading" else sealed),
                )
                database.execute(
                    "DELETE FROM kept WHERE picture IN "
                    "(SELECT picture FROM kept ORDER BY used DESC LIMIT -1 OFFSET ?)",
                    (MOST_KEPT,),
                )
        except sqlite3.DatabaseError as exc:
            if type(exc) is sqlite3.DatabaseError:  # damaged, not locked or full: begin anew
                self._file.unlink(missing_ok=True)
        except OSError:
            pass

    def _key(self, picture: Picture) -> bytes:
        return self._mac(self._reader + hashlib.sha256(picture.rgb).digest())

    def _sealed(self, column: Column, key: bytes, value: bytes) -> bytes:
        """Behind a keyed hash: without a sync a power cut may leave half of it."""
        return self._mac(column.encode() + key + value).hex().encode() + value

    def _mac(self, said: bytes) -> bytes:
        return hmac.digest(kept_secret(self._folder / "key"), said, "sha256")

    @property
    def _file(self) -> Path:
        return self._folder / "readings.db"

    def _open(self) -> sqlite3.Connection:
        make_private_folder(self._folder)
        self._file.touch(mode=0o600)
        database = sqlite3.connect(self._file, timeout=BUSY_S)
        try:
            database.execute("PRAGMA secure_delete = ON")
            database.execute("PRAGMA synchronous = OFF")  # what a power cut takes is read again
            database.execute(SCHEMA)
        except sqlite3.Error:
            database.close()
            raise
        return database
