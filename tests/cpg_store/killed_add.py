"""An add in a process of its own that dies at a chosen point, and what the index is like after."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

from cpg_store.embed import Embedder
from cpg_store.index import Index
from cpg_store.ingest import add_document
from cpg_store.search import search

SCABIES = "# Scabies\nApply permethrin cream to the whole body and wash it off after eight hours.\n"
GOUT = "# Gout\nGive colchicine for an acute attack of gout and rest the swollen joint.\n"

PROJECT = Path(__file__).resolve().parents[2]

# Counts the system's acts on files and dies at the one asked for: what Python itself opens, renames
# and removes, and every statement of the catalogue.
_ADD_AND_DIE = """
import os, signal, sys
from pathlib import Path
from cpg_store.embed import Embedder
from cpg_store.index import Index
from cpg_store.ingest import add_document
directory, document, last = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
index = Index.open(directory, Embedder.default())
acts = 0

def act(*_):
    global acts
    acts += 1
    if acts == last:
        os.kill(os.getpid(), signal.SIGKILL)

def watch(event, arguments):
    if event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "sqlite3.connect"):
        act()
    elif event == "open" and str(directory) in str(arguments[0]):
        act()

sys.addaudithook(watch)
index.catalogue._connection.set_trace_callback(act)
add_document(index, document)
print(acts)
"""


def acts_of_an_add(directory: Path, document: Path) -> int:
    """How many acts an add of `document` to the index takes; it is added."""
    return int(_run(directory, document, 0).stdout)


def _run(directory: Path, document: Path, last: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _ADD_AND_DIE, str(directory), str(document), str(last)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


def broken_after_kill(folder: Path, embedder: Embedder, where: float) -> list[str]:
    """Kill an add of scabies.md to an index with gout.md; says what is wrong after.

    `folder` holds both files; `where`: the share of the add's acts that are done, 0 to 1.
    """
    whole, directory = folder / "whole", folder / "killed"
    counted = folder / "acts.json"
    if not counted.exists():
        with Index.open(whole, embedder, create=True) as index:
            add_document(index, folder / "gout.md")
        shutil.copytree(whole, folder / "counted")
        counted.write_text(json.dumps(acts_of_an_add(folder / "counted", folder / "scabies.md")))
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(whole, directory)
    last = 1 + int(where * json.loads(counted.read_text()))
    killed = _run(directory, folder / "scabies.md", last)
    at = f"killed at act {last}: "
    if killed.returncode != -9 and "Error" in killed.stderr:
        return [at + killed.stderr[-300:]]
    broken = []
    with Index.open(directory, embedder) as index:
        before = {document.file_name for document in index.documents()}
        if not {"gout.md"} <= before <= {"gout.md", "scabies.md"}:
            broken.append(f"{at}documents {sorted(before)}")
        if len(search(index, "colchicine for gout")) != 1:
            broken.append(f"{at}the old document is not found")
        if bool(search(index, "permethrin for scabies")) != ("scabies.md" in before):
            broken.append(f"{at}what is found and what is listed differ")
        broken += [at + problem for problem in index.check()]
        add_document(index, folder / "scabies.md")
        broken += [f"{at}after adding again: {problem}" for problem in index.check()]
        if len(search(index, "permethrin for scabies")) != 1:
            broken.append(f"{at}added again, it is not found")
    return broken


def random_points(count: int, seed: int) -> list[float]:
    draw = random.Random(seed)
    return [draw.random() for _ in range(count)]
