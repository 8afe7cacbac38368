"""Where a recipe's base lies on this machine, and whether this machine can train it."""

from pathlib import Path

from training.qlora.geometry import KNOWN, BaseGeometry, read_geometry

LARGEST_WITHOUT_GPU = 1_000_000_000
"""Weights. A step of MedGemma 4B on a CPU takes many minutes: that is never what was meant."""


class BaseModelError(Exception):
    """A base that cannot be used here; the message ends with what to do."""


def find_base(base: str) -> Path | None:
    """The folder of a model, given as a folder or by its name in Hugging Face's cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    folder = Path(base)
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(base, local_files_only=True))
        except (HFValidationError, LocalEntryNotFoundError):
            return None
    return folder if (folder / "config.json").is_file() else None


def geometry_of(base: str) -> BaseGeometry:
    """Raises: BaseModelError when the base is neither here nor in the table of known ones."""
    if folder := find_base(base):
        return read_geometry(folder)
    if base in KNOWN:
        return KNOWN[base]
    raise BaseModelError(absent(base))


def require_base(base: str) -> Path:
    """The base's folder, which holds its weights.

    Raises: BaseModelError saying everything that keeps this machine from training it.
    """
    import torch

    problems = []
    folder = find_base(base)
    if folder is None:
        problems.append(absent(base))
    elif not any(folder.glob("*.safetensors")):
        problems.append(
            f"{folder} holds no *.safetensors: the download is not whole, run "
            f"`hf download {base}` again on a machine with network"
        )
    geometry = read_geometry(folder) if folder else KNOWN.get(base)
    if geometry and geometry.weights > LARGEST_WITHOUT_GPU and not torch.cuda.is_available():
        problems.append(
            f"{base} has {geometry.weights / 1e9:.1f}e9 weights and this machine has no CUDA "
            "device: train it on one that has; `--dry-run` says how much memory it takes"
        )
    if problems or folder is None:
        raise BaseModelError("\n".join(problems))
    return folder


def absent(base: str) -> str:
    """That it is not on this machine, and how it gets here."""
    if base.count("/") != 1 or base.startswith((".", "/")):
        return f"no model folder with a config.json: {base}; correct `base` in the recipe"
    return (
        f"{base} is not on this machine, neither as a folder nor in Hugging Face's cache. Accept "
        f"its terms at https://huggingface.co/{base}, run `hf download {base}` on a machine with "
        "network, then set `base` in the recipe to the downloaded folder"
    )
