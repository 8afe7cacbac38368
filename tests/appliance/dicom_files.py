"""Small DICOM files, written for one claim each."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

# Values that the standard does not allow are part of the claims.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE


def data_set(pixels: NDArray[Any], **tags: object) -> Dataset:
    """H x W grey, or H x W x 3 colour, in the bits of its type; `tags` are added or replace."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, "1.2.3"
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    data.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    bits = pixels.dtype.itemsize * 8
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in tags.items():
        setattr(data, keyword, value)
    if "PixelData" not in data:
        data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW" if bits > 8 else "OB"
    return data


def save(path: Path, data: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = UID(syntax)
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    if data.file_meta.TransferSyntaxUID.is_private:
        data.save_as(path, implicit_vr=False, little_endian=True)
    else:
        data.save_as(path, enforce_file_format=True)
    return path


def write(path: Path, pixels: NDArray[Any], **tags: object) -> Path:
    return save(path, data_set(pixels, **tags))


RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8) * 64
"""0 to 4032."""
