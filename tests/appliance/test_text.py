"""What reaches a terminal."""

import json
import unicodedata
from pathlib import Path

import pytest

from appliance.core.text import safe_line, safe_text


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2J\x1b[31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("abc\u202egpj", "abcgpj"),
        ("a\u200bb\U000e0041c", "abc"),
        ("bell\x07back\x08\x7f", "bellback"),
        ("line\nand\ttab", "line\nand\ttab"),
        ("a\x1b]0;never ended, 5 mg\nnext", "a0;never ended, 5 mg\nnext"),
        ("â€œx\x9d 500 mg, not 5 g.\nNever", "â€œx 500 mg, not 5 g.\nNever"),
        ("Kesihatan: ulser, 5 µg, ≥ 2", "Kesihatan: ulser, 5 µg, ≥ 2"),
    ],
)
def test_control_codes_go_and_text_stays(hostile: str, shown: str) -> None:
    assert safe_text(hostile) == shown


def test_a_line_is_one_line() -> None:
    assert safe_line(" a\r\n b\t c ") == "a b c"


@pytest.mark.data
def test_no_hostile_string_keeps_a_control_character(shared: Path) -> None:
    strings = json.loads((shared / "corpora/blns/blns.json").read_text(encoding="utf-8"))
    found = json.loads((shared / "corpora/gen/terminal/strings.json").read_text(encoding="utf-8"))
    strings += found if isinstance(found, list) else list(found.values())
    for hostile in map(str, strings):
        for character in safe_text(hostile):
            assert character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf")
