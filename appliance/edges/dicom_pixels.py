"""Pixels of a DICOM file, as its maker meant them to be shown. Used in the decode child only.

Rules: the first frame; the modality LUT, then the first VOI LUT or window, else from the least to
the greatest value; MONOCHROME1 turned over; padding black; overlays left out.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from appliance.edges.picture_pixels import NEGATIVE, grey
from appliance.edges.refusal import Refused, refuse_large, unknown

if TYPE_CHECKING:
    from PIL.Image import Image

STORAGE_CLASSES = "1.2.840.10008.5.1.4."
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def decode_dicom(encoded: bytes) -> tuple["Image", Any, int]:
    """RGB, the data set that it came with (pydicom's), frames in the file.

    Raises: Refused, and whatever pydicom and its decoders make of damage.
    """
    import pydicom
    from PIL import Image

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    bare = encoded[128:132] != b"DICM"
    data = pydicom.dcmread(io.BytesIO(encoded), stop_before_pixels=True, force=bare)
    if bare and not str(data.get("SOPClassUID", "")).startswith(STORAGE_CLASSES):
        raise unknown()
    rows, columns = int(data.get("Rows") or 0), int(data.get("Columns") or 0)
    if not rows or not columns:
        raise Refused("image-no-pixels", "this DICOM file holds no picture")
    refuse_large(rows * columns)
    data = pydicom.dcmread(io.BytesIO(encoded), force=bare)
    if not any(keyword in data for keyword in PIXELS):
        raise Refused("image-no-pixels", "this DICOM file holds no picture")
    values = _first_frame(data)
    photometric = str(data.get("PhotometricInterpretation", ""))
    if photometric == "PALETTE COLOR":
        image = Image.fromarray(_palette(values, data), "RGB")
    elif values.ndim == 3:
        image = Image.fromarray(_bytes(values, int(data.BitsStored)), "RGB")
    else:
        padding = _padding(values, data)
        image = _shown(values, padding, data)
        if photometric == "MONOCHROME1":
            image = image.point(NEGATIVE * 3)
        if padding is not None:
            image.paste("black", mask=Image.fromarray(padding))
    return image, data, int(data.get("NumberOfFrames") or 1)


def _first_frame(data: Any) -> Any:
    """H x W, or H x W x 3 in RGB."""
    from pydicom import uid
    from pydicom.pixels.utils import pixel_array

    if "TransferSyntaxUID" not in data.file_meta:
        implicit, little = data.original_encoding
        plain = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        data.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else plain
    syntax = data.file_meta.TransferSyntaxUID
    _refuse_compression(syntax)
    if syntax == uid.JPEGExtended12Bit and data.BitsStored > 8 and data.SamplesPerPixel == 1:
        return _jpeg_12_bit(data)
    return pixel_array(data, index=0)


def _refuse_compression(syntax: Any) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    is_listed = syntax.name != str(syntax)  # in DICOM PS3.6, annex A
    if is_listed and not syntax.is_compressed:
        return
    try:
        is_known = get_decoder(syntax).is_available
    except NotImplementedError:
        is_known = False
    if not is_known:
        # An unknown identifier may be the maker's own, and is not repeated.
        name = syntax.name if is_listed else "an unknown one"
        raise Refused("image-compression", f"its compression is not supported ({name})")


def _jpeg_12_bit(data: Any) -> Any:
    """pydicom 3.0 declines to ask GDCM for these, which reads them (checked against the values
    that pydicom's own tests give for JPGExtended.dcm)."""
    import gdcm
    import numpy as np
    from pydicom.encaps import get_frame

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(
        get_frame(data.PixelData, 0, number_of_frames=int(data.get("NumberOfFrames") or 1))
    )
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((data.Columns, data.Rows, 1))
    image.SetPixelFormat(
        gdcm.PixelFormat(1, 16, data.BitsStored, data.BitsStored - 1, data.PixelRepresentation)
    )
    grey_scale = gdcm.PhotometricInterpretation.GetPIType(str(data.PhotometricInterpretation))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey_scale))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetDataElement(element)
    decoded = image.GetBuffer().encode("utf-8", "surrogateescape")  # SWIG makes bytes a str
    kind = "<i2" if data.PixelRepresentation else "<u2"
    return np.frombuffer(decoded, kind).reshape(data.Rows, data.Columns)


def _palette(values: Any, data: Any) -> Any:
    from pydicom.pixels.processing import apply_color_lut

    colours = apply_color_lut(values, data)
    # Some makers write 8-bit colours into 16-bit tables.
    return _bytes(colours, 8 if colours.max() < 256 else 8 * colours.itemsize)


def _bytes(values: Any, bits: int) -> Any:
    """Unsigned numbers of `bits` bits as H x W x 3 bytes."""
    import numpy as np

    if bits < 8:
        values = values.astype(np.uint16) * 255 // (2**bits - 1)
    return (values >> max(bits - 8, 0)).astype(np.uint8)


def _shown(values: Any, padding: Any, data: Any) -> "Image":
    """DICOM PS3.3, C.11.1 and C.11.2.1: from stored values to what a screen shows."""
    import numpy as np

    if tables := data.get("ModalityLUTSequence"):
        values, _ = _looked_up(values, tables[0])
    else:
        slope, intercept = _number(data, "RescaleSlope"), _number(data, "RescaleIntercept")
        if slope is not None and intercept is not None:
            values = values * slope + intercept
    if tables := data.get("VOILUTSequence"):
        return grey(*_looked_up(values, tables[0]))
    centre, width = _number(data, "WindowCenter"), _number(data, "WindowWidth")
    if centre is None or width is None or width <= 0:
        picture = values if padding is None else values[~padding]
        return grey(values, (float(np.nanmin(picture)), float(np.nanmax(picture))))
    function = str(data.get("VOILUTFunction") or "LINEAR").upper()
    if function == "SIGMOID":
        return grey(1 / (1 + np.exp(-4 * (values - centre) / width)), (0, 1))
    if function != "LINEAR_EXACT":
        centre, width = centre - 0.5, width - 1
    return grey(values, (centre - width / 2, centre + width / 2))


def _looked_up(values: Any, table: Any) -> tuple[Any, tuple[float, float]]:
    """What a LUT of DICOM PS3.3, C.11.1.1 or C.11.2.1.1 makes of `values`, and its range."""
    import numpy as np

    entries, first, bits = table.LUTDescriptor
    data = table.LUTData
    if isinstance(data, bytes):
        order = "<" if table.original_encoding[1] else ">"
        data = np.frombuffer(data, f"{order}u2" if len(data) >= 2 * (entries or 65536) else "u1")
    looked_up = np.asarray(data)
    places = np.clip(np.rint(values) - int(first), 0, len(looked_up) - 1)
    return looked_up[places.astype(np.int64)], (0, 2**bits - 1)


def _padding(values: Any, data: Any) -> Any:
    """Where the picture is not (DICOM PS3.3, C.7.5.1.1.2); None when it is everywhere."""
    value = _number(data, "PixelPaddingValue")
    if value is None:
        return None
    limit = _number(data, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    padding = (values >= low) & (values <= high)
    return padding if padding.any() and not padding.all() else None


def _number(data: Any, keyword: str) -> float | None:
    """The first of its values; None when there is none."""
    value = data.get(keyword)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if value else None
    return None if value is None or value == "" else float(value)
