"""What the export steps raise."""


class ExportError(Exception):
    """A model that cannot be exported faithfully; the message names the file and the reason."""
