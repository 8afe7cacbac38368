"""Prompts that a tokenizer may stumble over, generated from a seed."""

import random
import re

MARKS = (
    *("<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<bos>", "<eos>"),
    *("<unused3>", "[multimodal]", "<mask>", "<image_soft_token>", "<table>", "</table>", "<br>"),
)
NEARLY = ("<start_of_turn", "< end_of_turn>", "<|im_end|>", "<0x41>", "<unused999999>", "< eos >")
WORDS = (
    *("lesion", "the", "melanoma", "nevus", "finding", "heart", "follow-up", "user", "model"),
    *("läsión", "皮膚", "病変", "поражение", "кожи", "صورة", "चित्र", "ไทย", "한국어", "ñandú"),
)
SIGNS = ("🫁", "👩🏽‍⚕️", "é", "e\u0301", "\u200b", "\u00a0", "\ufeff", "\u2028", "ß", "ﬁ", "½", "µm")
SPACES = (" ", "  ", "   ", " " * 7, " " * 31, " " * 40, "\t", "\t\t\t", "\n", "\n\n", "\n" * 31)
NUMBERS = ("0", "7.25", "1234567890", "2026-11-22", "3.5e-4", "12 000", "١٢٣", "²")
LONGEST_RUN = 31
"""Of spaces in Gemma's vocabulary; longer ones are cut differently, see test_tokenizer."""
CODE = (
    '{"label": "',
    '", "findings": [',
    "]}",
    "\\n",
    "'",
    '"',
    "`",
    "%",
    "\r\n",
    "<",
    ">",
    "\x07",
)


def prompts(count: int, seed: int = 0) -> list[str]:
    """Of one to thirty parts, with and without spaces between them."""
    dice = random.Random(seed)
    pools = (MARKS, NEARLY, WORDS, WORDS, SIGNS, SPACES, SPACES, NUMBERS, CODE)
    made = []
    for _ in range(count):
        parts = [dice.choice(dice.choice(pools)) for _ in range(dice.randint(1, 30))]
        text = dice.choice(("", "", " ", "\n")).join(parts)
        made.append(re.sub(" {32,}", " " * LONGEST_RUN, text))
    return made
