"""Claims about one request to an OpenAI-compatible endpoint, against a real HTTP server."""

import asyncio
import time
from dataclasses import replace

import pytest

from tests.training.teach.scripted_endpoint import (
    KEY,
    MODEL,
    Play,
    Script,
    ScriptedEndpoint,
    failure,
)
from tests.training.teach.scripted_endpoint import completion as good
from training.teach.endpoint import Endpoint, EndpointRefused, NoAnswer, retry_after_s
from training.teach.recipe import EndpointSettings, Patience
from training.teach.teacher import Answer

PATIENCE = Patience(
    concurrency=4, timeout_s=5, most_attempts=4, first_wait_s=0.01, longest_wait_s=2
)


def ask(script: Script, patience: Patience = PATIENCE) -> tuple[Answer, ScriptedEndpoint]:
    with ScriptedEndpoint(script) as server:
        return asyncio.run(_ask(server.base_url, patience)), server


async def _ask(base_url: str, patience: Patience) -> Answer:
    settings = EndpointSettings(base_url, "teacher", "KEY", "json_schema", "max_tokens", 9, {})
    async with Endpoint(settings, patience, KEY) as endpoint:
        answer, _ = await endpoint.ask({"model": "teacher"})
        return answer


def in_turn(*plays: Play) -> Script:
    return lambda _, number: plays[min(number, len(plays) - 1)]


def test_an_answer_comes_with_the_model_and_the_usage_it_reports() -> None:
    answer, server = ask(in_turn(good("text")))
    assert answer == Answer(MODEL, "text", "stop", "", 1000, 200)
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["Authorization"] == f"Bearer {KEY}"


def test_an_endpoint_that_is_busy_is_asked_again_no_sooner_than_it_says() -> None:
    started = time.monotonic()
    answer, server = ask(in_turn(failure(429, Retry_After="1"), good("text")))
    assert answer.text == "text" and len(server.requests) == 2
    assert time.monotonic() - started >= 1


def test_two_server_errors_are_waited_out() -> None:
    answer, server = ask(in_turn(failure(500), failure(503), good("text")))
    assert answer.text == "text" and len(server.requests) == 3


def test_attempts_end_and_the_last_problem_is_named() -> None:
    with pytest.raises(NoAnswer, match=r"status 500 \(not now\), 4 times"):
        ask(in_turn(failure(500)))


def test_a_silent_endpoint_is_left_after_the_timeout_and_asked_again() -> None:
    patience = replace(PATIENCE, timeout_s=0.3)
    answer, server = ask(in_turn(Play(b"", silent=True), good("text")), patience)
    assert answer.text == "text" and len(server.requests) == 2


def test_attempts_that_may_have_been_charged_are_counted() -> None:
    patience = replace(PATIENCE, timeout_s=0.2, most_attempts=2)
    with pytest.raises(NoAnswer, match=r"nothing within 0\.2 s, 2 times") as caught:
        ask(in_turn(Play(b"", silent=True)), patience)
    assert caught.value.unseen == 2


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_stops_at_once_and_never_repeats_what_the_endpoint_said(status: int) -> None:
    with pytest.raises(EndpointRefused, match=f"status {status}") as caught:
        ask(in_turn(failure(status, f"Incorrect API key provided: {KEY}")))
    assert KEY not in str(caught.value)


def test_a_wait_longer_than_our_patience_is_no_answer() -> None:
    with pytest.raises(NoAnswer, match="asks to wait 86400 s"):
        ask(in_turn(failure(429, Retry_After="86400")))


def test_a_request_the_endpoint_cannot_use_is_not_sent_again_and_the_key_not_repeated() -> None:
    with ScriptedEndpoint(in_turn(failure(400, f"no image for {KEY}"))) as server:
        with pytest.raises(NoAnswer, match=r"status 400 \(no image for \[key\]\)"):
            asyncio.run(_ask(server.base_url, PATIENCE))
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body", [b"", b"<html>sign in</html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{}]}']
)
def test_a_page_that_is_not_a_completion_is_no_answer(body: bytes) -> None:
    with pytest.raises(NoAnswer, match="not a chat completion"):
        ask(in_turn(Play(body)))


def test_a_dead_address_is_no_answer() -> None:
    with ScriptedEndpoint(in_turn(good("text"))) as server:
        address = server.base_url
    with pytest.raises(NoAnswer, match=r"no connection \(ConnectError\), 4 times"):
        asyncio.run(_ask(address, PATIENCE))


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after_s("2.5", 0) == 2.5
    assert retry_after_s("Thu, 01 Jan 1970 00:01:00 GMT", 20) == 40
    assert retry_after_s("Thu, 01 Jan 1970 00:01:00 GMT", 100) == 0
    assert retry_after_s("soon", 0) == retry_after_s("", 0) == retry_after_s("-3", 0) == 0
