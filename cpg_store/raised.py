"""Raised and lowered characters: 10⁹ must not read 109, nor m² read m2.

It owns which characters have such a form (Unicode, Superscripts and Subscripts and the modifier
letters), and nothing of where a document says that they are raised.
"""

_RAISED = str.maketrans(
    "0123456789+-\u2212\u2013()abcdefghijklmnoprstuvwxyz",
    "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁻⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ",
)
_LOWERED = str.maketrans("0123456789+-\u2212\u2013()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₋₍₎")
_EVERYWHERE = " ,*"
"""Characters that stand among raised ones as they are."""


def raised(text: str) -> str | None:
    """`text` in raised characters; None where one of them has no such form."""
    return _put(text, _RAISED)


def lowered(text: str) -> str | None:
    """The same below the line."""
    return _put(text, _LOWERED)


def _put(text: str, forms: dict[int, int]) -> str | None:
    put = text.translate(forms)
    has_all = all(a != b or a in _EVERYWHERE for a, b in zip(text, put, strict=True))
    return put if has_all else None
