"""Claims about what the teacher is asked and which of its answers become captions."""

import json
from typing import Any

import pytest

from appliance.core.caption import FIELDS, MAX_FIELD_CHARACTERS, caption_json, parse_caption
from appliance.core.labels import DOMAINS
from tests.training.teach.scripted_endpoint import caption_text
from training.labels import label_set
from training.teach.recipe import EndpointSettings
from training.teach.teacher import (
    Answer,
    Rejected,
    caption_schema,
    prompt_version,
    read_answer,
    request_body,
    request_text,
)

LABELS = label_set()
TRUTH = "melanoma"
GOOD: dict[str, Any] = json.loads(caption_text(TRUTH))
SETTINGS = EndpointSettings(
    base_url="http://127.0.0.1/v1",
    model="teacher",
    api_key_variable="",
    answer_format="json_schema",
    output_limit="max_tokens",
    most_output_tokens=500,
    extra={"temperature": 0},
)


def answer(text: str, finish_reason: str = "stop", refusal: str = "") -> Answer:
    return Answer("teacher", text, finish_reason, refusal, 10, 10)


def changed(**fields: Any) -> str:
    return json.dumps(GOOD | fields)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(GOOD),
        "Here is the caption:\n" + json.dumps(GOOD) + "\nI hope that helps.",
        "```json\n" + json.dumps(GOOD, indent=2) + "\n```",
        json.dumps(dict(reversed(GOOD.items()))),
        changed(label=" Melanoma "),
        changed(key_findings=GOOD["key_findings"].replace(" ", "\n ")),
    ],
    ids=["plain", "prose around", "code fence", "other order", "label's case", "line breaks"],
)
def test_one_whole_caption_is_read_whatever_is_around_it(text: str) -> None:
    caption = read_answer(answer(text), LABELS, "skin", TRUTH)
    assert vars(caption) == GOOD


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (answer("The lesion looks benign to me."), "prose"),
        (answer(json.dumps(GOOD)[:60]), "half JSON"),
        (answer("{" * 5000), "half JSON"),
        (answer('{"a":' * 5000), "half JSON"),
        (answer(json.dumps(GOOD)[:60], "length"), "cut off"),
        (answer(""), "empty"),
        (answer(" \n"), "empty"),
        (answer("", refusal="I cannot help with medical images."), "refused"),
        (answer("", "content_filter"), "refused"),
        (answer(json.dumps(GOOD) * 2), "several"),
        (answer(changed(confidence="high")), "keys"),
        (answer('{"label": "melanoma"}'), "keys"),
        (answer(json.dumps(GOOD)[:-1] + ', "label": "melanoma"}'), "keys"),
        (answer("{}"), "keys"),
        (answer(changed(key_findings="")), "field"),
        (answer(changed(key_findings=["asymmetric"])), "field"),
        (answer(changed(label=None)), "field"),
        (answer(changed(key_findings="x" * (MAX_FIELD_CHARACTERS + 1))), "field"),
        (answer(changed(key_findings="\ud800")), "field"),
        (answer(changed(key_findings="red \x1b[2J")), "field"),
        (answer(changed(label="squamous cell carcinoma")), "unknown label"),
        (answer(changed(label="cataract")), "unknown label"),
        (answer(changed(label="melanocytic nevus")), "wrong label"),
    ],
)
def test_every_other_answer_is_a_reject_with_its_reason(given: Answer, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_answer(given, LABELS, "skin", TRUTH)
    assert caught.value.reason == reason


def test_a_kept_caption_is_one_the_clinic_can_write_and_read() -> None:
    text = changed(key_findings='a "blue-white veil"\tand\\or  regression')
    caption = read_answer(answer(text), LABELS, "skin", TRUTH)
    assert caption.key_findings == "a 'blue-white veil' and/or regression"
    assert parse_caption(caption_json(caption), LABELS) == caption


def test_the_schema_forces_the_captions_keys_and_the_labels_of_the_domain() -> None:
    for domain in DOMAINS:
        schema = caption_schema(LABELS, domain)
        assert tuple(schema["properties"]) == FIELDS == tuple(schema["required"])
        assert schema["properties"]["label"]["enum"] == list(LABELS.in_domain(domain))
        assert schema["additionalProperties"] is False


def test_the_request_names_every_label_of_the_domain_and_no_other() -> None:
    text = request_text(LABELS, "chest")
    named = [name for name in LABELS.names if name in text]
    assert named == list(LABELS.in_domain("chest"))


def test_settings_reach_the_request_under_the_endpoints_own_names() -> None:
    body = request_body(SETTINGS, LABELS, "skin", "data:,")
    assert body["model"] == "teacher" and body["max_tokens"] == 500 and body["temperature"] == 0
    assert body["response_format"]["json_schema"]["strict"] is True


def test_the_version_of_the_prompt_follows_its_words() -> None:
    versions = {prompt_version(LABELS, domain) for domain in DOMAINS}
    assert len(versions) == len(DOMAINS)
    assert prompt_version(LABELS, "skin") == prompt_version(label_set(), "skin")
