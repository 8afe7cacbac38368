"""One real chest radiograph (from the pydicom-data package) in as many versions as are wanted, for
tests of many pictures: the gate refuses drawings."""

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import dcmread

SIDE = 256
CUTS = 7


def write_varied(folder: Path, count: int) -> list[Path]:
    """PNG files, no two the same: cut a little differently, and numbered in three grey values."""
    spec = importlib.util.find_spec("data_store")
    assert spec is not None and spec.origin is not None, "pydicom-data is not installed"
    film = dcmread(Path(spec.origin).parent / "data" / "RG1_UNCR.dcm")
    values = film.pixel_array.astype(np.float32)
    grey = 255 * (values - values.min()) / (values.max() - values.min())
    if film.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    whole = Image.fromarray(grey.astype(np.uint8))
    cuts = [
        whole.resize((SIDE, SIDE), box=(cut, cut, whole.width - cut, whole.height - cut))
        for cut in range(0, 2 * CUTS, 2)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05}.png" for number in range(count)]
    for number, path in enumerate(paths):
        marked = np.array(cuts[number % CUTS])
        marked[0, :3] = number >> 16 & 255, number >> 8 & 255, number & 255
        Image.fromarray(marked).save(path)
    return paths
