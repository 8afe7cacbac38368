"""Every error this package lets out, as one small tree.

    CpgStoreError
    ├── UnreadableDocument      not a document we read, damaged, or beyond the limits
    │   ├── PasswordRequired
    │   └── ScannedDocument     pages are pictures; nothing to index
    ├── EmbedderMissing         no model or tokenizer where one was expected
    ├── IndexMissing            no index in the directory
    ├── IndexBusy               another process is writing
    └── IndexDamaged            the index cannot be trusted; never used as it is
        └── EmbedderChanged     made with another embedder, so its vectors mean nothing here

It owns the words a person reads; it does not print them.
"""


class CpgStoreError(Exception):
    """`message` names the thing and its problem; `hint` is one action possible offline."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UnreadableDocument(CpgStoreError):
    """The file is missing, damaged, too large, or of a kind that is not read."""


class PasswordRequired(UnreadableDocument):
    """The document opens only with a password."""


class ScannedDocument(UnreadableDocument):
    """No page of the document carries text."""


class EmbedderMissing(CpgStoreError):
    """No usable sentence embedder on this machine."""


class IndexMissing(CpgStoreError):
    """The directory holds no index."""


class IndexBusy(CpgStoreError):
    """Another process holds the index for writing."""


class IndexDamaged(CpgStoreError):
    """The index contradicts itself, or names code that is not ours."""


class EmbedderChanged(IndexDamaged):
    """The index was made with another embedder."""
