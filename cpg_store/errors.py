"""Every error this package lets out, as one small tree.

    CpgStoreError
    ├── UnreadableDocument      not a document we read, damaged, or beyond the limits
    │   ├── PasswordRequired
    │   └── ScannedDocument     pages are pictures; nothing to index
    ├── OtherwiseIndexed        the document is in the index under another title
    ├── EmbedderMissing         no model or tokenizer where one was expected
    ├── IndexMissing            no index in the directory
    ├── IndexBusy               another process is writing
    ├── StorageFailed           the disk is full, read-only or failing
    ├── ServerRefused           the index server does not answer, or is one we do not use
    ├── RetrievalSetUnreadable  not a retrieval set in BEIR's form
    └── IndexDamaged            the index cannot be trusted; never used as it is
        └── VectorsDamaged      only its vectors: they can be made anew from its catalogue
            └── EmbedderChanged made with an embedder that is not at hand

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


class OtherwiseIndexed(CpgStoreError):
    """The document is in the index under another title, by which its passages are found."""


class EmbedderMissing(CpgStoreError):
    """No usable sentence embedder on this machine."""


class IndexMissing(CpgStoreError):
    """The directory holds no index."""


class IndexBusy(CpgStoreError):
    """Another process holds the index for writing."""


class StorageFailed(CpgStoreError):
    """The disk is full, read-only or failing; the index itself may be whole."""


class ServerRefused(CpgStoreError):
    """The index server does not answer, or is one that is not used."""


class RetrievalSetUnreadable(CpgStoreError):
    """The folder holds no retrieval set in BEIR's form."""


class IndexDamaged(CpgStoreError):
    """The index contradicts itself, or names code that is not ours."""


class VectorsDamaged(IndexDamaged):
    """The vectors are lost or damaged; the catalogue from which they are made anew is not."""


class EmbedderChanged(VectorsDamaged):
    """The index was made with an embedder that is not at hand."""
