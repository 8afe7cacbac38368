"""The caption: the model's own JSON, how it is written, forced and read back.

One definition for training (what is learnt), the clinic (what is forced and validated) and
export (what is compared). Knows nothing of models or tokens.
"""

import json
from dataclasses import asdict, dataclass, fields

from appliance.core.labels import LabelSet

MAX_FIELD_CHARACTERS = 400
"""A free field ends here at the latest; one that long is refused: the model ran away."""


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
        if len(content) >= MAX_FIELD_CHARACTERS:
            raise CaptionFormatError(f"`{name}` has {MAX_FIELD_CHARACTERS} characters or more")
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
