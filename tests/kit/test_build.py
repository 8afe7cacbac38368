"""The same inputs, the same bytes; and what is said to be in it is what gets installed."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from appliance.errors import ConfigError
from appliance.kit.build import TOOLS, Wanted, build_kit
from appliance.kit.install import install
from appliance.kit.wheels import read_wheel, write_anew
from appliance.release.shelf import BUILT_IN, find_release
from tests.kit.stub_kits import MADE, Bench, imprint, make_wheel


def test_a_kit_built_again_has_the_same_bytes(bench: Bench) -> None:
    bench.build(7, bench.folder / "one")
    shutil.rmtree(bench.folder / "wheels-7")
    bench.build(7, bench.folder / "two")
    assert imprint(bench.folder / "one") == imprint(bench.folder / "two")


def test_a_wheel_written_anew_has_no_times(tmp_path: Path) -> None:
    make_wheel(tmp_path, "small", "1", {"small.py": "x = 1\n", "large.bin": "weights"})
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        wheel = write_anew(
            tmp_path / "small-1-py3-none-any.whl", tmp_path / folder,
            without=re.compile(r"\.bin$"), added={"more.txt": b"more"}, mark="trimmed",
        )  # fmt: skip
    assert read_wheel(wheel).version == "1+trimmed"
    assert wheel.name == "small-1+trimmed-py3-none-any.whl"
    assert imprint(tmp_path / "one") == imprint(tmp_path / "two")


def test_what_is_installed_is_what_the_bill_says(bench: Bench) -> None:
    kit = bench.kit(7, real_pip=True)
    active = install(kit, bench.place, lambda text: None, lambda: bench.code)
    bill = json.loads((kit / "sbom.json").read_bytes())
    said = {f"{one['name']} {one['version']}" for one in bill["components"]}
    script = "import importlib.metadata as m\nfor d in m.distributions(): print(d.name, d.version)"
    python = bench.place.python(active.current)
    done = subprocess.run([python, "-I", "-c", script], capture_output=True, text=True, check=True)
    there = {line.replace("_", "-") for line in done.stdout.splitlines()}
    assert there == {line for line in said if not line.startswith("pip ")}
    assert bill["metadata"]["timestamp"].startswith("2026-11-22")


def test_every_package_has_its_licence_beside_it(bench: Bench) -> None:
    bench.build(7, bench.folder / "kit")
    text = (bench.folder / "kit" / "licences" / "clinic-appliance-7.txt").read_text()
    assert "stated: MIT" in text and "Permission is granted." in text


def test_a_release_and_an_index_travel_with_it(bench: Bench) -> None:
    bench.build(7, bench.folder / "kit")
    index = bench.folder / "index"
    (index / "vectors").mkdir(parents=True)
    (index / "vectors" / "chroma.sqlite3").write_bytes(b"kept")
    (index / "lock").touch()
    (bench.folder / "more.md").write_text("# More\n")
    release = find_release(BUILT_IN.parent, BUILT_IN.name)
    wanted = Wanted(
        8, MADE, bench.folder / "wheels-7", bench.folder / "keys",
        releases=(release,), answers={release.name: {"skin": {"melanoma": 0.5}}}, index=index,
        guidelines=(bench.folder / "more.md",),
    )  # fmt: skip
    folder = bench.folder / "kit-8"
    build_kit(wanted, folder, lambda text: None)
    from appliance.kit import signing

    for name in ("anna", "bakar"):
        signing.sign_kit(signing.read_to_sign(folder), bench.key(name), str)
    install(folder, bench.place, lambda text: None, lambda: bench.code)
    put = bench.place.home / "releases" / release.name
    assert imprint(put) == imprint(release.directory)
    brought = bench.place.home / "guidelines" / "kit-8"
    assert (brought / "index" / "vectors" / "chroma.sqlite3").read_bytes() == b"kept"
    assert (brought / "documents" / "more.md").read_text() == "# More\n"
    assert json.loads((brought / "set.json").read_bytes())["kit"] == 8
    assert not (bench.place.home / "index").exists()
    assert not list(bench.place.home.rglob("*.partial"))


@pytest.mark.parametrize("name", ["two words.pdf", "caf\u00e9.pdf", "nul.pdf"])
def test_a_name_that_a_stick_may_not_keep_is_refused(bench: Bench, name: str) -> None:
    bench.build(7, bench.folder / "kit")
    (bench.folder / name).write_text("x")
    wanted = Wanted(
        8, MADE, bench.folder / "wheels-7", bench.folder / "keys",
        guidelines=(bench.folder / name,),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="may not keep this name"):
        build_kit(wanted, bench.folder / "out", lambda text: None)


def test_every_file_of_the_packages_goes_into_the_wheel() -> None:
    """What is no Python must be named in pyproject.toml, or an installed appliance lacks it."""
    project = Path(__file__).parents[2]
    tables = tomllib.loads((project / "pyproject.toml").read_text())
    named = tables["tool"]["setuptools"]["package-data"]
    wanted = {
        path.relative_to(project)
        for package in ("appliance", "cpg_store")
        for path in (project / package).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    there = {
        path.relative_to(project)
        for package, patterns in named.items()
        for pattern in patterns
        for path in project.joinpath(*package.split(".")).glob(pattern)
    }
    assert sorted(map(str, wanted - there)) == []


def test_the_verifier_needs_nothing_but_python() -> None:
    """It runs with the system's Python, before anything is installed."""
    import appliance

    package = Path(appliance.__file__).parent
    script = """
import sys
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
import appliance.kit.install
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(new - set(sys.stdlib_module_names) - {"appliance"}))
print(sorted(name for name in sys.modules if name.startswith("appliance.")))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(package.parent)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    foreign, ours = done.stdout.splitlines()
    assert foreign == "[]"
    modules = {f"appliance.{tool.removesuffix('.py').replace('/', '.')}" for tool in TOOLS}
    assert set(eval(ours)) == modules | {"appliance.kit"}
