"""Readings kept from one run to the next. The captioner behind them counts what it is asked."""

import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from stand_ins import CARD, OneReading

from appliance.core.ports import Picture, Reading
from appliance.edges import kept_readings
from appliance.edges.kept_readings import KeptReadings


class Counting(OneReading):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def read(self, picture: Picture, *, anew: bool = False) -> Reading:
        self.asked.append("read anew" if anew else "read")
        return super().read(picture, anew=anew)

    def features(self, picture: Picture) -> tuple[float, ...]:
        self.asked.append("features")
        return super().features(picture)


@pytest.fixture
def asked() -> Counting:
    return Counting()


def picture(number: int) -> Picture:
    return Picture(bytes([number]) * 48, 4, "", "PNG", 4, 4, None)


def test_a_picture_seen_before_is_not_read_again(asked: Counting, tmp_path: Path) -> None:
    first = KeptReadings(asked, tmp_path / "kept", "ggml")
    features, reading = first.features(picture(1)), first.read(picture(1))
    again = KeptReadings(asked, tmp_path / "kept", "ggml")  # another run
    assert again.features(picture(1)) == pytest.approx(features)
    assert again.read(picture(1)) == reading
    assert asked.asked == ["features", "read"]
    again.read(picture(2))
    assert asked.asked == ["features", "read", "read"]


def test_another_release_or_encoder_reads_for_itself(asked: Counting, tmp_path: Path) -> None:
    KeptReadings(asked, tmp_path, "ggml").read(picture(1))
    KeptReadings(asked, tmp_path, "onnx").read(picture(1))
    asked.release = replace(CARD, sha256="cd" * 32)
    KeptReadings(asked, tmp_path, "ggml").read(picture(1))
    assert asked.asked == ["read"] * 3


def test_anew_reads_again_and_keeps_what_it_read(asked: Counting, tmp_path: Path) -> None:
    kept = KeptReadings(asked, tmp_path, "ggml")
    kept.read(picture(1))
    asked.reading = Reading("another", (-1.0,))
    assert kept.read(picture(1), anew=True).text == "another"
    assert kept.read(picture(1)).text == "another"
    assert asked.asked == ["read", "read anew"]


@pytest.mark.parametrize(
    "damage",
    [
        "reading = substr(reading, 1, length(reading) - 9), features = substr(features, 1, 67)",
        "reading = '', features = x''",
        "reading = replace(reading, 'label', 'lobel'), features = zeroblob(9000)",
        "reading = CAST(x'ff' AS TEXT) || reading, features = substr(features, 5)",
    ],
)
def test_what_was_kept_and_damaged_is_read_again(
    asked: Counting, tmp_path: Path, damage: str
) -> None:
    kept = KeptReadings(asked, tmp_path, "ggml")
    features, reading = kept.features(picture(1)), kept.read(picture(1))
    with closing(sqlite3.connect(tmp_path / "readings.db", isolation_level=None)) as database:
        assert database.execute(f"UPDATE kept SET {damage}").rowcount == 1
    assert kept.features(picture(1)) == pytest.approx(features)
    assert kept.read(picture(1)) == reading
    assert asked.asked == ["features", "read"] * 2
    assert kept.read(picture(1)) == reading and len(asked.asked) == 4, "kept anew"


def test_the_one_not_asked_for_the_longest_goes_first(
    asked: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_readings, "MOST_KEPT", 2)
    kept = KeptReadings(asked, tmp_path, "ggml")
    for number in (1, 2, 1, 3):
        kept.read(picture(number))
    asked.asked.clear()
    kept.read(picture(1))
    kept.read(picture(3))
    assert asked.asked == []
    kept.read(picture(2))
    assert asked.asked == ["read"]


def test_what_is_kept_is_for_this_user_only_and_holds_no_pixels(
    asked: Counting, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    KeptReadings(asked, folder, "ggml").read(picture(77))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert bytes([77]) * 8 not in file.read_bytes()


def test_a_damaged_file_is_begun_anew(asked: Counting, tmp_path: Path) -> None:
    kept = KeptReadings(asked, tmp_path, "ggml")
    reading = kept.read(picture(1))
    (tmp_path / "readings.db").write_bytes(b"no database at all" * 100)
    asked.asked.clear()
    for _ in range(4):
        assert kept.read(picture(1)) == reading
    assert asked.asked == ["read"] * 2  # the first finds it damaged, the second is kept


def test_where_nothing_can_be_kept_the_model_is_asked(asked: Counting, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept = KeptReadings(asked, tmp_path / "file" / "kept", "ggml")
    assert kept.read(picture(1)) == kept.read(picture(1))
    assert asked.asked == ["read", "read"]
