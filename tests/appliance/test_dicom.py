"""DICOM: what is stored becomes what its maker meant to be seen, and no tag leaves."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import RAMP, data_set, save, write
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    HTJ2K,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from appliance.core.ports import Picture
from appliance.core.scope import Facts
from appliance.edges.dicom_pixels import decode_dicom
from appliance.edges.images import ImageFiles
from appliance.errors import ImageError

SIZE = 8
SAMPLES = Path(pydicom.__file__).parent / "data/test_files"


def sample(name: str) -> Path:
    """One of the files that pydicom is installed with."""
    return SAMPLES / name


def opened(path: Path | str) -> Picture:
    return ImageFiles().open(str(path), SIZE)


def shown(path: Path) -> NDArray[np.int64]:
    """The grey value of every pixel of an 8 x 8 file."""
    rgb = np.frombuffer(opened(path).rgb, np.uint8).reshape(SIZE, SIZE, 3)
    assert (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 0] == rgb[..., 2]).all()
    return rgb[..., 0].astype(np.int64)


def test_without_a_window_grey_spans_least_to_greatest(tmp_path: Path) -> None:
    assert (shown(write(tmp_path / "x", RAMP)) == np.rint(RAMP / 4032 * 255)).all()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        # PS3.3 C.11.2.1.2.1, C.11.2.1.3.2 and C.11.2.1.3.1
        ("LINEAR", lambda x: ((x - 1999.5) / 999 + 0.5).clip(0, 1)),
        ("LINEAR_EXACT", lambda x: ((x - 2000) / 1000 + 0.5).clip(0, 1)),
        ("SIGMOID", lambda x: 1 / (1 + np.exp(-4 * (x - 2000) / 1000))),
    ],
)
def test_the_first_window_is_what_the_standard_says(
    tmp_path: Path, function: str, expected: Any
) -> None:
    path = write(
        tmp_path / "x",
        RAMP,
        WindowCenter=["2000", "100"],
        WindowWidth=["1000", "10"],
        VOILUTFunction=function,
    )
    assert abs(shown(path) - expected(RAMP.astype(float)) * 255).max() < 0.501


def test_a_picture_in_the_dark_half_of_its_window_stays_dark(tmp_path: Path) -> None:
    path = write(tmp_path / "x", RAMP, WindowCenter="4096", WindowWidth="8192")
    assert shown(path).max() == pytest.approx(4032 / 8192 * 255, abs=1)


def lut(descriptor: list[int], values: list[int]) -> Sequence:
    table = Dataset()
    table.LUTDescriptor, table.LUTData = descriptor, values
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    return Sequence([table])


def test_a_voi_lut_goes_before_a_window(tmp_path: Path) -> None:
    # More entries than an 8-bit index holds, of 8 bits each, from the value 64 on.
    values = [min(255, i // 8) for i in range(4000)]
    path = write(
        tmp_path / "x",
        RAMP,
        VOILUTSequence=lut([4000, 64, 8], values),
        WindowCenter="1",
        WindowWidth="2",
    )
    assert (shown(path) == np.clip((RAMP.astype(int) - 64).clip(0) // 8, 0, 255)).all()


def test_values_are_rescaled_or_looked_up_before_the_window(tmp_path: Path) -> None:
    window = {"WindowCenter": "0", "WindowWidth": "1001"}
    slope = write(tmp_path / "a", RAMP, RescaleSlope="0.5", RescaleIntercept="-1000", **window)
    found = ((RAMP / 2 - 1000 + 0.5) / 1000 + 0.5).clip(0, 1)
    assert abs(shown(slope) - found * 255).max() <= 1
    table = lut([4096, 0, 12], [4095 - i for i in range(4096)])
    turned = write(tmp_path / "b", RAMP, ModalityLUTSequence=table)
    assert (shown(turned) == 255 - shown(write(tmp_path / "c", RAMP))).all()


def test_monochrome1_is_turned_over_and_padding_is_black(tmp_path: Path) -> None:
    plain = shown(write(tmp_path / "a", RAMP))
    turned = shown(write(tmp_path / "b", RAMP, PhotometricInterpretation="MONOCHROME1"))
    assert (plain + turned == 255).all()
    padded = RAMP.copy()
    padded[0] = 65_535
    found = shown(write(tmp_path / "c", padded, PixelPaddingValue=65_535))
    assert (found[0] == 0).all() and found[-1, -1] == 255


@pytest.mark.parametrize("kind", ["i1", "i2", "u1", "u4", "i4"])
def test_signed_and_wide_numbers_keep_their_order(tmp_path: Path, kind: str) -> None:
    info = np.iinfo(kind)
    values = np.linspace(info.min, info.max, 64).astype(kind).reshape(8, 8)
    found = shown(write(tmp_path / "x", values)).ravel()
    assert found[0] == 0 and found[-1] == 255 and (np.diff(found) > 0).all()


COLOURS = np.zeros((8, 8, 3), np.uint8)
COLOURS[:, :4], COLOURS[:, 4:] = (250, 10, 20), (30, 40, 240)


def test_colour_by_pixel_by_plane_and_in_16_bits_is_the_same(tmp_path: Path) -> None:
    planes = COLOURS.transpose(2, 0, 1).tobytes()
    paths = [
        write(tmp_path / "a", COLOURS),
        write(tmp_path / "b", COLOURS, PlanarConfiguration=1, PixelData=planes),
        write(tmp_path / "c", COLOURS.astype(np.uint16) << 8),
    ]
    assert [opened(path).rgb for path in paths] == [COLOURS.tobytes()] * 3


def test_ybr_and_palette_become_rgb(tmp_path: Path) -> None:
    ybr = np.asarray(Image.fromarray(COLOURS).convert("YCbCr"))
    found = opened(write(tmp_path / "a", ybr, PhotometricInterpretation="YBR_FULL"))
    assert abs(np.frombuffer(found.rgb, np.uint8).astype(int) - COLOURS.ravel()).max() <= 2
    tables: dict[str, object] = {}
    for place, colour in enumerate(("Red", "Green", "Blue")):
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [2, 0, 16]
        entries = COLOURS[0, [0, 4], place].astype("<u2") * 257
        tables[f"{colour}PaletteColorLookupTableData"] = entries.tobytes()
    index = (np.arange(8) >= 4).astype(np.uint8)[None].repeat(8, 0)
    path = write(tmp_path / "b", index, PhotometricInterpretation="PALETTE COLOR", **tables)
    assert opened(path).rgb == COLOURS.tobytes()


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_what_is_packed_without_loss_is_the_same_picture(tmp_path: Path, syntax: str) -> None:
    if syntax == RLELossless:
        data = data_set(RAMP)
        save(tmp_path / "x", data)
        data.compress(RLELossless)
        data.save_as(tmp_path / "x")
        assert (shown(tmp_path / "x") == shown(write(tmp_path / "y", RAMP))).all()
    else:
        packed, plain = (
            opened(sample(name)) for name in ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm")
        )
        assert packed.rgb == plain.rgb


def test_lossless_jpeg_is_the_same_picture(chest_dicom: Path) -> None:
    packed, plain = sample("SC_rgb_jpeg_gdcm.dcm"), chest_dicom.with_name("SC_rgb.dcm")
    assert opened(packed).rgb == opened(plain).rgb
    assert opened(chest_dicom.with_name("JPEG-LL.dcm")).width == 256


def test_a_12_bit_jpeg_is_read() -> None:
    """Values at (row, column) as in pydicom's own tests of JPGExtended.dcm."""
    image, _, _ = decode_dicom(sample("JPGExtended.dcm").read_bytes())
    grey, greatest = np.asarray(image)[..., 0], 264
    assert image.size == (256, 1024)
    assert grey[420, 140] == round(244 / greatest * 255)
    assert grey[230, 120] == round(95 / greatest * 255)
    assert opened(sample("JPGExtended.dcm")).height == 1024


def test_a_compression_that_is_not_known_is_named(tmp_path: Path) -> None:
    data = data_set(RAMP, PixelData=encapsulate([b"\0" * 8]))
    data["PixelData"].is_undefined_length = True
    path = save(tmp_path / "x", data, HTJ2K)
    with pytest.raises(ImageError, match=r"not supported \(High-Throughput JPEG 2000") as caught:
        opened(path)
    assert caught.value.code == "image-compression" and "JPEG 2000" in caught.value.hint


def test_a_private_compression_is_refused_without_its_identifier(tmp_path: Path) -> None:
    data = data_set(RAMP, PixelData=encapsulate([b"\0" * 8]))
    data["PixelData"].is_undefined_length = True
    path = save(tmp_path / "x", data, "1.3.6.1.4.1.99999.20040305.1")
    with pytest.raises(ImageError) as caught:
        opened(path)
    assert "99999" not in caught.value.message and caught.value.code == "image-compression"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, None])
def test_a_data_set_without_preamble_is_read(tmp_path: Path, syntax: str | None) -> None:
    whole = write(tmp_path / "x", RAMP)
    data = pydicom.dcmread(whole)
    data.PixelData = RAMP.astype(">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes()
    bare = Dataset(data)
    with io.BytesIO() as file:
        pydicom.dcmwrite(
            file,
            bare,
            implicit_vr=syntax == ImplicitVRLittleEndian,
            little_endian=syntax != ExplicitVRBigEndian,
        )
        (tmp_path / "y").write_bytes(file.getvalue())
    assert (tmp_path / "y").read_bytes()[128:132] != b"DICM"
    assert (shown(tmp_path / "y") == shown(whole)).all()


@pytest.mark.parametrize(
    "start", [b"\x08\0\x05\0CS\x0a\0", b"\x02\0\0\0UL\4\0\xff\0\0\0", b"\0\x08"]
)
def test_what_only_begins_like_dicom_is_not(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "x").write_bytes(start + b"\x10\0\x28\0 any other bytes " * 9)
    with pytest.raises(ImageError) as caught:
        opened(tmp_path / "x")
    assert caught.value.code in ("image-unknown", "image-damaged")


def test_the_first_of_many_frames_is_read_and_it_says_so(tmp_path: Path) -> None:
    both = RAMP.tobytes() + (4032 - RAMP).tobytes()
    path = write(tmp_path / "x", RAMP, NumberOfFrames=2, PixelData=both)
    assert (shown(path) == shown(write(tmp_path / "y", RAMP))).all()
    assert opened(path).note == "only the first of 2 frames was read"


@pytest.mark.parametrize(
    ("tags", "facts"),
    [
        ({"Modality": "CR", "PatientAge": "003Y"}, Facts(modality="CR", age="1 to 5 years")),
        ({"PatientAge": "018M"}, Facts(age="1 to 5 years")),
        ({"PatientAge": "000Y"}, Facts()),
        ({"PatientAge": "62"}, Facts()),
        (
            {"PatientBirthDate": "19400305", "StudyDate": "20040304"},
            Facts(age="60 to 69 years"),
        ),
        ({"PatientBirthDate": "19000101", "StudyDate": "20240101"}, Facts()),
        ({"BodyPartExamined": "WHOLE BODY"}, Facts(body_part="WHOLEBODY")),
        ({"ViewPosition": "LL", "BodyPartExamined": "Jane Doe"}, Facts(view="LATERAL")),
        (
            {"Modality": "XC", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.7"},
            Facts(modality="DMS"),
        ),
    ],
)
def test_tags_leave_as_general_facts_only(
    tmp_path: Path, tags: dict[str, str], facts: Facts
) -> None:
    assert opened(write(tmp_path / "x", RAMP, **tags)).facts == facts


def test_burned_in_text_is_told_of_when_the_tags_tell(tmp_path: Path) -> None:
    def note(**tags: object) -> str | None:
        return opened(write(tmp_path / "x", RAMP, **tags)).note

    assert note(BurnedInAnnotation="YES") == "its tags say that text is burned into the picture"
    assert note(Modality="US") == "ultrasound pictures often have names burned into them"
    assert note(Modality="US", BurnedInAnnotation="NO") is None


def test_no_planted_identifier_leaves_the_file(tmp_path: Path) -> None:
    """In every tag that may hold text, and a private one."""
    from pydicom._dicom_dict import DicomDictionary

    texts = ("PN", "LO", "SH", "ST", "LT", "UT", "UC", "UR", "CS", "AE", "AS", "DA", "UI")
    pixels_own = (0x0000, 0x0002, 0x0028, 0x7FE0)
    data = data_set(RAMP)
    planted = 0
    for tag, (kind, many, _, retired, _) in DicomDictionary.items():
        if kind not in texts or retired or tag >> 16 in pixels_own or many not in ("1", "1-n"):
            continue
        if kind in ("CS", "DA", "AS", "UI"):  # too short for a name, or of digits
            value = {"CS": "PLANTED", "DA": "19771107", "AS": "077Y", "UI": "1.2.7777"}[kind]
        else:
            value = "PLANTED^Jane"[: 16 if kind in ("SH", "AE") else None]
        if tag not in (0x00080016, 0x00080005):
            data.add_new(tag, kind, value)
            planted += 1
    data.private_block(0x0011, "PLANTED", create=True).add_new(1, "LO", "PLANTED")
    assert planted > 1000
    path = save(tmp_path / "PLANTED.dcm", data)
    picture = opened(path)
    said = json.dumps([picture.kind, picture.note, str(picture.facts)])
    assert not any(piece in said for piece in ("PLANTED", "Jane", "1977", "7777", "077"))
    assert picture.facts == Facts(age="70 to 79 years")
    assert picture.rgb == opened(write(tmp_path / "bare.dcm", RAMP)).rgb
