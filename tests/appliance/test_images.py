"""Image files, good and hostile."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from appliance.edges.images import ImageFiles
from appliance.errors import ImageError

SIZE = 8


def opened(path: Path) -> Image.Image:
    picture = ImageFiles().open(str(path), SIZE)
    return Image.frombytes("RGB", (SIZE, SIZE), picture.rgb)


def halves(left: object, right: object, mode: str = "RGB") -> Image.Image:
    """A 40 x 20 picture of two colours."""
    image = Image.new(mode, (40, 20), left)  # type: ignore[arg-type]
    image.paste(right, (20, 0, 40, 20))  # type: ignore[arg-type]
    return image


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_the_usual_formats_are_read_whatever_their_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    halves("red", "blue").save(path)
    path = path.rename(tmp_path / "x.txt")
    picture = ImageFiles().open(str(path), SIZE)
    assert (picture.width, picture.height, picture.size) == (40, 20, SIZE)
    image = opened(path)
    assert image.getpixel((1, 4)) == pytest.approx((254, 0, 0), abs=3)
    assert image.getpixel((6, 4)) == pytest.approx((0, 0, 254), abs=3)


def test_the_picture_is_squashed_bilinear_as_in_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (30, 50, 3), dtype=np.uint8))
    image.save(tmp_path / "x.png")
    expected = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    assert opened(tmp_path / "x.png").tobytes() == expected.tobytes()


def test_a_turned_photograph_is_set_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: turn by 90 degrees
    halves("red", "blue").save(tmp_path / "x.jpg", exif=exif, quality=95)
    picture = ImageFiles().open(str(tmp_path / "x.jpg"), SIZE)
    assert (picture.width, picture.height) == (20, 40)
    top, bottom = (opened(tmp_path / "x.jpg").getpixel((4, y)) for y in (1, 6))
    assert top == pytest.approx((254, 0, 0), abs=3)
    assert bottom == pytest.approx((0, 0, 254), abs=3)


@pytest.mark.parametrize(
    ("mode", "left", "right", "expected"),
    [
        ("RGBA", (255, 255, 255, 255), (255, 255, 255, 0), ((255,) * 3, (0, 0, 0))),
        ("CMYK", (0, 255, 255, 0), (0, 0, 0, 255), ((255, 0, 0), (0, 0, 0))),
        ("I", 70_000, 1000, ((255,) * 3, (0, 0, 0))),
        ("L", 200, 100, ((200,) * 3, (100,) * 3)),
        ("P", 0, 1, None),
    ],
)
def test_every_colour_mode_becomes_rgb_by_its_rule(
    tmp_path: Path, mode: str, left: object, right: object, expected: object
) -> None:
    image = halves(left, right, mode)
    if mode == "P":
        image.putpalette([9, 9, 9, 250, 250, 250])
        expected = ((9,) * 3, (250,) * 3)
    image.save(tmp_path / "x.tif")
    found = opened(tmp_path / "x.tif")
    assert (found.getpixel((1, 4)), found.getpixel((6, 4))) == expected


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_spans_black_to_white(tmp_path: Path, suffix: str) -> None:
    ramp = np.linspace(1000, 4000, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / f"x.{suffix}")
    found = np.asarray(opened(tmp_path / f"x.{suffix}"))[..., 0].ravel()
    assert found[0] == 0 and found[-1] == 255 and (np.diff(found.astype(int)) >= 0).all()


def test_a_sixteen_bit_tiff_whose_white_is_zero_is_not_a_negative(tmp_path: Path) -> None:
    values = np.full((8, 8), 1000, np.uint16)
    values[2:6, 2:6] = 60_000
    Image.fromarray(values).save(tmp_path / "x.tif", tiffinfo={262: 0})
    found = opened(tmp_path / "x.tif")
    assert (found.getpixel((4, 4)), found.getpixel((0, 0))) == ((0,) * 3, (255,) * 3)


def test_an_unsupported_dicom_compression_is_named(chest_dicom: Path) -> None:
    path = chest_dicom.with_name("JPEG-LL.dcm")
    with pytest.raises(ImageError, match="compression is not supported") as caught:
        ImageFiles().open(str(path), SIZE)
    assert caught.value.code == "image-compression" and "JPEG 2000" in caught.value.hint


def test_only_the_first_frame_is_read_and_it_says_so(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (9, 9), colour) for colour in ("red", "green", "blue")]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    picture = ImageFiles().open(str(tmp_path / "x.tif"), SIZE)
    assert picture.note == "only the first of 3 frames was read"
    assert picture.rgb[:3] == b"\xff\x00\x00"


def test_a_dicom_radiograph_is_shown_through_its_window(chest_dicom: Path) -> None:
    picture = ImageFiles().open(str(chest_dicom), 64)
    assert (picture.kind, picture.width, picture.height) == ("DICOM", 1841, 1955)
    grey = np.frombuffer(picture.rgb, np.uint8).reshape(64, 64, 3)[..., 0]
    lungs, spine = grey[20:40, 12:22].mean(), grey[30:50, 30:34].mean()
    assert spine > lungs + 30, "bone must be bright and air dark"


def test_compressed_and_plain_dicom_are_the_same_picture(chest_dicom: Path) -> None:
    plain, packed = (
        np.frombuffer(ImageFiles().open(str(path), 64).rgb, np.uint8).astype(int)
        for path in (chest_dicom, chest_dicom.with_name("RG1_J2KR.dcm"))
    )
    assert abs(plain - packed).max() <= 1


def missing(path: Path) -> None:
    pass


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("not an image")


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def truncated(path: Path) -> None:
    Image.effect_noise((200, 200), 90).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:3000])


def bomb(path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(path, "PNG")


def dicom_without_pixels(path: Path) -> None:
    path.write_bytes(bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\x00")


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (missing, "image-missing"),
        (empty, "image-empty"),
        (text, "image-unknown"),
        (folder, "image-not-a-file"),
        (pipe, "image-not-a-file"),
        (truncated, "image-damaged"),
        (bomb, "image-too-large"),
        (dicom_without_pixels, "image-no-pixels"),
    ],
)
def test_a_bad_file_is_named_with_what_to_do(
    tmp_path: Path, make: Callable[[Path], None], code: str
) -> None:
    path = tmp_path / "x.png"
    make(path)
    with pytest.raises(ImageError) as caught:
        ImageFiles().open(str(path), SIZE)
    assert caught.value.code == code
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.touch(mode=0o000)
    is_root = os.geteuid() == 0
    try:
        if is_root:  # who may read every file
            os.seteuid(65534)
        with pytest.raises(ImageError, match="cannot be opened") as caught:
            ImageFiles().open(str(path), SIZE)
    finally:
        if is_root:
            os.seteuid(0)
    assert caught.value.code == "image-no-access"


@pytest.mark.data
def test_hostile_images_end_in_a_picture_or_an_image_error(shared: Path) -> None:
    files = [
        *sorted((shared / "corpora/gen/img").iterdir()),
        *sorted((shared / "corpora/gen/dicom").iterdir())[:8],
        *sorted((shared / "corpora/pillow").iterdir())[::8],
    ]
    refused = 0
    for path in files:
        try:
            picture = ImageFiles().open(str(path), SIZE)
            assert len(picture.rgb) == SIZE * SIZE * 3
        except ImageError as exc:
            refused += 1
            assert exc.code.startswith("image-") and exc.hint
    assert 0 < refused < len(files)
