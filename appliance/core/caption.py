"""The caption: the model's own JSON, how it is written, forced and read back.

One definition for training (what is learnt), the clinic (what is forced and validated) and
export (what is compared). Knows nothing of models or tokens.
"""

import json
from dataclasses import asdict, dataclass, fields

from appliance.core.labels import LabelSet

MAX_FIELD_CHARACTERS = 400
"""A free field longer than this is refused: the model ran away."""


@dataclass(frozen=True)
class Caption:
    """What the picture shows. Field order is the order of the JSON."""

    label: str
    image_type: str
    anatomical_region: str
    key_findings: str
    clinical_significance: str


FIELDS = tuple(field.name for field in fields(Caption))


class CaptionFormatError(ValueError):
    """The model's text is not a caption: not JSON, keys amiss, or a label outside the list."""


def caption_json(caption: Caption) -> str:
    """The caption as the model writes it: one line, keys in order, a space after `:` and `,`."""
    return json.dumps(asdict(caption), ensure_ascii=False)


def label_opening(label: str) -> str:
    """The caption's text through the quote that closes its label: what a label's score covers."""
    return f'{{"label": {json.dumps(label, ensure_ascii=False)}'


def label_prefix(label: str) -> str:
    """The caption's text up to the first free field: everything the label alone decides."""
    return f'{label_opening(label)}, "{FIELDS[1]}": "'


def parse_caption(text: str, labels: LabelSet) -> Caption:
    """Read the model's text.

    Raises: CaptionFormatError naming what is wrong; the text itself is not repeated in it.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as exc:
        raise CaptionFormatError(f"not a JSON object: {exc.msg} at character {exc.pos}") from exc
    if not isinstance(value, dict) or tuple(value) != FIELDS:
        raise CaptionFormatError("the keys are not the caption's keys in order")
    for name, content in value.items():
        if not isinstance(content, str) or not content.strip():
            raise CaptionFormatError(f"`{name}` is not a sentence")
        if len(content) > MAX_FIELD_CHARACTERS:
            raise CaptionFormatError(f"`{name}` is longer than {MAX_FIELD_CHARACTERS} characters")
    if value["label"] not in labels.names:
        raise CaptionFormatError("the label is not in the release's list")
    return Caption(**value)


def is_caption(text: str, labels: LabelSet) -> bool:
    """Whether the clinic can read it."""
    try:
        parse_caption(text, labels)
    except CaptionFormatError:
        return False
    return True


def caption_grammar(labels: LabelSet) -> str:
    """GBNF (llama.cpp's grammar form) that admits one caption and nothing after it; how long a
    field may be is checked by `parse_caption`.

    A free field is one line of plain characters without a quote or backslash, so that it ends
    where its string ends.
    """
    names = " | ".join(_literal(json.dumps(name, ensure_ascii=False)) for name in labels.names)
    parts = [_literal('{"label": '), "label"]
    for name in FIELDS[1:]:
        parts += [_literal(f', "{name}": "'), "text", _literal('"')]
    parts.append(_literal("}"))
    return f'root ::= {" ".join(parts)}\nlabel ::= {names}\ntext ::= [^"\\\\\\x00-\\x1F\\x7F]+\n'


def _literal(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
