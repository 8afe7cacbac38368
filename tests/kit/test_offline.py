"""The main job opens no internet socket: counted by strace, in a process without pytest.

chromadb switches its telemetry off when pytest is imported: a count inside pytest proves nothing.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.config import Config
from appliance.edges.offline_proof import prove_offline
from appliance.release.shelf import DEMONSTRATION, find_release

JOB = """
import sys
from pathlib import Path
from appliance.cli.main import run
from appliance.release.drawings import draw, png
picture = Path(sys.argv[1])
picture.write_bytes(png(draw("chest", 0, 512)))
for command in (["guidelines", "add", "--sample"], ["caption", str(picture), "--json"],
                ["lookup", "melanoma"], ["audit", "verify"]):
    assert run(command) == 0, command
assert "pytest" not in sys.modules
"""


@pytest.mark.slow
def test_caption_lookup_and_record_open_no_internet_socket(tmp_path: Path, home: Path) -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    trace = tmp_path / "trace"
    done = subprocess.run(
        ["strace", "-f", "-e", "trace=socket,connect,sendto,io_uring_setup", "-o", trace,
         sys.executable, "-c", JOB, tmp_path / "drawing.png"],
        env={**os.environ, "APPLIANCE_HOME": str(home)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = trace.read_text(errors="replace").splitlines()
    assert any("+++ exited" in line for line in lines), "strace saw nothing"
    assert [line for line in lines if re.search(r"AF_INET|AF_NETLINK|io_uring_setup\(", line)] == []


@pytest.mark.slow
def test_the_proof_says_how_it_was_made(home: Path) -> None:
    finding = prove_offline(find_release(Config(home).releases_folder, DEMONSTRATION))
    assert finding.state == "ok", finding.text
    assert "network namespace" in finding.text or "refuses internet sockets" in finding.text


@pytest.mark.slow
def test_a_job_that_is_not_done_is_no_proof(home: Path, tmp_path: Path) -> None:
    release = find_release(Config(home).releases_folder, DEMONSTRATION)
    copy = tmp_path / "release"
    shutil.copytree(release.directory, copy)
    manifest = (copy / "release.json").read_text()
    (copy / "release.json").write_text(manifest.replace('"demonstration"', '"other"', 1))
    (copy / "model.gguf").write_bytes(b"GGUF")
    finding = prove_offline(find_release(tmp_path, "release"))
    assert finding.state == "bad"
    assert "model.gguf" in finding.text
