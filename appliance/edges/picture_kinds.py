"""How picture files begin: content decides the type, never the name."""

SIGNATURES = (
    (0, b"\xff\xd8\xff", "JPEG", "JpegImagePlugin"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG", "PngImagePlugin"),
    (0, b"II*\0", "TIFF", "TiffImagePlugin"),
    (0, b"MM\0*", "TIFF", "TiffImagePlugin"),
    (0, b"II+\0", "TIFF", "TiffImagePlugin"),
    (0, b"MM\0+", "TIFF", "TiffImagePlugin"),
    (8, b"WEBP", "WEBP", "WebPImagePlugin"),
    (0, b"BM", "BMP", "BmpImagePlugin"),
)
"""Offset and first bytes of a format, its name, and the module of Pillow that reads it: left to
itself, Pillow would import all of its 40 readers for a TIFF."""
BARE_DICOM = (b"\x02\0", b"\x08\0", b"\0\x02", b"\0\x08")
"""How a DICOM file without its preamble begins: the first tag's group, 2 or 8, in either order."""


def is_dicom(beginning: bytes) -> bool:
    """With its preamble or without."""
    return beginning[128:132] == b"DICM" or beginning.startswith(BARE_DICOM)


def may_be_picture(beginning: bytes) -> bool:
    """Also a damaged one: of a longer signature four bytes are enough."""
    return is_dicom(beginning) or any(
        beginning.startswith(signature[:4], offset) for offset, signature, *_ in SIGNATURES
    )
