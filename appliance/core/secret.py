"""What an account may be called, and which secrets are too weak to take.

A secret is a passphrase of at least 8 characters or a PIN of at least 6 digits. What is refused
beyond that is what a passer-by would try first; no rule on kinds of characters (NIST SP 800-63B,
5.1.1.2).
"""

import re
import unicodedata
from itertools import pairwise

from appliance.errors import AccessError

NAME = re.compile(r"[a-z][a-z0-9.-]{1,31}")
"""Begins with a letter, so that a PIN typed as a name is none."""
LEAST_CHARACTERS = 8
LEAST_DIGITS = 6
MOST_CHARACTERS = 1024
FIRST_TRIED = ("password", "passw0rd", "passphrase", "qwerty", "administrator", "clinician")
HINT = (
    f"choose a passphrase of at least {LEAST_CHARACTERS} characters or a PIN of at least"
    f" {LEAST_DIGITS} digits, neither a row of keys nor the name"
)


def refuse_bad_name(name: str) -> None:
    """Raises: AccessError."""
    if not NAME.fullmatch(name):
        raise AccessError(
            f"this cannot be an account's name: {name}",
            "2 to 32 small letters, digits, points and hyphens, beginning with a letter",
        )


def normal_secret(secret: str) -> bytes:
    """What is hashed: the same on every keyboard (NFKC), in UTF-8. Raises: AccessError."""
    try:
        normal = unicodedata.normalize("NFKC", secret).encode()
    except UnicodeEncodeError as exc:
        raise AccessError("the secret is no text in UTF-8", HINT, code="secret-weak") from exc
    if len(secret) > MOST_CHARACTERS:
        raise AccessError(
            f"the secret has more than {MOST_CHARACTERS} characters", HINT, code="secret-weak"
        )
    return normal


def refuse_weak(secret: str, name: str) -> None:
    """Raises: AccessError for a secret that `name` should not have."""
    text = normal_secret(secret).decode()
    if reason := _weakness(text, text.casefold(), name):
        raise AccessError(f"the secret is {reason}", HINT, code="secret-weak")


def _weakness(text: str, folded: str, name: str) -> str:
    is_pin = text.isdecimal()
    if len(text) < (LEAST_DIGITS if is_pin else LEAST_CHARACTERS):
        return "too short"
    steps = {ord(after) - ord(before) for before, after in pairwise(text)}
    if steps in ({0}, {1}, {-1}) or (is_pin and text in "12345678901234567890"):
        return "a row of one character after another"
    if any(_repeats(text, length) for length in (1, 2, 3)):
        return "a few characters again and again"
    if name in folded and len(folded) < len(name) + LEAST_DIGITS:
        return "the account's name"
    if any(folded.startswith(word) and len(folded) < len(word) + 5 for word in FIRST_TRIED):
        return "one of the first that anybody tries"
    return ""


def _repeats(text: str, length: int) -> bool:
    return (text[:length] * len(text))[: len(text)] == text
