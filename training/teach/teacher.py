"""What the teacher is asked, and how its answer becomes a caption or a counted reject.

The persona, the request and the forced schema are here and nowhere else. The teacher is shown
pixels and the labels of the image's domain, never the image's own label, name or patient. Knows
nothing of networks, files or money.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from appliance.core.caption import (
    FIELDS,
    MAX_FIELD_CHARACTERS,
    Caption,
    CaptionFormatError,
    caption_json,
    parse_caption,
)
from appliance.core.labels import Domain, LabelSet
from appliance.core.prompt import PERSONA
from training.teach.recipe import AnswerFormat, EndpointSettings

Reason = Literal[
    "image", "no answer", "refused", "empty", "cut off", "prose", "half JSON", "several",
    "keys", "field", "unknown label", "wrong label", "duplicate",
]  # fmt: skip
"""Why an image gives no caption; every image asked about is kept or has one of these."""

REQUEST = f"""\
Describe this medical image as one JSON object and nothing else. Its keys, in this order:
label: the one diagnosis of this list that the image supports best: {{labels}}.
image_type: what kind of image it is.
anatomical_region: the part of the body that it shows.
key_findings: what is seen in the image that leads to the label.
clinical_significance: what it means for the patient and what should follow.
Every value but the label is one plain sentence or phrase, at most {MAX_FIELD_CHARACTERS} \
characters, without quotation marks or line breaks. State only what this image shows: no age, \
sex, history, name or measurement that cannot be seen in it."""
"""`{labels}` is filled in with the labels of the image's domain."""


@dataclass(frozen=True)
class Answer:
    """One answer of an endpoint, as it came."""

    model: str
    """The model that says it answered."""
    text: str
    finish_reason: str
    refusal: str
    """Empty unless the teacher declined."""
    input_tokens: int | None
    """None where the endpoint does not report usage."""
    output_tokens: int | None

    @property
    def is_cut_off(self) -> bool:
        """It ran into the limit of its tokens."""
        return self.finish_reason == "length"


class Rejected(Exception):
    """No caption comes of this image; counted, and kept with its reason."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail


def caption_schema(labels: LabelSet, domain: Domain) -> dict[str, Any]:
    """JSON schema of a caption, inside what every endpoint's strict mode knows."""
    properties: dict[str, Any] = {name: {"type": "string"} for name in FIELDS}
    properties["label"]["enum"] = list(labels.in_domain(domain))
    return {
        "type": "object",
        "properties": properties,
        "required": list(FIELDS),
        "additionalProperties": False,
    }


def request_text(labels: LabelSet, domain: Domain) -> str:
    return REQUEST.format(labels="; ".join(labels.in_domain(domain)))


def prompt_version(labels: LabelSet, domain: Domain) -> str:
    """Changes whenever a character of persona, request or schema does."""
    parts = [PERSONA, request_text(labels, domain), caption_schema(labels, domain)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def request_body(
    settings: EndpointSettings, labels: LabelSet, domain: Domain, image_url: str
) -> dict[str, Any]:
    """The whole body of POST /chat/completions."""
    question = {"type": "text", "text": request_text(labels, domain)}
    image = {"type": "image_url", "image_url": {"url": image_url}}
    schema = caption_schema(labels, domain)
    return {
        **settings.extra,
        "model": settings.model,
        "messages": [
            {"role": "system", "content": PERSONA},
            {"role": "user", "content": [question, image]},
        ],
        "response_format": _response_format(settings.answer_format, schema),
        settings.output_limit: settings.most_output_tokens,
    }


def read_answer(answer: Answer, labels: LabelSet, domain: Domain, truth: str) -> Caption:
    """The answer's caption, tidied to what the clinic's grammar can write.

    Raises: Rejected unless it is one whole caption whose label is `truth`.
    """
    if answer.refusal or answer.finish_reason == "content_filter":
        raise Rejected("refused", answer.refusal or answer.finish_reason)
    if answer.is_cut_off:
        raise Rejected("cut off", f"the answer ran into its limit: {_start(answer.text)}")
    if not answer.text.strip():
        raise Rejected("empty", "no text")
    value = _only_object(answer.text)
    if set(value) != set(FIELDS):
        raise Rejected("keys", ", ".join(value) or "none")
    caption = _tidy_caption(value, labels.in_domain(domain))
    try:
        parse_caption(caption_json(caption), labels)
    except CaptionFormatError as exc:
        raise Rejected("field", str(exc)) from exc
    if caption.label != truth:
        raise Rejected("wrong label", caption.label)
    return caption


def _response_format(answer_format: AnswerFormat, schema: dict[str, Any]) -> dict[str, Any]:
    if answer_format == "json_object":
        return {"type": "json_object", "schema": schema}
    named = {"name": "caption", "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": named}


def _only_object(text: str) -> dict[str, Any]:
    """The one JSON object in the text, whatever prose or code fence is around it."""
    decoder = json.JSONDecoder(object_pairs_hook=_object_of_distinct_keys)
    found, start = [], text.find("{")
    while start != -1:
        try:
            value, end = decoder.raw_decode(text, start)
            found.append(value)
        except (json.JSONDecodeError, RecursionError):
            end = start + 1
        start = text.find("{", end)
    if not found:
        raise Rejected("half JSON" if "{" in text else "prose", _start(text))
    if len(found) > 1:
        raise Rejected("several", f"{len(found)} JSON objects")
    only: dict[str, Any] = found[0]
    return only


def _object_of_distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Rejected("keys", "a key twice: " + ", ".join(key for key, _ in pairs))
    return value


def _tidy_caption(value: dict[str, Any], allowed: tuple[str, ...]) -> Caption:
    tidy = {name: _tidy(name, value[name]) for name in FIELDS}
    folded = {name.casefold(): name for name in allowed}
    label = folded.get(tidy["label"].casefold())
    if label is None:
        raise Rejected("unknown label", _start(tidy["label"]))
    return Caption(**{**tidy, "label": label})


def _tidy(name: str, content: object) -> str:
    """One line without the quotes and backslashes that the clinic's grammar leaves out."""
    if not isinstance(content, str):
        raise Rejected("field", f"`{name}` is not a sentence")
    text = " ".join(content.replace('"', "'").replace("\\", "/").split())
    if not text.isprintable():
        raise Rejected("field", f"`{name}` holds characters that cannot be shown")
    return text


def _start(text: str) -> str:
    return " ".join(text.split())[:80]
