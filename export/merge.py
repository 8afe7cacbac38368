"""An adapter folded into the full-precision model it was trained on.

    python -m export merge BASE ADAPTER OUT

Never onto a quantized base: what NF4 took away would stay away. One tensor is in memory at a time,
each shard is written in the layout of its original, and a merge that was stopped goes on with the
next shard. merge.json in the result says which tensors changed and by how much.
"""

import json
import math
import mmap
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.aside import refuse_existing
from export.checkpoint import canonical_name
from export.errors import ExportError
from export.stored_tensor import KINDS, tensors_in, weight_files
from training.checkpoint import weights_hash

if TYPE_CHECKING:
    import torch

REPORT = "merge.json"
WEIGHTS = "adapter_model.safetensors"
PLAIN = {
    "peft_type": "LORA",
    "bias": "none",
    "use_dora": False,
    "fan_in_fan_out": False,
    "rank_pattern": {},
    "alpha_pattern": {},
    "modules_to_save": None,
    "lora_bias": False,
    "alora_invocation_tokens": None,
}
"""What adapter_config.json must say, where it says it: the rest is not folded in here."""
BASE_KEPT = (True, False, "gaussian", "orthogonal", "eva", "mica")
"""Ways to begin an adapter (`init_lora_weights`) that leave the base as it is; PiSSA, OLoRA, CorDA
and LoftQ change it, and their adapters are of that other base."""


@dataclass(frozen=True)
class Change:
    """One tensor that the adapter changed."""

    name: str
    relative: float
    """Frobenius norm of the change over that of the tensor."""
    largest: float
    """Largest absolute change of one weight."""


@dataclass(frozen=True)
class LowRank:
    """The adapter of one weight: its change is `scale` times `up` by `down`."""

    down: "torch.Tensor"
    """A, (rank, in)."""
    up: "torch.Tensor"
    """B, (out, rank)."""
    scale: float


def merge(base: Path, adapter: Path, out: Path, say: Callable[[str], None]) -> list[Change]:
    """Write the merged model to `out`; returns what changed.

    Raises: ExportError, and then there is nothing at `out`.
    """
    refuse_existing(out)
    pairs, trained = read_adapter(adapter)
    shards = weight_files(base)
    made_of = {"base_sha256": weights_hash(base), "adapter_sha256": weights_hash(adapter)}
    if trained.get("base_sha256") is None:
        raise ExportError(
            f"{adapter}: no training.json says which base it was trained on; if you are sure that "
            f'it was {base}, put "base_sha256": "{made_of["base_sha256"]}" into it'
        )
    if trained["base_sha256"] != made_of["base_sha256"]:
        raise ExportError(
            f"{adapter} was trained on a base with hash {trained['base_sha256'][:12]}, "
            f"{base} has {made_of['base_sha256'][:12]}; give the base it was trained on"
        )
    aside = out.with_name(out.name + ".partial")
    done = _shards_done(aside, made_of)
    unused = set(pairs)
    for shard in shards:
        if shard.name not in done:
            done[shard.name] = [asdict(change) for change in _merge_shard(shard, aside, pairs)]
            _write_report(aside, made_of, done)
            say(f"{shard.name}: {len(done[shard.name])} tensors changed")
        unused -= {canonical_name(key) for key, *_ in tensors_in(shard)}
    changes = [Change(**row) for rows in done.values() for row in rows]
    if unused:
        raise ExportError(f"{adapter} adapts {sorted(unused)[0]}, which {base} does not have")
    _refuse_empty(adapter, pairs, changes, trained)
    for file in base.iterdir():
        if file.is_file() and file.suffix != ".safetensors" and file.name != REPORT:
            shutil.copy2(file, aside / file.name)
    aside.rename(out)
    return changes


def merged_from(folder: Path) -> dict[str, Any] | None:
    """Hashes of the base and the adapter that `folder` was merged from; None if it was not."""
    if not (folder / REPORT).is_file():
        return None
    report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    return {key: value for key, value in report.items() if key != "shards"}


def read_adapter(folder: Path) -> tuple[dict[str, LowRank], dict[str, Any]]:
    """The adapter of each weight by its canonical name, and what training.json says of its making.

    Raises: ExportError.
    """
    from safetensors import safe_open

    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        made = folder / "training.json"
        trained = json.loads(made.read_text(encoding="utf-8")) if made.is_file() else {}
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except (OSError, ValueError) as exc:
        raise ExportError(f"{folder}: no adapter can be read ({exc})") from exc
    for key, wanted in PLAIN.items():
        if (said := config.get(key, wanted)) != wanted and (said or wanted):
            raise ExportError(f"{folder}: adapter_config.json says {key} = {said!r}; not merged")
    if (begun := config.get("init_lora_weights", True)) not in BASE_KEPT:
        raise ExportError(
            f"{folder}: adapter_config.json says init_lora_weights = {begun!r}, which changed the "
            "base; have peft turn it into a plain LoRA (`path_initial_model_for_weight_conversion`)"
        )
    rank = config["r"]
    scale = config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
    pairs = {}
    for key in sorted(tensors):
        if key.endswith(".lora_B.weight"):
            continue
        if not key.endswith(".lora_A.weight"):
            raise ExportError(f"{folder}: {key} is no LoRA weight; not merged")
        stem = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        up = tensors.get(key.replace(".lora_A.", ".lora_B."))
        if up is None:
            raise ExportError(f"{folder}: {key} has no lora_B beside it")
        pairs[canonical_name(f"{stem}.weight")] = LowRank(tensors[key], up, scale)
    return pairs, trained


def _merge_shard(shard: Path, out: Path, pairs: dict[str, LowRank]) -> list[Change]:
    """Copy `shard` into `out`, byte for byte but for what the adapter changes."""
    import torch

    changes = []
    aside = out / f"{shard.name}.partial"
    with shard.open("rb") as file, aside.open("wb") as written:
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        tensors = sorted(tensors_in(shard), key=lambda tensor: tensor[3])
        header_end = min((first for *_, first, _ in tensors), default=len(whole))
        written.write(whole[:header_end])  # as it is
        for key, precision, shape, first, size_bytes in tensors:
            last = first + size_bytes
            name = canonical_name(key)
            if name not in pairs:
                written.write(memoryview(whole)[first:last])
                continue
            if precision not in KINDS:
                raise ExportError(
                    f"{shard}: {key} is {precision}; merge onto the full-precision base"
                )
            dtype = getattr(torch, KINDS[precision])
            weight = torch.frombuffer(bytearray(whole[first:last]), dtype=dtype).view(shape)
            pair = pairs[name]
            if tuple(weight.shape) != (pair.up.shape[0], pair.down.shape[1]):
                raise ExportError(f"{shard}: {key} is {shape}, the adapter is of another")
            merged = (weight.float() + pair.scale * (pair.up @ pair.down)).to(dtype)
            written.write(merged.contiguous().view(torch.uint8).numpy().tobytes())
            change = (merged.float() - weight.float()).abs()
            relative = float(change.norm() / weight.float().norm())
            changes.append(Change(name, relative, float(change.max())))
    aside.rename(out / shard.name)
    return changes


def _shards_done(aside: Path, made_of: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """What an earlier call merged of the same pair; begins anew when it was another pair."""
    report = aside / REPORT
    if report.is_file():
        found = json.loads(report.read_text(encoding="utf-8"))
        if {key: found.get(key) for key in made_of} == made_of:
            done: dict[str, list[dict[str, Any]]] = found["shards"]
            return done
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    return {}


def _write_report(aside: Path, made_of: dict[str, str], done: dict[str, Any]) -> None:
    partial = aside / f"{REPORT}.partial"
    partial.write_text(json.dumps({**made_of, "shards": done}, indent=1) + "\n", encoding="utf-8")
    partial.rename(aside / REPORT)


def _refuse_empty(
    adapter: Path, pairs: dict[str, LowRank], changes: list[Change], trained: dict[str, Any]
) -> None:
    """An adapter that was trained and changes nothing was lost on the way."""
    changed = {change.name for change in changes if change.largest > 0}
    if not changed:
        raise ExportError(f"{adapter} changes no weight: it was never trained, or its B are zero")
    tuned = trained.get("recipe", {}).get("adapter", {}).get("vision") == "tuned"
    tuned = tuned or any(name.startswith("vision_tower.") for name in pairs)
    if tuned and not any(name.startswith("vision_tower.") for name in changed):
        raise ExportError(f"{adapter} tuned the vision tower, and no vision weight changed")
