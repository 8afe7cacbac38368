"""A kit installs from a real FAT32 file system, whose driver lists short names in capitals."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.kit.install import install
from tests.kit.stub_kits import Bench

TOOLS = ("mkfs.vfat", "mcopy", "fusefat", "fusermount3")
SIZE_BYTES = 64 << 20


@pytest.fixture
def stick(bench: Bench, tmp_path: Path) -> Iterator[Path]:
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: dosfstools, mtools, fusefat)")
    image, mount = tmp_path / "fat", tmp_path / "stick"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZE_BYTES)
    subprocess.run(["mkfs.vfat", "-F", "32", image], check=True, capture_output=True)
    subprocess.run(["mcopy", "-i", image, "-s", bench.kit(1, real_pip=True), "::"], check=True)
    done = subprocess.run(
        ["fusefat", "-o", "ro", image, mount], capture_output=True, text=True, check=False
    )
    if not mount.is_mount():
        pytest.skip(f"file systems of users cannot be mounted here: {done.stderr.strip()[-200:]}")
    yield mount / "kit-1"
    subprocess.run(["fusermount3", "-u", mount], check=True)


def test_a_kit_installs_from_fat32(bench: Bench, stick: Path) -> None:
    assert "INSTALL.SH" in {path.name for path in stick.iterdir()}
    done = subprocess.run(
        ["sh", stick / "install.sh", "--prefix", bench.place.prefix, "--keys", bench.code],
        env={"PATH": "/usr/bin:/bin", "HOME": str(bench.folder), "APPLIANCE_HOME": "home"},
        cwd=bench.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    started = subprocess.run([bench.place.launcher], capture_output=True, text=True, check=True)
    assert started.stdout == "version 1\n"


def test_the_installed_verifier_reads_it_too(bench: Bench, stick: Path) -> None:
    active = install(stick, bench.place, lambda text: None, lambda: bench.code)
    assert active.version == 1
