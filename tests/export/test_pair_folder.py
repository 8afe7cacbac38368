"""Claims about the folder of a pair: it says what made it, and is whole or not there."""

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
from click.testing import CliRunner

from appliance.release.manifest import MODEL, PROJECTOR, hash_file
from export.__main__ import main
from export.checkpoint import read_checkpoint
from export.errors import ExportError
from export.pair import DESCRIPTION, PairSource, read_pair, write_pair
from export.text_gguf import write_text_gguf
from export.vision_gguf import write_vision_gguf
from training.checkpoint import weights_hash

Change = Callable[[dict[str, Any]], Any]


def quietly(line: str) -> None:
    """Nobody reads a test's progress."""


@pytest.fixture(scope="module")
def written(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pairs") / "pair"
    write_pair(published, out, "tiny", quietly)
    return out


@pytest.fixture
def spoiled(written: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(written, tmp_path / "spoiled"))


def test_a_pair_is_the_two_writers_files_and_what_made_them(
    published: Path, written: Path, tmp_path: Path
) -> None:
    checkpoint = read_checkpoint(published)
    write_text_gguf(checkpoint, tmp_path / MODEL, "tiny")
    write_vision_gguf(checkpoint, tmp_path / PROJECTOR, "tiny")
    assert {path.name for path in written.iterdir()} == {MODEL, PROJECTOR, DESCRIPTION}
    assert [path.name for path in written.parent.iterdir()] == [written.name]
    pair = read_pair(written)
    assert pair.source == PairSource(weights_hash(published), "F16", "F16", None, ())
    assert {name: file.sha256 for name, file in pair.files.items()} == {
        name: hash_file(tmp_path / name) for name in (MODEL, PROJECTOR)
    }


def test_what_is_said_while_writing_names_both_files(published: Path, tmp_path: Path) -> None:
    said: list[str] = []
    write_pair(published, tmp_path / "pair", "tiny", said.append)
    assert [f"writing {name}" for name in (MODEL, PROJECTOR)] == said[-2:]


def test_the_description_names_no_folder_of_the_machine(published: Path, written: Path) -> None:
    for file in written.iterdir():
        content = file.read_bytes()
        assert not any(str(folder).encode() in content for folder in (published, written))


@pytest.mark.parametrize("name", [MODEL, PROJECTOR])
def test_a_flipped_byte_is_refused_by_the_files_name(spoiled: Path, name: str) -> None:
    content = bytearray((spoiled / name).read_bytes())
    content[len(content) // 2] ^= 1
    (spoiled / name).write_bytes(content)
    with pytest.raises(ExportError, match=f"{spoiled / name}: is not the file that {DESCRIPTION}"):
        read_pair(spoiled)


@pytest.mark.parametrize("name", [MODEL, PROJECTOR, DESCRIPTION])
def test_a_missing_file_is_named(spoiled: Path, name: str) -> None:
    (spoiled / name).unlink()
    with pytest.raises(ExportError, match=f"{spoiled / name}: cannot be read .No such file"):
        read_pair(spoiled)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda said: said.update(format=2), "format 2, expected 1"),
        (lambda said: said.update(text="Q2_K"), "unknown kinds 'Q2_K' and 'F16'"),
        (lambda said: said["files"].pop(PROJECTOR), f"KeyError: '{PROJECTOR}'"),
        (lambda said: said.update(files=[MODEL]), "TypeError"),
        (lambda said: said.pop("weights_sha256"), "weights_sha256"),
    ],
)
def test_a_description_that_is_none_is_refused(spoiled: Path, change: Change, reason: str) -> None:
    described = json.loads((spoiled / DESCRIPTION).read_text(encoding="utf-8"))
    change(described)
    (spoiled / DESCRIPTION).write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(ExportError, match=f"{DESCRIPTION}: describes no pair .*{reason}"):
        read_pair(spoiled)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe"])
def test_a_description_that_is_no_json_object_is_refused(spoiled: Path, content: bytes) -> None:
    (spoiled / DESCRIPTION).write_bytes(content)
    with pytest.raises(ExportError, match=f"{DESCRIPTION}: describes no pair"):
        read_pair(spoiled)


def test_what_is_at_out_already_is_not_overwritten(published: Path, spoiled: Path) -> None:
    before = (spoiled / DESCRIPTION).read_bytes()
    with pytest.raises(ExportError, match=f"there is something at {spoiled} already"):
        write_pair(published, spoiled, "tiny", quietly)
    assert (spoiled / DESCRIPTION).read_bytes() == before


def test_a_model_that_cannot_be_written_leaves_nothing(copied: Path, tmp_path: Path) -> None:
    (copied / "README.md").write_text("---\nlicense: [\n---\n", encoding="utf-8")
    with pytest.raises(ExportError, match=r"README\.md .* cannot be read"):
        write_pair(copied, tmp_path / "pair", "tiny", quietly)
    assert [path.name for path in tmp_path.iterdir()] == ["copied"]


def test_a_disk_that_fills_leaves_nothing(published: Path, tmp_path: Path) -> None:
    """Stood in for by the largest file that the system lets this process write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(ExportError, match=r"cannot be written \(File too large"):
            write_pair(published, tmp_path / "pair", "tiny", quietly)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_attempt_left_is_no_obstacle(published: Path, tmp_path: Path) -> None:
    stale = tmp_path / "pair.partial" / "stale"
    stale.parent.mkdir()
    stale.touch()
    write_pair(published, tmp_path / "pair", "tiny", quietly)
    assert [path.name for path in tmp_path.iterdir()] == ["pair"]
    assert not (tmp_path / "pair" / "stale").exists()


def test_the_command_names_the_model_as_asked(published: Path, tmp_path: Path) -> None:
    out = tmp_path / "pair"
    done = CliRunner().invoke(main, ["gguf", str(published), str(out), "--name", "clinic"])
    assert (done.exit_code, done.stdout) == (0, f"{out}\n")
    named = gguf.GGUFReader(out / MODEL).fields["general.name"].contents()
    assert named == "clinic"


def test_the_command_says_in_one_line_why_a_model_is_refused(copied: Path, tmp_path: Path) -> None:
    (copied / "tokenizer.model").unlink()
    done = CliRunner().invoke(main, ["gguf", str(copied), str(tmp_path / "pair")])
    assert done.exit_code == 1
    said = f"Error: {copied}: no tokenizer.model (SentencePiece); copy it from the base\n"
    assert done.stderr == said
