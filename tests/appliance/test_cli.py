"""The commands, as a person or a program runs them."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from stand_ins import OneReading, ports

from appliance.cli.caption import print_consultation
from appliance.cli.main import main, run
from appliance.core.consult import consult
from appliance.core.scope import TAGS_OUTSIDE
from appliance.release.manifest import MANIFEST
from appliance.release.shelf import BUILT_IN

CONTRACT = {
    "image": {"path", "sha256", "kind", "width", "height", "note", "text_regions"},
    "caption": {
        "label",
        "image_type",
        "anatomical_region",
        "key_findings",
        "clinical_significance",
    },
    "decision": {"kind", "labels", "reason", "risk"},
    "release": {"name", "sha256", "demonstration"},
    "audit": {"seq", "hash"},
}
KEYS = {
    *CONTRACT,
    "case",
    "domain",
    "label_probabilities",
    "limits",
    "guidelines",
    "passages",
    "atlas",
    "timings_ms",
    "error",
}
PASSAGE_KEYS = {
    *("text", "document", "edition", "page", "section", "grade", "evidence", "score"),
    *("passage_id", "publisher", "isbn", "page_label", "last_page", "kind", "grading"),
    *("language", "caution"),
}


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def sample_index(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["guidelines", "add", "--sample"]) == 0
    capsys.readouterr()


@pytest.mark.usefixtures("sample_index")
def test_a_radiograph_becomes_a_recorded_caption_with_passages(
    chest_dicom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["caption", "--json", "--k", "3", str(chest_dicom)]) == 0
    [result] = printed(capsys)
    assert set(result) == KEYS
    for key, inner in CONTRACT.items():
        assert set(result[key]) == inner, key
    assert result["domain"] == "chest"
    assert sum(result["label_probabilities"].values()) == pytest.approx(1)
    assert result["release"]["demonstration"] is True
    assert result["error"] is None
    for passage in result["passages"]:
        assert set(passage) == PASSAGE_KEYS
        assert passage["document"].startswith("Sample Guideline") and passage["page"] >= 1
        assert passage["edition"] == "Demonstration edition, 2026"
    assert run(["audit", "show", str(result["audit"]["seq"])]) == 0
    [entry] = printed(capsys)
    assert entry["hash"] == result["audit"]["hash"]
    assert entry["body"]["caption"] == result["caption"]
    assert "an adult (60 to 69 years)" in result["limits"][0]
    assert entry["body"]["limits"][0] == TAGS_OUTSIDE
    assert "adult" not in json.dumps(entry), "what the tags say is shown, not kept"
    assert run(["audit", "verify"]) == 0


def test_the_same_picture_gives_the_same_answer(
    chest_dicom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["caption", "--json", "--no-lookup", str(chest_dicom), str(chest_dicom)]) == 0
    one, other = printed(capsys)
    for key in KEYS - {"audit", "case", "timings_ms"}:
        assert one[key] == other[key], key


def test_a_closed_standard_input_is_an_empty_one(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -m appliance caption --no-lookup "$1" - <&-', sys.executable, "x"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "APPLIANCE_HOME": str(tmp_path / "home")},
    )
    assert done.returncode == 1 and "x" in done.stderr + done.stdout
    assert "unforeseen" not in done.stderr


def test_one_bad_picture_does_not_stop_the_others(
    chest_dicom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing.png"
    Image.new("RGB", (50, 50), "grey").save(tmp_path / "blank.png")
    (tmp_path / "empty").mkdir()
    paths = [str(missing), str(tmp_path / "empty"), str(tmp_path / "blank.png"), str(chest_dicom)]
    assert run(["caption", "--json", "--no-lookup", *paths]) == 1
    results = printed(capsys)
    assert [result["image"]["path"] for result in results] == paths
    codes = [result["error"] and result["error"]["code"] for result in results]
    assert codes == ["image-missing", "image-not-a-file", "image-blank", None]
    for result in results:
        assert set(result) == KEYS and result["audit"]["seq"]


def test_words_for_a_person_name_the_release_as_a_demonstration(
    chest_dicom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["caption", "--no-lookup", str(chest_dicom)]) == 0
    shown = capsys.readouterr().out
    assert "not for clinical use" in shown and "decision" in shown and "record" in shown


def test_a_site_sets_its_own_risk_target(
    chest_dicom: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir()
    (home / "settings.toml").write_text("risk = 0.01\n", encoding="utf-8")
    assert run(["caption", "--json", "--no-lookup", str(chest_dicom)]) == 0
    assert run(["--risk", "0.3", "caption", "--json", "--no-lookup", str(chest_dicom)]) == 0
    careful, bold = (result["decision"] for result in printed(capsys))
    assert (careful["risk"], bold["risk"]) == (0.01, 0.3)
    assert set(bold["labels"]) < set(careful["labels"])
    assert run(["--risk", "0.005", "caption", str(chest_dicom)]) == 2


def test_a_risk_that_the_release_was_not_measured_for_is_refused(
    chest_dicom: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(BUILT_IN, home / "releases" / "few")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for by_risk in manifest["calibration"]["thresholds"].values():
        for risk in ("0.01", "0.02"):
            del by_risk[risk]
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    chosen = ["--release", "few", "--risk"]
    assert run([*chosen, "0.02", "caption", "--no-lookup", str(chest_dicom)]) == 2
    assert "0.03 to 0.3" in capsys.readouterr().err
    assert run([*chosen, "0.03", "caption", "--no-lookup", str(chest_dicom)]) == 0


def test_without_an_index_a_caption_says_what_to_do(
    chest_dicom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["caption", str(chest_dicom)]) == 3
    shown = capsys.readouterr().err
    assert "no guideline index" in shown and "guidelines add" in shown and "--no-lookup" in shown


@pytest.mark.usefixtures("sample_index")
def test_lookup_finds_the_page_and_says_when_there_is_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["lookup", "--json", "--k", "2", "melanoma", "urgent", "referral"]) == 0
    found = printed(capsys)
    assert "elanoma" in found[0]["section"] and found[0]["page"] == 5
    assert run(["lookup", "--json", "rawatan", "retinopati", "hipertensif"]) == 0
    assert "ypertensive" in printed(capsys)[0]["section"]
    assert run(["lookup", "football", "results"]) == 0
    assert capsys.readouterr().out == "nothing relevant found\n"


@pytest.mark.usefixtures("sample_index")
def test_a_bad_document_changes_nothing_in_the_index(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pymupdf: Any = importlib.import_module("pymupdf")  # untyped

    scan, locked, prose = tmp_path / "scan.pdf", tmp_path / "locked.pdf", tmp_path / "x.pdf"
    document = pymupdf.open()
    document.new_page().draw_rect((10, 10, 200, 200), fill=(0, 0, 0))
    document.save(scan)
    document[0].insert_text((50, 300), "secret")
    document.save(locked, encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="x", owner_pw="y")
    prose.write_text("no PDF")
    paths = [str(scan), str(locked), str(prose), str(tmp_path), str(tmp_path / "none.pdf")]
    assert run(["guidelines", "add", *paths]) == 1
    shown = capsys.readouterr().err
    for path in paths:
        assert path in shown
    assert shown.count("error:") == shown.count("hint:") == 5
    assert "scanned, not indexed" in shown and "password" in shown
    assert run(["guidelines", "list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert run(["guidelines", "check"]) == 0


@pytest.mark.usefixtures("sample_index")
def test_adding_twice_changes_nothing_and_removing_takes_it_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["guidelines", "add", "--sample", "--json"]) == 0
    [again] = printed(capsys)
    assert again["is_new"] is False
    assert run(["guidelines", "remove", "--yes", again["document_id"]]) == 0
    assert run(["guidelines", "list"]) == 0
    assert "Sample" not in capsys.readouterr().out
    assert run(["guidelines", "remove", "--yes", again["document_id"]]) == 1


def test_a_broken_log_is_exit_4_and_nothing_is_shown(
    chest_dicom: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "log").mkdir(parents=True)
    (home / "log" / "audit.db").write_bytes(b"x" * 5000)
    assert run(["caption", "--no-lookup", str(chest_dicom)]) == 4
    shown = capsys.readouterr()
    assert shown.out == "" and "audit log" in shown.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["caption"], 2),
        (["nonsense"], 2),
        (["--threads", "-2", "config"], 2),
        (["audit", "show", "77"], 3),
        (["--release", "none", "release", "verify"], 3),
        (["--release", "../x", "release", "verify"], 3),
        (["release", "verify"], 0),
        (["release", "list"], 0),
        (["release", "show"], 0),
        (["audit", "verify"], 3),
        (["config"], 0),
        (["--version"], 0),
    ],
)
def test_exit_codes_are_the_contracts(arguments: list[str], code: int) -> None:
    assert run(arguments) == code


def test_a_hostile_file_name_cannot_move_the_cursor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["caption", "--no-lookup", str(tmp_path / "a\x1b[2J\x9b31m\u202eb.png")]) == 1
    shown = capsys.readouterr()
    for character in "\x1b\x9b\u202e":
        assert character not in shown.out + shown.err


def test_every_command_explains_itself() -> None:
    def walk(group: Any, path: list[str]) -> None:
        for name, command in group.commands.items():
            assert command.help, [*path, name]
            if hasattr(command, "commands"):
                walk(command, [*path, name])

    walk(main, [])


HEAVY = (
    "textual llama_cpp chromadb numpy onnxruntime pymupdf sqlite_utils PIL pydicom torch "
    "cryptography segno"
)


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from appliance.cli.main import run\n"
        "code = run(['--help'])\n"
        f"print(code, [name for name in {HEAVY.split()} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.slow
def test_a_caption_imports_no_training_library_and_opens_no_internet_socket(
    chest_dicom: Path,
) -> None:
    """In a process without pytest: chromadb silences its telemetry when it sees pytest."""
    script = (
        "import sys\n"
        "opened = []\n"
        "def watch(event, args):\n"
        "    if event == 'socket.connect' and not isinstance(args[1], (str, bytes)):\n"
        "        opened.append(args[1])\n"
        "    if event == 'socket.getaddrinfo': opened.append(args[0])\n"
        "sys.addaudithook(watch)\n"
        "from appliance.cli.main import run\n"
        "codes = [run(['guidelines', 'add', '--sample']), run(['caption', sys.argv[1]])]\n"
        "build_side = ['torch', 'transformers', 'peft', 'sentence_transformers', 'training']\n"
        "print(codes, opened, [name for name in build_side if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, chest_dicom],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    assert done.stdout.splitlines()[-1] == "[0, 0] [] []"


def test_a_command_is_no_surer_than_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    captioner = OneReading(scores=(0.0, -6.0, -9.0, -9.0))
    print_consultation(consult("x.png", ports(captioner=captioner), 0), looked_up=False)
    told = " ".join(capsys.readouterr().out.split())
    assert "melanoma >99%, melanocytic nevus <1%" in told
