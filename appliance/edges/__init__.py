"""One file an outside thing, and its only importer."""
