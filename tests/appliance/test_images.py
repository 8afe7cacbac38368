"""Image files, good and hostile."""

import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageChops, PngImagePlugin

from appliance.edges.images import MOST_KEPT, ImageFiles, child_command, parse_answer, run_child
from appliance.errors import ImageError

SIZE = 8
REFUSALS = {
    *("image-empty", "image-unknown", "image-damaged", "image-too-large", "image-compression"),
    *("image-no-pixels", "image-timeout"),
}


def opened(path: Path) -> Image.Image:
    picture = ImageFiles().open(str(path), SIZE)
    return Image.frombytes("RGB", (SIZE, SIZE), picture.rgb)


def halves(left: object, right: object, mode: str = "RGB") -> Image.Image:
    """A 40 x 20 picture of two colours."""
    image = Image.new(mode, (40, 20), left)  # type: ignore[arg-type]
    image.paste(right, (20, 0, 40, 20))  # type: ignore[arg-type]
    return image


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "bmp"])
def test_the_usual_formats_are_read_whatever_their_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    halves("red", "blue").save(path, lossless=True)  # which WebP alone heeds
    path = path.rename(tmp_path / "x.txt")
    picture = ImageFiles().open(str(path), SIZE)
    assert (picture.width, picture.height, picture.size) == (40, 20, SIZE)
    assert (picture.note, picture.facts, picture.text_regions) == (None, None, None)
    image = opened(path)
    assert image.getpixel((1, 4)) == pytest.approx((254, 0, 0), abs=3)
    assert image.getpixel((6, 4)) == pytest.approx((0, 0, 254), abs=3)


def test_the_picture_is_squashed_bilinear_as_in_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (30, 50, 3), dtype=np.uint8))
    image.save(tmp_path / "x.png")
    expected = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    assert opened(tmp_path / "x.png").tobytes() == expected.tobytes()


def test_the_same_content_is_decoded_once_and_other_content_always(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = ImageFiles()
    first, same, other = (tmp_path / name for name in ("first.png", "same.png", "other.png"))
    halves("red", "blue").save(first)
    same.write_bytes(first.read_bytes())
    halves("red", "green").save(other)
    before = images.open(str(first), SIZE)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))  # nothing can be decoded now
    assert images.open(str(same), SIZE) == before
    for path, size in ((other, SIZE), (first, SIZE + 1)):
        with pytest.raises(FileNotFoundError):
            images.open(str(path), size)
    first.write_bytes(other.read_bytes())
    with pytest.raises(FileNotFoundError):
        images.open(str(first), SIZE)
    monkeypatch.undo()
    for _ in range(2):
        for shade in range(MOST_KEPT + 1):
            halves((shade, 0, 0), "blue").save(first)
            picture = images.open(str(first), SIZE)
            assert picture.rgb[0] == shade
    assert len(images._last) == MOST_KEPT


def test_a_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halves("red", "blue").save(tmp_path / "x.png")
    hashed = []

    def sha256(content: bytes) -> Any:
        hashed.append(content)
        return hashlib.new("sha256", content)

    monkeypatch.setattr("hashlib.sha256", sha256)
    picture = ImageFiles().open(str(tmp_path / "x.png"), SIZE)
    assert hashed == [(tmp_path / "x.png").read_bytes()]
    assert picture.sha256 == hashlib.new("sha256", hashed[0]).hexdigest()


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
        ("F", -0.5, float("nan"), ((0,) * 3, (0,) * 3)),
        ("LAB", (138, 209, 198), (0, 128, 128), ((255, 0, 0), (0, 0, 0))),
    ],
)
def test_every_colour_mode_becomes_rgb_by_its_rule(
    tmp_path: Path, mode: str, left: object, right: object, expected: Any
) -> None:
    image = halves(left, right, mode)
    if mode == "P":
        image.putpalette([9, 9, 9, 250, 250, 250])
        expected = ((9,) * 3, (250,) * 3)
    image.save(tmp_path / "x.tif")
    found = opened(tmp_path / "x.tif")
    for place, colour in zip((1, 6), expected, strict=True):
        assert found.getpixel((place, 4)) == pytest.approx(colour, abs=6 if mode == "LAB" else 0)


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "LA"])
def test_what_is_transparent_is_black_in_every_mode(tmp_path: Path, mode: str) -> None:
    image = halves("white", "white").convert(mode)
    if mode == "LA":
        image.paste((255, 0), (20, 0, 40, 20))
        image.save(tmp_path / "x.png")
    else:
        clear: Any = {"P": 0, "L": 9, "RGB": (9, 9, 9)}[mode]
        image.paste(clear, (20, 0, 40, 20))
        image.save(tmp_path / "x.png", transparency=clear)
    found = opened(tmp_path / "x.png")
    assert (found.getpixel((1, 4)), found.getpixel((6, 4))) == ((255,) * 3, (0,) * 3)


def test_a_cmyk_jpeg_is_turned_over_only_where_adobe_says_so(tmp_path: Path) -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red.save(tmp_path / "x.jpg", quality=95)  # as Adobe writes it, with its marker
    assert opened(tmp_path / "x.jpg").getpixel((4, 4)) == pytest.approx((254, 0, 0), abs=4)
    ImageChops.invert(red).save(tmp_path / "y.jpg", quality=95)
    encoded = (tmp_path / "y.jpg").read_bytes()
    marker = encoded.index(b"\xff\xee\0\x0eAdobe")
    (tmp_path / "y.jpg").write_bytes(encoded[:marker] + encoded[marker + 16 :])
    assert opened(tmp_path / "y.jpg").getpixel((4, 4)) == pytest.approx((254, 0, 0), abs=4)


def test_a_photograph_with_its_preview_is_one_frame(tmp_path: Path) -> None:
    first, preview = halves("red", "blue"), Image.new("RGB", (8, 8))
    first.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[preview])
    picture = ImageFiles().open(str(tmp_path / "x.jpg"), SIZE)
    assert (picture.kind, picture.note, picture.width) == ("JPEG", None, 40)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_of_a_film_strip_the_first_picture_is_read(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "lime")]
    path = tmp_path / f"x.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    picture = ImageFiles().open(str(path), SIZE)
    assert picture.note == "only the first of 2 frames was read"
    assert picture.rgb[:3] == b"\xff\x00\x00"


PLANTED = "PLANTED Jane 19771107"


def test_no_planted_identifier_leaves_a_picture_file(tmp_path: Path) -> None:
    """EXIF, XMP, comments, PNG texts and a colour profile: beside the pixels nothing comes out."""
    image, exif, texts = halves("red", "blue"), Image.Exif(), PngImagePlugin.PngInfo()
    for tag in (0x010E, 0x013B, 0x8298, 0x010F, 0x0110, 0x0131, 0x0132, 0x9C9B):
        exif[tag] = PLANTED
    for add in (texts.add_text, texts.add_itxt):
        add("Comment", PLANTED)
    texts.add_text("XML:com.adobe.xmp", PLANTED, zip=True)
    beside: Any = {"exif": exif, "xmp": PLANTED.encode(), "icc_profile": PLANTED.encode()}
    image.save(tmp_path / "PLANTED.jpg", comment=PLANTED, **beside)
    image.save(tmp_path / "PLANTED.png", pnginfo=texts, exif=exif)
    image.save(tmp_path / "PLANTED.webp", lossless=True, **beside)
    image.save(tmp_path / "PLANTED.tif", description=PLANTED, artist=PLANTED, software=PLANTED)
    for path in tmp_path.glob("PLANTED.*"):
        assert PLANTED.encode() in path.read_bytes() or path.suffix == ".png"
        command, environment = child_command(SIZE, "off")
        code, answer = run_child(command, environment, path.read_bytes(), 1 << 20)
        header, _, pixels = answer.partition(b"\n")
        assert code == 0 and len(pixels) == SIZE * SIZE * 3
        assert b"PLANTED" not in answer and b"Jane" not in answer and b"1977" not in answer
        assert json.loads(header)["facts"] is None


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/stdin", "/proc/kmsg", "/proc/self/pagemap"])
def test_no_file_of_the_kernel_holds_the_worklist_up(path: str) -> None:
    if not Path(path).exists():
        pytest.skip("this machine has no such file")
    with pytest.raises(ImageError) as caught:
        ImageFiles().open(path, SIZE)
    assert caught.value.code in (
        "image-not-a-file",
        "image-no-access",
        "image-too-large",
        "image-unknown",
        "image-empty",
    )


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("import os; os._exit(3)", "image-damaged"),
        ("import os; os.abort()", "image-damaged"),
        ("print('not json')", "image-damaged"),
        ("print('{}')", "image-damaged"),
        ("print('[1]')", "image-damaged"),
        ("import sys; sys.stdout.write('x' * 10_000_000)", "image-damaged"),
        (
            "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 2))\nwhile 1: pass",
            "image-timeout",
        ),
    ],
)
def test_whatever_the_child_does_the_parent_has_a_typed_answer(script: str, code: str) -> None:
    returncode, answer = run_child([sys.executable, "-c", script], {}, b"x" * 10_000_000, 1000)
    assert len(answer) <= 1000
    with pytest.raises(ImageError) as caught:
        parse_answer("x.png", returncode, answer, SIZE)
    assert caught.value.code == code


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


def largest_child_bytes() -> int:
    """Of all that this process has waited for, those of earlier tests too."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


@pytest.mark.data
def test_hostile_images_end_in_a_picture_or_an_image_error(shared: Path) -> None:
    """A sample; tests/benchmarks/hostile_images.py opens them all."""
    files = [
        *sorted((shared / "corpora/gen/img").iterdir())[::2],
        *sorted((shared / "corpora/gen/dicom").iterdir())[:6],
        *sorted((shared / "corpora/pydicom").iterdir())[::20],
        *sorted((shared / "corpora/pillow").iterdir())[::8],
    ]
    refused = 0
    before_bytes = largest_child_bytes()
    for path in files:
        started = time.monotonic()
        try:
            picture = ImageFiles().open(str(path), SIZE)
            assert len(picture.rgb) == SIZE * SIZE * 3
        except ImageError as exc:
            refused += 1
            assert exc.code in REFUSALS and exc.hint
        assert time.monotonic() - started < 31
    assert 0 < refused < len(files)
    assert largest_child_bytes() < max(2 << 30, before_bytes + 1)
