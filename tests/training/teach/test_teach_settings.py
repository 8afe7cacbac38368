"""Claims about a teaching run's recipe and key."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.training.teach.scripted_endpoint import (
    KEY,
    Play,
    Request,
    ScriptedEndpoint,
    caption_text,
    completion,
    failure,
)
from tests.training.teach.teaching import (
    CONFIG,
    KEY_VARIABLE,
    always_right,
    files,
    knowing,
    run_teach,
)
from training.labels import label_set


def test_the_key_is_written_nowhere(data: Path, tmp_path: Path) -> None:
    know = knowing(data)

    def script(request: Request, _: int) -> Play:
        if know(request) == "normal chest":
            return failure(400, f"sent with {KEY}")
        return completion(caption_text(know(request)))

    with ScriptedEndpoint(script) as server:
        result = run_teach(server, data, tmp_path)
    assert any(request.headers["Authorization"] == f"Bearer {KEY}" for request in server.requests)
    assert KEY not in result.output
    assert not any(KEY.encode() in content for content in files(tmp_path).values())


def test_a_missing_key_is_an_error_naming_its_variable(data: Path, tmp_path: Path) -> None:
    with ScriptedEndpoint(always_right(data)) as server:
        result = run_teach(server, data, tmp_path, key=None)
        assert result.exit_code == 2 and KEY_VARIABLE in result.stderr
        assert server.requests == []
        assert run_teach(server, data, tmp_path, "--dry-run", key=None).exit_code == 0


def test_the_committed_recipe_is_whole() -> None:
    written = tomllib.loads(CONFIG.read_text(encoding="utf-8"))
    assert CONFIG.read_text(encoding="utf-8").startswith("# OPENAI_API_KEY=... python -m training")
    assert written["sampling"]["kept_per_label"] * len(label_set()) >= 1676, "the reference's size"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"concurrency": 0}, "`concurrency` is not a whole number above 0"),
        ({"concurrency": "8"}, "`concurrency` is not a whole number above 0"),
        ({"budget": -1}, "`budget` is not a number from 0 up"),
        ({"asked_per_label": 0}, "`asked_per_label` is not a whole number above 0"),
        ({"asked_per_label": 1, "kept_per_label": 2}, "`asked_per_label` is less than"),
        ({"domains": ["dental"]}, "`domains` is not a list out of skin, fundus, chest"),
        ({"domains": []}, "`domains` is not a list out of"),
        ({"answer_format": "xml"}, "`answer_format` is not one of json_schema, json_object"),
        ({"output_limit": "none"}, "`output_limit` is not one of"),
        ({"train": 0.8}, "the shares do not add up to 1"),
        ({"base_url": "https://user:secret@host/v1"}, "`base_url` is not an http(s) address"),
        ({"base_url": "https://host/v1?key=secret"}, "`base_url` is not an http(s) address"),
        ({"base_url": "file:///etc"}, "`base_url` is not an http(s) address"),
    ],
)
def test_a_setting_that_cannot_be_used_is_an_error_naming_it(
    data: Path, tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with ScriptedEndpoint(always_right(data)) as server:
        result = run_teach(server, data, tmp_path, **changes)
    assert result.exit_code == 2 and complaint in result.stderr
    assert server.requests == []
