"""Claims about how a teaching run waits, stops, goes on and pays, against a real HTTP server."""

import os
import signal
import subprocess
import sys
import threading
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
    kept,
    knowing,
    pictures,
    recipe_text,
    rejected,
    run_teach,
)
from training.teach.answers import only_run_in
from training.teach.asking import MOST_FAILURES_IN_A_ROW

ANSWER_COST = (1000 * 1.25 + 200 * 10) / 1e6
"""Of one answer of the scripted endpoint at the prices of the recipe."""


def test_a_busy_and_failing_endpoint_is_waited_out(data: Path, tmp_path: Path) -> None:
    know = knowing(data)
    first = [failure(429, Retry_After="0.2"), failure(500), failure(500)]

    def script(request: Request, number: int) -> Play:
        return first[number] if number < 3 else completion(caption_text(know(request)))

    with ScriptedEndpoint(script) as server:
        run_teach(server, data, tmp_path, most_attempts=5)
    assert len(kept(tmp_path)) == 3 and rejected(tmp_path) == []
    assert len(server.requests) == 6


def test_a_silent_endpoint_costs_the_image_its_turn_and_is_counted(
    data: Path, tmp_path: Path
) -> None:
    know = knowing(data)

    def script(request: Request, _: int) -> Play:
        if know(request) == "viral pneumonia":
            return Play(b"", silent=True)
        return completion(caption_text(know(request)))

    with ScriptedEndpoint(script) as server:
        run_teach(server, data, tmp_path, timeout_s=0.3, most_attempts=1)
    assert {row["label"] for row in kept(tmp_path)} == {"normal chest", "bacterial pneumonia"}
    assert {row["reason"] for row in rejected(tmp_path)} == {"no answer"}
    assert "more for lost attempts" in (tmp_path / "run" / "DATA_CARD.md").read_text()


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusing_endpoint_stops_the_run_at_once(data: Path, tmp_path: Path, status: int) -> None:
    with ScriptedEndpoint(lambda *_: failure(status, f"wrong key {KEY}")) as server:
        result = run_teach(server, data, tmp_path, concurrency=1)
    assert result.exit_code == 1 and f"status {status}" in result.stderr
    assert len(server.requests) == 1
    assert not (tmp_path / "run" / "captions.jsonl").exists()


def test_an_endpoint_that_answers_nobody_is_given_up(data: Path, tmp_path: Path) -> None:
    with ScriptedEndpoint(lambda *_: failure(500)) as server:
        result = run_teach(server, data, tmp_path, domains=["skin"], most_attempts=1, concurrency=1)
    assert result.exit_code == 1 and "images in a row" in result.stderr
    assert len(server.requests) == MOST_FAILURES_IN_A_ROW


def test_an_attempt_that_was_lost_before_the_answer_is_counted_too(
    data: Path, tmp_path: Path
) -> None:
    right = always_right(data)

    def script(request: Request, number: int) -> Play:
        return Play(b"", silent=True) if number == 0 else right(request, number)

    with ScriptedEndpoint(script) as server:
        run_teach(server, data, tmp_path, timeout_s=0.5)
    assert len(kept(tmp_path)) == 3
    assert "more for lost attempts" in (tmp_path / "run" / "DATA_CARD.md").read_text()


def test_a_finished_run_started_again_asks_nothing_and_makes_the_samefiles(
    data: Path, tmp_path: Path
) -> None:
    with ScriptedEndpoint(always_right(data)) as server:
        run_teach(server, data, tmp_path, "--date", "2026-01-02")
        asked = len(server.requests)
        made = files(tmp_path / "run")
        run_teach(server, data, tmp_path, "--date", "2026-01-02")
    assert len(server.requests) == asked == 3
    assert files(tmp_path / "run") == made


def test_a_killed_run_goes_on_and_asks_nothing_twice(data: Path, tmp_path: Path) -> None:
    right, hangs = always_right(data), threading.Event()
    answered_first = 3

    def script(request: Request, number: int) -> Play:
        if number == answered_first:
            hangs.set()
            return Play(b"", silent=True)
        return right(request, number)

    config = tmp_path / "teach.toml"
    settings: dict[str, Any] = {"kept_per_label": 2, "concurrency": 1}
    with ScriptedEndpoint(script) as server:
        config.write_text(recipe_text(server.base_url, timeout_s=60, **settings), encoding="utf-8")
        code = "from training.teach.command import teach; teach()"
        arguments = ["--data", data, "--config", config, "--run", tmp_path / "run"]
        child = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=CONFIG.parents[2],
            env=os.environ | {KEY_VARIABLE: KEY, "NO_PROXY": "127.0.0.1"},
            stderr=subprocess.DEVNULL,
        )
        assert hangs.wait(60)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        before = [request.picture for request in server.requests[:answered_first]]
        result = run_teach(server, data, tmp_path, **settings)
        after = [request.picture for request in server.requests[answered_first + 1 :]]
    assert result.exit_code == 0, result.output
    assert len(kept(tmp_path)) == 6 and len(after) == 3
    assert not set(before) & set(after)


def test_another_model_or_form_of_answer_is_asked_afresh(data: Path, tmp_path: Path) -> None:
    with ScriptedEndpoint(always_right(data)) as server:
        run_teach(server, data, tmp_path)
        run_teach(server, data, tmp_path, model="another")
        run_teach(server, data, tmp_path, answer_format="json_object")
    assert len(server.requests) == 9


def test_what_was_cut_off_is_asked_again_with_a_higher_limit_and_nothing_else_is(
    data: Path, tmp_path: Path
) -> None:
    know, right = knowing(data), always_right(data)

    def script(request: Request, number: int) -> Play:
        if know(request) == "viral pneumonia" and request.body["max_completion_tokens"] < 300:
            return completion('{"label": "viral', finish_reason="length")
        return right(request, number)

    short: dict[str, Any] = {"asked_per_label": 1, "most_output_tokens": 200}
    with ScriptedEndpoint(script) as server:
        for _ in range(2):
            run_teach(server, data, tmp_path, **short)
            assert [row["reason"] for row in rejected(tmp_path)] == ["cut off"]
            assert len(server.requests) == 3
        run_teach(server, data, tmp_path, **{**short, "most_output_tokens": 300})
        assert rejected(tmp_path) == [] and len(kept(tmp_path)) == 3
        again = run_teach(server, data, tmp_path, **short)
    assert len(server.requests) == 4
    assert f"3 answers here ({4 * ANSWER_COST:.2f} dollars)" in again.stderr
    assert len(kept(tmp_path)) == 3, "an answer that was whole stays whole"


def test_a_second_run_in_the_same_folder_asks_nothing(data: Path, tmp_path: Path) -> None:
    with ScriptedEndpoint(always_right(data)) as server:
        with only_run_in(tmp_path / "run"):
            result = run_teach(server, data, tmp_path)
            assert result.exit_code == 1
            assert f"another `teach` is running in {tmp_path / 'run'}; wait" in result.stderr
            assert run_teach(server, data, tmp_path, "--dry-run").exit_code == 0
            assert server.requests == []
        assert run_teach(server, data, tmp_path).exit_code == 0


def test_an_image_without_an_answer_is_asked_about_by_the_next_run(
    data: Path, tmp_path: Path
) -> None:
    with ScriptedEndpoint(lambda *_: failure(500)) as server:
        run_teach(server, data, tmp_path, asked_per_label=1, most_attempts=1)
    assert len(rejected(tmp_path)) == 3
    with ScriptedEndpoint(always_right(data)) as server:
        run_teach(server, data, tmp_path, asked_per_label=1)
    assert len(kept(tmp_path)) == 3 and rejected(tmp_path) == []


def test_the_estimate_comes_before_the_first_request(data: Path, tmp_path: Path) -> None:
    with ScriptedEndpoint(always_right(data)) as server:
        result = run_teach(server, data, tmp_path, "--dry-run", kept_per_label=1)
    assert result.exit_code == 0 and server.requests == []
    assert "to ask: 3 to 6 images" in result.stderr
    assert "estimate: " in result.stderr and "budget 40.00" in result.stderr
    assert not (tmp_path / "run").exists()


def test_the_budget_stops_the_run_before_it_is_exceeded(data: Path, tmp_path: Path) -> None:
    budget = 3.5 * ANSWER_COST
    with ScriptedEndpoint(always_right(data)) as server:
        result = run_teach(
            server, data, tmp_path, kept_per_label=2, budget=budget, most_output_tokens=200
        )
        assert result.exit_code == 1 and "budget" in result.stderr
        assert len(server.requests) == len(kept(tmp_path)) == 3
        assert "**Not finished:**" in (tmp_path / "run" / "DATA_CARD.md").read_text()
        result = run_teach(server, data, tmp_path, kept_per_label=2, most_output_tokens=200)
    assert result.exit_code == 0 and len(kept(tmp_path)) == 6
    assert max(pictures(server).values()) == 1, "what was paid for is not asked again"


def test_the_cost_is_what_the_answers_report(data: Path, tmp_path: Path) -> None:
    dear: dict[str, Any] = {"input_per_million": 1250, "output_per_million": 10000}
    with ScriptedEndpoint(always_right(data)) as server:
        run_teach(server, data, tmp_path, budget=1000, **dear)
    card = (tmp_path / "run" / "DATA_CARD.md").read_text()
    assert f"Cost: {3 * 1000 * ANSWER_COST:.2f} dollars" in card


def test_no_more_requests_are_under_way_than_the_recipe_says(data: Path, tmp_path: Path) -> None:
    together = threading.Barrier(3, timeout=20)
    right = always_right(data)

    def script(request: Request, number: int) -> Play:
        together.wait()  # breaks unless three requests are under way at once
        return right(request, number)

    with ScriptedEndpoint(script) as server:
        run_teach(server, data, tmp_path, kept_per_label=2, concurrency=3)
    assert server.most_at_once == 3 and len(kept(tmp_path)) == 6


def test_a_damaged_answer_is_an_error_naming_its_file(data: Path, tmp_path: Path) -> None:
    with ScriptedEndpoint(always_right(data)) as server:
        run_teach(server, data, tmp_path)
        answer = next((tmp_path / "run" / "answers").iterdir())
        answer.write_text('{"model": ', encoding="utf-8")
        result = run_teach(server, data, tmp_path)
    assert result.exit_code == 1 and answer.name in result.stderr
    assert len(server.requests) == 3
