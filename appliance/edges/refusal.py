"""Why the decode child does not open a picture."""

MOST_PIXELS = 100_000_000


class Refused(Exception):
    """A stable code, and a reason in plain words that holds nothing out of the file but numbers."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def refuse_large(pixels: int) -> None:
    """Raises: Refused."""
    if pixels > MOST_PIXELS:
        raise Refused(
            "image-too-large", f"it has {pixels:,} pixels, more than {MOST_PIXELS:,} are not opened"
        )


def unknown() -> Refused:
    return Refused("image-unknown", "it is not a JPEG, PNG, TIFF, WebP, BMP or DICOM image")
