"""Guidelines that a kit brings answer when two people say so, and the clinic's own go along."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

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


def test_nothing_is_noted_that_is_not_so(home: Path) -> None:
    """Anybody may run `kit note`: it runs when nobody can be signed in."""
    for what in ("installed", "went-back"):
        assert run(["kit", "note", what]) == 1
    assert not (home / "log").exists()
