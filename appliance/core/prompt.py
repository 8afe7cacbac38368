"""The prompt, rendered by this one function for training, export checks and the clinic.

There are two: the one that training teaches, and, for a model that nobody fine-tuned, one that
also lists the labels it may answer with.

Gemma 3's turn format: system text opens the user's turn, and the image is set between blank
lines, as Hugging Face's Gemma3Processor does (llama.cpp's mtmd does not: the edge adds nothing
of its own). Beginning-of-sequence is not part of the text; whoever tokenizes adds it once.
"""

from collections.abc import Sequence

PROMPT_VERSION = 1
"""Of the prompt that is trained. Raised whenever a character of it changes; in every release."""
LISTING_VERSION = 2
"""Of the prompt that lists the labels."""

PERSONA = "You are a specialist clinician and image interpreter."
REQUEST = (
    "Describe this medical image as one JSON object with label, image_type, "
    "anatomical_region, key_findings and clinical_significance."
)
IMAGE = "<start_of_image>"
"""Stands where the image's soft tokens and its end mark go."""
END_OF_TURN = "<end_of_turn>"


def render_prompt(listed: Sequence[str] = ()) -> str:
    """Everything before the caption's first character, without beginning-of-sequence; with the
    labels to choose from, if there are any `listed`."""
    choice = f" The label is one of: {', '.join(listed)}." if listed else ""
    return (
        f"<start_of_turn>user\n{PERSONA}\n\n\n\n{IMAGE}<end_of_image>\n\n{REQUEST}{choice}"
        f"{END_OF_TURN}\n<start_of_turn>model\n"
    )


def split_prompt(listed: Sequence[str] = ()) -> tuple[str, str]:
    """The rendered prompt before and after the image's soft tokens, marks included."""
    before, after = render_prompt(listed).split(IMAGE)
    return before + IMAGE, after
