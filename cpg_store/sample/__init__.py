"""The sample guideline that ships with the package, so that a fresh machine has one to quote.

It owns the text (content.md), the PDF made from it and the program that makes it (build.py). The
text is for demonstration only, and the PDF says so on every page.
"""

from pathlib import Path


def sample_guideline() -> Path:
    """Give the place of the sample guideline's PDF."""
    return Path(__file__).with_name("sample-guideline.pdf")
