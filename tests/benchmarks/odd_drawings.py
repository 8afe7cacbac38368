"""Drawings of what the gate must refuse: pages, screens, charts, other modalities.

Each function draws one kind in two styles, 0 and 1, which share little code: a gate chosen on one
style is measured on the other. Deterministic in `rng`.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Plane = NDArray[np.float64]
Rng = np.random.Generator
SIDE = 384
WORDS = [
    *("patient", "referred", "because", "of", "for", "with", "and", "the", "clinic", "date"),
    *("name", "ward", "result", "normal", "see", "note", "dose", "tablet", "daily", "review"),
    *("blood", "pressure", "sample", "received", "taken", "by", "after", "before", "days"),
]


def blank(rng: Rng, style: int) -> Image.Image:
    """One colour; style 1 has a lens cap's faint fall of light and sensor noise."""
    plane = np.ones((SIDE, SIDE, 3)) * rng.uniform(0, 255, 3)
    if style:
        plane = np.ones((SIDE, SIDE, 3)) * rng.uniform(2, 250)
        plane = plane + 2 * _grid()[0][..., None] + rng.normal(0, 0.8, plane.shape)
    return _image(plane)


def noise(rng: Rng, style: int) -> Image.Image:
    """White noise of several spreads and grains; style 1 is fractal noise and salt and pepper."""
    if not style:
        grain = int(rng.choice([1, 2, 4]))
        shape = (SIDE // grain, SIDE // grain, int(rng.choice([1, 3])))
        plane = rng.normal(rng.uniform(60, 190), rng.uniform(30, 90), shape)
        return _image(plane.repeat(grain, 0).repeat(grain, 1) * np.ones(3))
    if rng.uniform() < 0.5:
        plane = np.full((SIDE, SIDE), rng.uniform(60, 200))
        hit = rng.uniform(size=plane.shape)
        plane[hit < 0.2], plane[hit > 0.8] = 0, 255
        return _image(plane[..., None] * np.ones(3))
    channels = [_fractal(rng, rng.uniform(0.6, 1.2)) for _ in range(3)]
    return _image(255 * np.stack(channels, -1))


def page(rng: Rng, style: int) -> Image.Image:
    """A page of text; style 1 is a photographed form with rules, boxes and a tilt."""
    paper = (int(rng.integers(225, 256)),) * 3
    image = Image.new("RGB", (600, 800), paper)
    pen = ImageDraw.Draw(image)
    size = int(rng.integers(11, 26))
    font, y = ImageFont.load_default(size), 40
    while y < 760:
        if style and rng.uniform() < 0.4:
            pen.rectangle((40, y, int(rng.integers(200, 560)), y + size + 6), outline=(60, 60, 60))
        pen.text((45, y), _words(rng, int(rng.integers(2, 9))), fill=(30, 30, 40), font=font)
        y += int(size * rng.uniform(1.3, 2.2))
    if style:
        image = image.rotate(
            rng.uniform(-12, 12), Image.Resampling.BICUBIC, fillcolor=(120, 95, 70)
        )
        shade = 1 - 0.45 * (_grid(800, 600)[1][..., None] + 1) / 2 * rng.uniform(0.3, 1)
        image = _image(np.asarray(image) * shade)
    return image


def screenshot(rng: Rng, style: int) -> Image.Image:
    """Style 0: a terminal or an editor; style 1: a web page or a desktop with windows."""
    width, height = [(1280, 720), (1024, 768), (390, 844)][int(rng.integers(3))]
    if not style:
        dark = rng.uniform() < 0.6
        image = Image.new("RGB", (width, height), (24, 24, 30) if dark else (252, 252, 248))
        pen, size = ImageDraw.Draw(image), int(rng.integers(12, 22))
        for y in range(10, height - size, int(size * 1.35)):
            if rng.uniform() < 0.85:
                colour = tuple(int(c) for c in rng.integers(*((90, 256) if dark else (0, 140)), 3))
                place = (10 + 20 * int(rng.integers(0, 4)), y)
                text = _words(rng, int(rng.integers(1, 14)))
                pen.text(place, text, fill=colour, font=ImageFont.load_default(size))
        return image
    image = Image.new("RGB", (width, height), tuple(int(c) for c in rng.integers(150, 256, 3)))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, width, 44), fill=tuple(int(c) for c in rng.integers(20, 200, 3)))
    for _ in range(int(rng.integers(3, 8))):
        x, y = int(rng.integers(0, width - 150)), int(rng.integers(50, height - 150))
        right, low = x + int(rng.integers(120, 520)), y + int(rng.integers(80, 360))
        pen.rectangle((x, y, right, low), fill=(250, 250, 250), outline=(90, 90, 90))
        pen.rectangle((x, y, right, y + 22), fill=tuple(int(c) for c in rng.integers(0, 220, 3)))
        for line in range(y + 30, low - 14, 18):
            pen.text(
                (x + 8, line),
                _words(rng, 5)[: (right - x) // 8],
                fill=(20, 20, 20),
                font=ImageFont.load_default(13),
            )
        if rng.uniform() < 0.5:
            pen.rounded_rectangle((x + 10, low - 34, x + 90, low - 8), 8, fill=(30, 110, 220))
    return image


def chart(rng: Rng, style: int) -> Image.Image:
    """Style 0: bars or lines on axes; style 1: a pie, a scatter or an ECG strip."""
    image = Image.new("RGB", (640, 480), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    colours = [tuple(int(c) for c in rng.integers(0, 220, 3)) for _ in range(6)]
    which = rng.uniform()
    if style and which < 0.35:
        start = 0.0
        for colour, share in zip(colours, rng.dirichlet(np.ones(6)), strict=True):
            pen.pieslice((140, 60, 500, 420), start, start + 360 * share, fill=colour)
            start += 360 * share
    elif style and which < 0.7:
        pen.rectangle((0, 0, 640, 480), fill=(255, 240, 238))
        for place in range(0, 640, 16):
            pen.line((place, 0, place, 480), fill=(240, 170, 170))
            pen.line((0, place, 640, place), fill=(240, 170, 170))
        for row in range(60, 480, 110):
            beat = [
                (x, row - 55 * (x % 90 == 45) + 20 * (x % 90 == 50) - 10 * np.sin(x / 14) ** 8)
                for x in range(0, 640, 5)
            ]
            pen.line(beat, fill=(20, 20, 20), width=2)
    else:
        pen.line((60, 20, 60, 440, 620, 440), fill=(0, 0, 0), width=2)
        for place in range(8):
            pen.text((20, 30 + 50 * place), str(place * 10), fill=(0, 0, 0))
            if not style and which < 0.5:
                top = int(rng.integers(40, 420))
                pen.rectangle(
                    (80 + 65 * place, top, 125 + 65 * place, 440), fill=colours[place % 6]
                )
        if style:
            for _ in range(200):
                x, y = rng.normal(340, 110), rng.normal(230, 70)
                pen.ellipse((x, y, x + 7, y + 7), fill=colours[int(rng.integers(3))])
        elif which >= 0.5:
            for colour in colours[:3]:
                ys = 230 + np.cumsum(rng.normal(0, 14, 28))
                pen.line([(60 + 20 * i, y) for i, y in enumerate(ys)], fill=colour, width=3)
    pen.text((220, 4), _words(rng, 3), fill=(0, 0, 0), font=ImageFont.load_default(18))
    return image


def ultrasound(rng: Rng, style: int) -> Image.Image:
    """Speckle (Rayleigh) in a sector below a curved probe; style 1 in a linear probe's frame with
    a menu beside it."""
    x, y = _grid()
    tissue = 60 + 70 * _fractal(rng, 1.6) + 50 * np.sin(rng.uniform(4, 12) * y + 3 * x)
    for _ in range(int(rng.integers(1, 5))):
        cx, cy = rng.uniform(-0.5, 0.5), rng.uniform(-0.4, 0.6)
        inside = ((x - cx) / rng.uniform(0.1, 0.4)) ** 2 + ((y - cy) / rng.uniform(0.1, 0.3)) ** 2
        tissue = np.where(inside < 1, tissue * rng.uniform(0.05, 0.5), tissue)
    speckle = _smooth(rng.rayleigh(0.8, tissue.shape), 1.2)
    plane = np.clip(tissue, 0, None) * speckle * np.exp(-0.5 * (y + 1))
    if style:
        plane[(np.abs(x + 0.15) > 0.62) | (np.abs(y) > 0.85)] = 8
    else:
        apex = rng.uniform(1.15, 1.5)
        away, angle = np.hypot(x, y + apex), np.arctan2(x, y + apex)
        wide = rng.uniform(0.45, 0.75)
        plane[(np.abs(angle) > wide) | (away < apex - 0.85) | (away > apex + 0.9)] = 0
    image = _image(plane[..., None] * np.ones(3))
    pen = ImageDraw.Draw(image)
    for line in range(int(rng.integers(3, 9))):
        place = (int(SIDE * 0.8), 20 + 22 * line) if style else (6, 8 + 14 * line)
        pen.text(place, _words(rng, 1), fill=(220, 220, 210), font=ImageFont.load_default(12))
    return image


def ct_slice(rng: Rng, style: int) -> Image.Image:
    """An axial slice: style 0 a skull with brain, style 1 a belly with spine, liver and table."""
    x, y = _grid()
    wide, tall = (0.58, 0.74) if not style else (0.88, 0.62)
    away = np.hypot(x / (wide * rng.uniform(0.9, 1.05)), y / (tall * rng.uniform(0.9, 1.05)))
    grain = rng.normal(0, 7, x.shape)
    if not style:
        plane = np.where(away < 0.88, 95 + 20 * _fractal(rng, 1.5) + grain, 0)
        plane = np.where((away >= 0.88) & (away < 1), 250.0, plane)
        ventricle = np.hypot((np.abs(x) - 0.1) / 0.06, (y + 0.05) / 0.22) < 1
        return _image(np.where(ventricle, 60 + grain, plane)[..., None] * np.ones(3))
    plane = np.where(away < 1, 70 + grain, 0)
    plane = np.where(away < 0.88, 115 + 25 * _fractal(rng, 1.3) + grain, plane)
    liver = np.hypot((x + 0.4) / 0.38, (y + 0.05) / 0.34) < 1
    plane = np.where(liver & (away < 0.85), 165 + grain, plane)
    for _ in range(5):
        cx, cy = rng.uniform(-0.1, 0.6), rng.uniform(-0.3, 0.2)
        plane = np.where(np.hypot(x - cx, y - cy) < rng.uniform(0.04, 0.1), 15 + grain, plane)
    plane = np.where(np.hypot(x / 0.14, (y - 0.36) / 0.12) < 1, 240.0, plane)
    plane = np.where(np.abs(y - 0.78 - 0.12 * x**2) < 0.015, 150.0, plane)
    return _image(plane[..., None] * np.ones(3))


def mr_slice(rng: Rng, style: int) -> Image.Image:
    """Style 0 a head with folds and bright scalp, style 1 a joint: two bright bones in grey."""
    x, y = _grid()
    if not style:
        away = np.hypot(x / rng.uniform(0.55, 0.7), y / rng.uniform(0.7, 0.85))
        folds = np.sin(18 * _fractal(rng, 1.8)) > 0
        plane = np.where(away < 0.8, np.where(folds, 150, 95), 20.0)
        plane = np.where((away > 0.9) & (away < 1), 220.0, plane)
        plane = np.where(away > 1, 4.0, plane) + rng.rayleigh(6, x.shape)
    else:
        tilt = x + rng.uniform(-0.2, 0.2) * y
        flesh = np.abs(tilt) < 0.75
        bone = (np.abs(tilt) < 0.4 + 0.12 * np.exp(-((np.abs(y) - 0.1) ** 2) / 0.03)) & (
            np.abs(y - 0.1 * np.sin(4 * tilt)) > 0.07
        )
        plane = np.where(flesh, 70 + 40 * _fractal(rng, 1.5), 3.0)
        plane = np.where(bone, 185 + 20 * _fractal(rng, 1), plane) + rng.rayleigh(8, x.shape)
    return _image(_smooth(plane, 1.0)[..., None] * np.ones(3))


def endoscopy(rng: Rng, style: int) -> Image.Image:
    """A pink lumen with folds and glare: style 0 in a cut octagon with text, style 1 full frame."""
    x, y = _grid()
    cx, cy = rng.uniform(-0.3, 0.3, 2)
    away, angle = np.hypot(x - cx, y - cy), np.arctan2(y - cy, x - cx)
    folds = 18 * np.sin(9 * away + 2 * np.sin(angle + rng.uniform(0, 6)))
    light = np.clip(away * 1.6, 0, 1) * 150 + 45 + folds + 25 * _fractal(rng, 1.6)
    tint = np.array([1.15, rng.uniform(0.55, 0.7), rng.uniform(0.45, 0.62)])
    plane = light[..., None] * tint
    glare = _smooth((_fractal(rng, 0.9) > 0.8).astype(np.float64), 1.5)
    plane = plane + 200 * glare[..., None]
    if not style:
        outside = (np.abs(x) + np.abs(y) > 1.35) | (np.abs(x) > 0.9) | (np.abs(y) > 0.9)
        plane[outside] = 4
    image = _image(plane)
    if not style:
        pen = ImageDraw.Draw(image)
        for line in range(4):
            pen.text((2, 4 + 14 * line), _words(rng, 1), fill=(230, 230, 230))
    return image


def knee_film(rng: Rng, style: int) -> Image.Image:
    """A radiograph of bones: style 0 a joint seen from the front, style 1 a hand's five rays."""
    x, y = _grid()
    plane = np.zeros_like(x)
    if not style:
        flesh = np.abs(x) < 0.55 + 0.1 * np.cos(3 * y)
        shaft = 0.24 + 0.2 * np.exp(-((np.abs(y) - 0.12) ** 2) / 0.05)
        bone = (np.abs(x + 0.04) < shaft) & (np.abs(y) > 0.04)
        plane = 15 + 75 * flesh + 95 * bone * (1 - 0.4 * np.exp(-((np.abs(x) - shaft) ** 2) * 60))
    else:
        plane += 12
        for finger in range(5):
            lean = -0.5 + 0.25 * finger
            off = x - lean * (0.7 - y * 0.6)
            joint = np.abs(np.sin(6 * (y + 0.1 * finger))) > 0.18
            long = y > -0.75 + 0.12 * abs(finger - 2)
            plane += 60 * (np.abs(off) < 0.11) * long + 90 * (np.abs(off) < 0.05) * long * joint
    plane = plane + 12 * _fractal(rng, 1.2) + rng.normal(0, 4, x.shape)
    return _image(_smooth(plane, rng.uniform(1, 3))[..., None] * np.ones(3))


DRAWN: dict[str, Callable[[Rng, int], Image.Image]] = {
    "blank": blank,
    "noise": noise,
    "text page": page,
    "screenshot": screenshot,
    "chart": chart,
    "ultrasound": ultrasound,
    "CT": ct_slice,
    "MR": mr_slice,
    "endoscopy": endoscopy,
    "other radiograph": knee_film,
}


def _grid(rows: int = SIDE, columns: int = SIDE) -> tuple[Plane, Plane]:
    """x and y from -1 to 1."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    return x, y


def _fractal(rng: Rng, slope: float) -> Plane:
    """Noise with amplitude 1 / frequency ** slope, scaled to 0..1."""
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    strength = 1 / np.maximum(np.hypot(fx, fy), 1 / SIDE) ** slope
    phase = np.exp(2j * np.pi * rng.uniform(size=strength.shape))
    plane: Plane = np.fft.irfft2(strength * phase, (SIDE, SIDE))
    scaled: Plane = (plane - plane.min()) / (plane.max() - plane.min())
    return scaled


def _smooth(plane: Plane, pixels: float) -> Plane:
    low, high = float(plane.min()), float(plane.max()) + 1e-9
    as_bytes = Image.fromarray(((plane - low) / (high - low) * 255).astype(np.uint8))
    smooth = np.asarray(as_bytes.filter(ImageFilter.GaussianBlur(pixels)), np.float64)
    scaled: Plane = smooth / 255 * (high - low) + low
    return scaled


def _words(rng: Rng, count: int) -> str:
    return " ".join(rng.choice(WORDS, count))


def _image(plane: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(plane.clip(0, 255).astype(np.uint8))
