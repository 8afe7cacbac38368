"""Many pictures in one command: which are meant, what is kept, and what a kill leaves."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from stand_ins import OneImage, OneReading, ports

from appliance.cli.batch import Tally, caption_each
from appliance.cli.main import run
from appliance.core.answer import answer_json
from appliance.core.consult import Consultation, consult
from appliance.core.ports import Picture, Reading
from appliance.edges.picture_paths import find_pictures
from appliance.edges.result_file import ResultFile
from appliance.errors import AuditError, ConfigError, ImageError
from tests.varied_radiograph import write_varied

NOTHING = io.BytesIO()
RELEASE, RISK = "ab" * 32, 0.1


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_folder_is_searched_in_order_and_what_is_no_picture_passed_over(tmp_path: Path) -> None:
    """Told by first bytes: a picture may have any name, a text may be called .png."""
    for name, content in {
        "b/2.dcm": bytes(128) + b"DICM",
        "b/10": b"\xff\xd8\xff\xe0",
        "a.webp": b"RIFF\0\0\0\0WEBPVP8 ",
        "c.tif": b"II*\0",
        "d.bmp": b"BM",
        "text.png": b"no picture",
        "empty.png": b"",
        ".hidden.png": b"\x89PNG",
        ".cache/1.png": b"\x89PNG",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe.png")
    found = find_pictures([str(tmp_path)], NOTHING)
    names = [str(Path(path).relative_to(tmp_path)) for path in found.paths]
    assert names == ["a.webp", "b/10", "b/2.dcm", "c.tif", "d.bmp"]
    assert found.passed_over == 3


def test_a_list_is_told_from_a_picture_by_its_content(tmp_path: Path) -> None:
    listed = tmp_path / "list.png"
    listed.write_bytes("\ufeffone.png\r\n\r\n# ü.png\r\n/abs/two.png".encode())
    picture = tmp_path / "picture.txt"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    found = find_pictures([str(picture), str(listed)], NOTHING)
    assert found.paths == [
        str(picture),
        str(tmp_path / "one.png"),
        str(tmp_path / "# ü.png"),
        "/abs/two.png",
    ]


def test_standard_input_is_read_only_when_asked(tmp_path: Path) -> None:
    source = io.BytesIO(b"a.png\nb\xff.png\n")
    assert find_pictures(["x.png"], source).paths == ["x.png"]
    assert find_pictures(["-", "x.png"], source).paths == ["a.png", "b\udcff.png", "x.png"]


@pytest.mark.parametrize("content", [b"", b" \n\n", b"caf\xe9.png\n", b"a\0b"])
def test_what_is_neither_stands_for_itself(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    (tmp_path / "empty").mkdir()
    arguments = [str(tmp_path / name) for name in ("x", "empty", "missing")]
    assert find_pictures(arguments, NOTHING).paths == arguments


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_without_permission_is_not_passed_over(tmp_path: Path) -> None:
    for name in ("closed", "open"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "closed").chmod(0)
    found = find_pictures([str(tmp_path)], NOTHING).paths
    (tmp_path / "closed").chmod(0o700)
    assert found == [str(tmp_path / "closed"), str(tmp_path / "open" / "a.png")]


def test_the_same_results_as_one_by_one_and_each_failure_is_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = write_varied(tmp_path / "folder", 3)
    (tmp_path / "more").mkdir()
    pictures[2] = pictures[2].rename(tmp_path / "more" / "a.png")
    (tmp_path / "none").mkdir()
    (tmp_path / "list.txt").write_text("more/a.png\nmissing.png\n", encoding="utf-8")
    arguments = [str(tmp_path / name) for name in ("folder", "none", "list.txt")]
    assert run(["caption", "--json", "--no-lookup", *arguments]) == 1
    shown = capsys.readouterr()
    together = [json.loads(line) for line in shown.out.splitlines()]
    codes = [row["error"] and row["error"]["code"] for row in together]
    assert codes == [None, None, "image-not-a-file", None, "image-missing"]
    assert "asked about: 5; answered" in shown.err and "1 image-missing" in shown.err
    for path in pictures:
        assert run(["caption", "--json", "--no-lookup", str(path)]) == 0
        [alone] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        [same] = [row for row in together if row["image"]["path"] == str(path)]
        for key in alone.keys() - {"audit", "case", "timings_ms"}:
            assert same[key] == alone[key], key


def result(number: int, error: ImageError | None = None) -> dict[str, Any]:
    """A result line of the picture that `content` makes."""
    found = consult(f"{number}.png", ports(images=OneImage(error=error)), k=0)
    value = answer_json(found)
    value["image"]["sha256"] = None if error else sha256_of(number)
    return value


def content_of(number: int) -> bytes:
    return f"picture {number}".encode()


def sha256_of(number: int) -> str:
    import hashlib

    return hashlib.sha256(content_of(number)).hexdigest()


def test_what_is_answered_is_known_by_content_and_what_failed_is_asked_again(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out.jsonl"
    for number in range(3):
        (tmp_path / f"renamed-{number}").write_bytes(content_of(number))
    with ResultFile(out, RELEASE, RISK) as file:
        file.add(result(0))
        file.add(result(1, ImageError("no such image", "check", code="image-missing")))
        file.add(result(2))
        assert file.holds(str(tmp_path / "renamed-2"))
    torn = out.read_bytes()[:-40]
    out.write_bytes(torn)
    assert out.stat().st_mode & 0o777 == 0o600, "it has paths in it"
    with ResultFile(out, RELEASE, RISK) as file:
        held = [file.holds(str(tmp_path / f"renamed-{number}")) for number in range(3)]
        assert held == [True, False, False]
        assert not file.holds(str(tmp_path)) and not file.holds(str(tmp_path / "missing"))
        file.add(result(2))
    assert [row["image"]["path"] for row in rows(out)] == ["0.png", "2.png"]
    assert [path.name for path in tmp_path.glob("*.partial")] == []


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"a text of mine without an end", "something else"),
        (b"a text of mine\n", "something else in line 1"),
        (b'{"image": {"sha256": null}}\n', "something else in line 1"),
    ],
)
def test_a_file_of_something_else_is_left_as_it_is(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    out = tmp_path / "mine.txt"
    out.write_bytes(content)
    with pytest.raises(ConfigError, match=complaint):
        ResultFile(out, RELEASE, RISK)
    assert out.read_bytes() == content


def test_results_of_another_release_or_risk_or_of_two_runs_are_not_mixed(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with ResultFile(out, RELEASE, RISK) as file:
        file.add(result(0))
        with pytest.raises(ConfigError, match="another run"):
            ResultFile(out, RELEASE, RISK)
    with pytest.raises(ConfigError, match="another release"):
        ResultFile(out, "cd" * 32, RISK)
    with pytest.raises(ConfigError, match=r"risk target of 0\.1, not 0\.05"):
        ResultFile(out, RELEASE, 0.05)
    with pytest.raises(ConfigError, match="is no file"):
        ResultFile(tmp_path, RELEASE, RISK)
    with pytest.raises(ConfigError, match="cannot be written"):
        ResultFile(tmp_path / "none" / "out.jsonl", RELEASE, RISK)


class Stumbling(OneReading):
    """Fails on the second picture as nobody foresaw."""

    asked = 0

    def read(self, picture: Picture, *, anew: bool = False) -> Reading:
        self.asked += 1
        if self.asked == 2:
            raise KeyError("unforeseen")
        return super().read(picture)


def captioned(count: int, **given: Any) -> tuple[Tally, list[Consultation]]:
    shown: list[Consultation] = []
    paths = [f"{number}.png" for number in range(count)]
    tally = caption_each(paths, ports(**given), 0, lambda path: False, shown.append)
    return tally, shown


def test_what_nobody_foresaw_stops_one_picture_and_is_kept_in_full(home: Path) -> None:
    tally, shown = captioned(3, captioner=Stumbling())
    assert [one.error and one.error.code for one in shown] == [None, "unforeseen", None]
    assert (tally.answered, dict(tally.refused), tally.worst) == (2, {"unforeseen": 1}, 1)
    assert "KeyError" in (home / "faults.log").read_text(encoding="utf-8")


def test_a_log_that_cannot_be_written_stops_all() -> None:
    from stand_ins import MemoryLog

    with pytest.raises(AuditError):
        captioned(3, audit=MemoryLog(full_at=3))


def test_an_interrupt_lets_the_picture_at_work_finish() -> None:
    class Interrupted(OneReading):
        def read(self, picture: Picture, *, anew: bool = False) -> Reading:
            os.kill(os.getpid(), signal.SIGINT)
            return super().read(picture)

    before = signal.getsignal(signal.SIGINT)  # ignored, where a shell started this in background
    tally, shown = captioned(3, captioner=Interrupted())
    assert tally.is_stopped and len(shown) == 1 and shown[0].entry is not None
    assert signal.getsignal(signal.SIGINT) is before


def started(out: Path, folder: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "appliance", "--threads", "1", "caption", "--no-lookup"]
    return subprocess.Popen(
        [*command, "--out", str(out), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def wait_for_more(out: Path, size_bytes: int, child: "subprocess.Popen[bytes]") -> None:
    while child.poll() is None and (not out.exists() or out.stat().st_size <= size_bytes):
        time.sleep(0.002)


@pytest.mark.slow
def test_ctrl_c_ends_with_a_whole_file_and_nothing_unanswered_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_varied(tmp_path / "folder", 12)
    out = tmp_path / "out.jsonl"
    child = started(out, tmp_path / "folder")
    wait_for_more(out, 0, child)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130
    assert b"Traceback" not in said and b"answered" in said
    assert 1 <= len(rows(out)) < 12
    assert all(row["error"] is None for row in rows(out))
    assert run(["audit", "list", "--json", "--last", "99"]) == 0
    kinds = [json.loads(line)["kind"] for line in capsys.readouterr().out.splitlines()]
    assert kinds.count("caption.asked") == kinds.count("caption.answered") == len(rows(out))


@pytest.mark.slow
def test_however_often_it_is_killed_every_picture_is_there_once(tmp_path: Path) -> None:
    pictures = write_varied(tmp_path / "folder", 12)
    out = tmp_path / "out.jsonl"
    rng = random.Random(0)
    for _ in range(10):
        child = started(out, tmp_path / "folder")
        wait_for_more(out, out.stat().st_size if out.exists() else 0, child)
        time.sleep(rng.uniform(0, 0.15))
        child.kill()
        child.communicate()
    child = started(out, tmp_path / "folder")
    _, said = child.communicate(timeout=120)
    assert child.returncode == 0, said
    assert sorted(row["image"]["path"] for row in rows(out)) == [str(path) for path in pictures]
    assert all(row["decision"] for row in rows(out))
