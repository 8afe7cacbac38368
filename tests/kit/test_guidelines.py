"""Guidelines that a kit brings answer when two people say so, and the clinic's own go along."""

import io
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.main import run
from appliance.config import Config, load_config
from appliance.core.entry import Entry
from appliance.edges.backup import make_backup
from appliance.edges.guideline_sets import OWN, made_ready, newer_sets, set_names
from appliance.edges.guidelines import GuidelineIndex
from appliance.edges.restore import restore_backup
from appliance.edges.sealed_file import Cost
from appliance.errors import ConfigError, GuidelineError, GuidelineIndexError
from appliance.wiring import (
    activate_guidelines,
    change_setting,
    find_faults,
    open_audit,
    open_guidelines,
    read_audit,
)

AT = "2026-05-06T07:08:09.000+00:00"
CHEAP = Cost(memory_kib=64, passes=1, lanes=1)
TEXTS = {
    "ours": "# Ward rules\n\n## Handover\n\nThe registrar signs the ward book at seven.\n",
    "shared": "# Fever chart\n\n## Fever\n\nMeasure the temperature every four hours.\n",
    "first": "# National guideline, first edition\n\n## Dose\n\nGive the tablet once a day.\n",
    "second": "# National guideline, second edition\n\n## Dose\n\nGive the tablet twice a day.\n",
}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    paths = {}
    for name, text in TEXTS.items():
        paths[name] = tmp_path_factory.getbasetemp() / f"{name}.md"
        paths[name].write_text(text, encoding="utf-8")
    return paths


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, texts: dict[str, Path]) -> Path:
    """A home with two documents of the clinic's own, and what two kits brought; the first as an
    index, the second as documents. One document is the clinic's and the first kit's."""
    home = tmp_path_factory.mktemp("made")
    add(Config(home), texts["ours"], texts["shared"])
    (home / "guidelines" / "kit-7").mkdir(parents=True)
    add(Config(home, guidelines="kit-7"), texts["first"], texts["shared"])
    documents = home / "guidelines" / "kit-8" / "documents"
    documents.mkdir(parents=True)
    (documents / "second.md").write_text(TEXTS["second"], encoding="utf-8")
    return home


@pytest.fixture
def clinic(home: Path, made: Path) -> Config:
    shutil.copytree(made, home)
    return Config(home)


def add(config: Config, *paths: Path) -> None:
    with GuidelineIndex(config.index_folder, "", create=True) as index:
        for path in paths:
            index.add(path, title=None, edition=None)


def in_force(config: Config) -> Config:
    return load_config({"APPLIANCE_HOME": str(config.home)}, {})


def titles(config: Config) -> set[str]:
    with open_guidelines(in_force(config)) as index:
        assert index.check() == []
        return {document.title for document in index.documents()}


def entries(config: Config) -> list[Entry]:
    with read_audit(config) as log:
        return [one for one in log.entries() if one.kind.startswith("guideline.activate")]


def test_a_set_answers_with_the_clinics_own_documents_and_back(clinic: Config) -> None:
    change = activate_guidelines(clinic, "kit-7")
    assert titles(clinic) == {
        "Ward rules", "Fever chart", "National guideline, first edition",
    }  # fmt: skip
    assert change.before is not None and len(change.before.documents) == 2
    activate_guidelines(in_force(clinic), OWN)
    assert titles(clinic) == {"Ward rules", "Fever chart"}
    with open_guidelines(in_force(clinic)) as index:
        assert index.content() == change.before
    assert "guidelines" not in (clinic.home / "settings.toml").read_text(), (
        "an older version, which does not know the setting, can be gone back to"
    )


def test_what_is_both_the_clinics_and_a_kits_outlives_that_kit(clinic: Config) -> None:
    activate_guidelines(clinic, "kit-7")
    activate_guidelines(in_force(clinic), "kit-8")
    assert titles(clinic) == {
        "Ward rules", "Fever chart", "National guideline, second edition",
    }  # fmt: skip


def test_what_the_clinic_states_of_a_document_goes_along_to_a_set_that_has_it(
    clinic: Config, texts: dict[str, Path]
) -> None:
    again = ["guidelines", "add", str(texts["shared"]), "--superseded-by"]
    assert run([*again, "the chart of 2027"]) == 0
    activate_guidelines(clinic, "kit-7")
    assert stated(clinic, "Fever chart") == "superseded by the chart of 2027"
    assert run([*again, "the chart of 2028"]) == 0
    activate_guidelines(in_force(clinic), OWN)
    assert stated(clinic, "Fever chart") == "superseded by the chart of 2028"


def stated(config: Config, title: str) -> str:
    with open_guidelines(in_force(config)) as index:
        (found,) = (one for one in index.documents() if one.title == title)
    return found.notes[-1]


@pytest.mark.parametrize("removed_before", [False, True])
def test_a_kits_document_that_the_clinic_adds_itself_outlives_that_kit(
    clinic: Config, texts: dict[str, Path], *, removed_before: bool
) -> None:
    activate_guidelines(clinic, "kit-7")
    if removed_before:
        with open_guidelines(in_force(clinic)) as index:
            (first,) = (one for one in index.documents() if one.title.endswith("first edition"))
        assert run(["guidelines", "remove", "--yes", first.document_id]) == 0
    assert run(["guidelines", "add", str(texts["first"])]) == 0
    activate_guidelines(in_force(clinic), "kit-8")
    assert titles(clinic) == {
        "Ward rules", "Fever chart",
        "National guideline, first edition", "National guideline, second edition",
    }  # fmt: skip
    activate_guidelines(in_force(clinic), OWN)
    assert "National guideline, first edition" in titles(clinic)


def test_the_set_of_a_first_install_goes_and_what_the_clinic_added_stays(
    clinic: Config, texts: dict[str, Path]
) -> None:
    """Where nothing answers yet, the installer puts the kit's set in use."""
    shutil.rmtree(clinic.own_index)
    assert run(["guidelines", "activate", "kit-7"]) == 0
    assert titles(clinic) == {"National guideline, first edition", "Fever chart"}
    assert run(["guidelines", "add", str(texts["ours"])]) == 0
    assert run(["guidelines", "activate", "kit-8"]) == 0
    assert titles(clinic) == {"National guideline, second edition", "Ward rules"}


def test_a_set_that_was_named_by_hand_takes_nothing_until_it_is_activated(
    clinic: Config, texts: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (clinic.home / "settings.toml").write_text('guidelines = "kit-7"\n')
    assert run(["guidelines", "add", str(texts["ours"])]) == 1
    assert "never made ready" in capsys.readouterr().err
    with pytest.raises(GuidelineError, match="never made ready") as refused:
        activate_guidelines(in_force(clinic), "kit-8")
    assert "activate kit-7" in refused.value.hint
    activate_guidelines(in_force(clinic), "kit-7")
    assert "Ward rules" in titles(clinic)
    activate_guidelines(in_force(clinic), "kit-8")
    assert titles(clinic) == {
        "Ward rules", "Fever chart", "National guideline, second edition",
    }  # fmt: skip


def test_nothing_is_added_to_or_taken_from_a_set_that_was_left(
    clinic: Config, texts: dict[str, Path]
) -> None:
    """By a command that read the settings before the switch, wherever it is killed."""
    activate_guidelines(clinic, "kit-7")
    with open_guidelines(clinic) as index:
        before = index.content()
        with pytest.raises(GuidelineError, match="put in use meanwhile: kit-7"):
            index.add(texts["first"], title=None, edition=None)
        with pytest.raises(GuidelineError, match="put in use meanwhile: kit-7"):
            index.remove(before.documents[0])
        assert index.content() == before


def test_what_is_added_and_removed_meanwhile_goes_along(
    clinic: Config, texts: dict[str, Path]
) -> None:
    activate_guidelines(clinic, "kit-8")
    assert run(["guidelines", "add", str(texts["first"])]) == 0
    with open_guidelines(in_force(clinic)) as index:
        (ward,) = (one for one in index.documents() if one.title == "Ward rules")
    assert run(["guidelines", "remove", "--yes", ward.document_id]) == 0
    activate_guidelines(in_force(clinic), OWN)
    assert titles(clinic) == {"Fever chart", "National guideline, first edition"}


def test_the_record_says_what_answered_and_what_answers(clinic: Config) -> None:
    activate_guidelines(clinic, "kit-7")
    asked, done = entries(clinic)
    assert asked.body == {"before": OWN, "set": "kit-7"}
    with open_guidelines(in_force(clinic)) as index:
        now = index.content()
    assert done.body["set"] == "kit-7"
    assert (done.body["documents"], done.body["sha256"]) == (list(now.documents), now.sha256)
    assert len(done.body["before"]["documents"]) == 2
    assert done.body["before"]["sha256"] != now.sha256


def test_a_set_that_is_damaged_is_not_put_in_use(clinic: Config) -> None:
    catalogue = clinic.sets_folder / "kit-7" / "index" / "catalogue.sqlite3"
    content = bytearray(catalogue.read_bytes())
    place = content.index(b"once a day")
    content[place : place + 4] = b"five"
    catalogue.write_bytes(content)
    with pytest.raises(GuidelineIndexError, match="not whole"):
        activate_guidelines(clinic, "kit-7")
    assert in_force(clinic).guidelines == ""
    assert [one.kind for one in entries(clinic)][-1] == "guideline.activate.failed"


def test_an_activation_cut_short_is_done_by_doing_it_again(clinic: Config) -> None:
    """As by a kill after the clinic's documents were carried, before the set is named."""
    with made_ready(clinic, "kit-8"):
        pass
    assert titles(clinic) == {"Ward rules", "Fever chart"}
    activate_guidelines(clinic, "kit-8")
    assert "Ward rules" in titles(clinic)


ACTIVATE_AND_DIE = """
import os, signal, sys
from appliance.cli.main import run
act, place = sys.argv[1:]
def watch(event, arguments):
    if event == act and any(place in str(one) for one in arguments[:2]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
run(["guidelines", "activate", "kit-8"])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "place"),
    [
        ("os.rename", "kit-8/index/manifest.json"),  # the kit's document is not yet in
        ("os.rename", "kit-8/holds.json"),
        ("open", "kit-8/index/documents"),  # pages of the clinic's document
        ("os.rename", "home/settings.toml"),
    ],
)
def test_a_set_half_made_ready_is_not_used_and_made_whole_by_the_next_activation(
    clinic: Config, tmp_path: Path, act: str, place: str
) -> None:
    import pymupdf  # with the tests that make a PDF only

    new_document: Any = pymupdf.open
    document = new_document()
    page = document.new_page()
    page.insert_text((72, 100), "Ward plan", fontsize=16)
    page.insert_text((72, 140), "The ward has twelve beds and one side room.")
    document.save(tmp_path / "plan.pdf")
    add(clinic, tmp_path / "plan.pdf")
    command = [sys.executable, "-c", ACTIVATE_AND_DIE, act, place]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    own = {"Ward rules", "Fever chart", "Ward plan"}
    assert in_force(clinic).guidelines == "" and titles(clinic) == own
    activate_guidelines(in_force(clinic), "kit-8")
    assert titles(clinic) == {*own, "National guideline, second edition"}
    with open_guidelines(in_force(clinic)) as index:
        (plan,) = (one for one in index.documents() if one.title == "Ward plan")
        assert index.page_picture(plan.document_id, 1)


ACTIVATE_WHILE_ANOTHER_ADDS = """
import shutil, sys
from pathlib import Path
from appliance.cli.main import run
home = Path(sys.argv[1])
def watch(event, arguments):
    if event == "os.rename" and "kit-8/holds.json" in str(arguments[1]):
        shutil.copytree(home / "added", home / "index", dirs_exist_ok=True)
sys.addaudithook(watch)
sys.exit(run(["guidelines", "activate", "kit-8"]))
"""


@pytest.mark.slow
def test_a_first_document_that_is_added_meanwhile_is_not_left_behind(clinic: Config) -> None:
    """Of a clinic that had none: there was no index yet that could be held."""
    clinic.own_index.rename(clinic.home / "added")
    command = [sys.executable, "-c", ACTIVATE_WHILE_ANOTHER_ADDS, str(clinic.home)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "added meanwhile" in refused.stderr
    assert in_force(clinic).guidelines == ""
    activate_guidelines(clinic, "kit-8")
    assert "Ward rules" in titles(clinic)


def test_nobody_adds_a_document_while_sets_are_switched(clinic: Config) -> None:
    with (
        made_ready(clinic, "kit-7"),
        open_guidelines(clinic) as index,
        pytest.raises(GuidelineError, match="another process is writing"),
    ):
        index.add(clinic.sets_folder / "kit-8/documents/second.md", title=None, edition=None)


@pytest.mark.parametrize("name", ["kit-9", "../index", "kit-7/index", OWN])
def test_what_is_no_other_set_is_refused(clinic: Config, name: str) -> None:
    with pytest.raises((GuidelineError, ConfigError), match=r"no such|in use already"):
        activate_guidelines(clinic, name)


def test_the_setting_alone_does_not_switch(clinic: Config) -> None:
    with pytest.raises(ConfigError, match="a command of their own"):
        change_setting(clinic, "guidelines", "kit-7")
    (clinic.home / "settings.toml").write_text('guidelines = "../elsewhere"\n')
    with pytest.raises(ConfigError, match="a set's name"):
        in_force(clinic)


def test_a_set_in_use_that_is_gone_is_said(clinic: Config) -> None:
    with pytest.raises(GuidelineIndexError, match="not on this machine"):
        open_guidelines(replace(clinic, guidelines="kit-9"))


def test_lists_doctor_and_answers_name_the_set(
    clinic: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set_names(clinic) == [OWN, "kit-7", "kit-8"] and newer_sets(clinic)[-1] == "kit-8"
    warned = [one for one in find_faults(clinic) if "not in use: kit-8" in one.text]
    assert warned and "list --set kit-8" in warned[0].hint
    assert run(["guidelines", "list", "--set", "kit-7"]) == 0
    assert capsys.readouterr().err == "set kit-7, not in use\n"
    assert run(["guidelines", "activate", "kit-7"]) == 0
    assert "kit-7 is in use: 3 documents" in capsys.readouterr().out
    assert run(["lookup", "--json", "tablet once a day"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["guidelines"] == "kit-7"
    assert any("set kit-7: 3 documents" in one.text for one in find_faults(in_force(clinic)))
    assert run(["guidelines", "sets", "--json"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["set"] for one in said if one["in_use"]] == ["kit-7"]


def test_what_is_not_indexed_yet_can_be_looked_at(
    clinic: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["guidelines", "list", "--set", "kit-8"]) == 0
    assert "kit-8/documents/second.md" in capsys.readouterr().err
    assert run(["guidelines", "sets"]) == 0
    assert "kit-8: 0 documents, 1 to be indexed" in capsys.readouterr().out


def test_a_backup_brings_the_set_in_use_and_the_clinics_own(clinic: Config, tmp_path: Path) -> None:
    activate_guidelines(clinic, "kit-7")
    config = in_force(clinic)
    with open_audit(config) as log:
        file = make_backup(config, log, tmp_path / "a.backup", "words", AT, [], CHEAP).file
    other = tmp_path / "other"
    restore_backup(file, "words", other, AT)
    there = load_config({"APPLIANCE_HOME": str(other)}, {})
    with open_guidelines(config) as here, open_guidelines(there) as index:
        assert index.content() == here.content()
    activate_guidelines(there, OWN)
    assert titles(there) == {"Ward rules", "Fever chart"}
    assert not (other / "guidelines" / "kit-8").exists(), "what is not in use is not in a backup"


def test_a_backup_brings_the_set_that_its_settings_name(clinic: Config, tmp_path: Path) -> None:
    """Though it is made with settings that were read before another set was put in use."""
    activate_guidelines(clinic, "kit-7")
    with open_audit(clinic) as log:
        file = make_backup(clinic, log, tmp_path / "a.backup", "words", AT, [], CHEAP).file
    other = tmp_path / "other"
    restore_backup(file, "words", other, AT)
    there = load_config({"APPLIANCE_HOME": str(other)}, {})
    assert there.guidelines == "kit-7"
    assert titles(there) == titles(clinic)


def test_sets_that_the_backup_lacks_are_set_aside(
    clinic: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with open_audit(clinic) as log:
        file = make_backup(clinic, log, tmp_path / "a.backup", "words", AT, [], CHEAP).file
    activate_guidelines(clinic, "kit-7")
    monkeypatch.setattr("sys.stdin", io.StringIO("words\n"))
    assert run(["restore", str(file), "--yes", "--replace"]) == 0
    said = capsys.readouterr()
    assert "sets that the backup lacks, kit-7, kit-8: " in said.err
    aside = Path(said.out.splitlines()[-1].removeprefix("what was there is in "))
    assert titles(clinic) == {"Ward rules", "Fever chart"}
    assert set_names(clinic) == [OWN]
    assert set_names(Config(aside)) == [OWN, "kit-7", "kit-8"]


def test_nothing_is_noted_that_is_not_so(home: Path) -> None:
    """Anybody may run `kit note`: it runs when nobody can be signed in."""
    for what in ("installed", "went-back"):
        assert run(["kit", "note", what]) == 1
    assert not (home / "log").exists()
