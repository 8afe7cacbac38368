"""A retriever trained together with the reader, after JOMED (arXiv:2508.17394).

    python -m training atlas joint --model DIR --heads NPZ --data DIR --captions CAPTIONS.jsonl

Reads downward: who is asked, who is remembered; phase 1, the reader is LoRA-tuned on prompts that
show a retrieved case; phase 2, with the reader frozen, each of the retriever's heads learns in
turn which cases lead it to the truth; then the test split, with plain retrieval, with the learned
one, and the best that the cases read would have allowed. Without retrieval the reader is asked
before all that: what is tuned to read beside a case is no measure of a reader alone.

The memory is the training split. The queries of both phases are halves of the validation split,
for the tower has learnt the training pictures: on those, every nearest case has the right label,
and a reader would learn to believe any case it is shown.
"""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.core.atlas import Towers, caption_text
from appliance.core.calibration import share_interval
from appliance.release.atlas_heads import read_heads
from training.atlas.material import AtlasMaterial, gather_atlas
from training.atlas.measure import Places, Space, reference_places, space_of
from training.atlas.reader import Question, Reader
from training.atlas.retriever import (
    SIDES,
    Logs,
    Side,
    build_heads,
    chosen,
    fused,
    inconsistent,
    nearest,
    retrieval_loss,
    train_only,
)
from training.datasets import encoded_images
from training.labels import label_set
from training.metrics import mcnemar
from training.pixels import CACHE_SIZE, decoded
from training.qlora.material import tower_hash
from training.qlora.projected import project_images, projected_key
from training.qlora.train import DECODER_LAYERS
from training.recipe import read_toml
from training.sampling import sampling_weights
from training.tokenizer import load_tokenizer
from training.tower import warm_cosine

Say = Callable[[str], None]
WARM_UP_SHARE = 0.05


@dataclass(frozen=True)
class JointRecipe:
    seed: int
    memory_per_label: int
    queries_per_label: int
    """Most test pictures of a label that are asked about."""
    reader_queries: int
    """Most pictures that the reader learns on."""
    retriever_queries: int
    """Most pictures that the retriever learns on."""
    balance: float
    """How evenly labels count while both learn: 0 as they occur, 1 all alike."""
    read: int
    """Cases read for a query, by either head."""
    candidates: int
    """Cases of a query that the retriever learns from."""
    rank: int
    reader_learning_rate: float
    reader_batch: int
    reader_epochs: int
    retriever_learning_rate: float
    retriever_weight_decay: float
    retriever_epochs: int
    temperature: float
    """What cosines are divided by before they become a distribution over cases."""
    learned_share: float
    """Of the query's vector; the frozen one has the rest."""
    only_inconsistent: bool
    """Whether the retriever learns only where its candidates lead the reader to several labels."""


@dataclass(frozen=True)
class Parts:
    """Places in the material of who plays which part."""

    memory: Places
    reader: Places
    retriever: Places
    test: Places


def read_joint_recipe(file: Path) -> JointRecipe:
    """Raises: RecipeError naming file and key."""
    return read_toml(file, JointRecipe, {})


def train_jointly(
    recipe: JointRecipe,
    model: Path,
    towers: Towers,
    heads_file: Path,
    data: Path,
    captions: Path,
    run: Path,
    say: Say,
) -> dict[str, Any]:
    """The figures; the reader's adapter and the retriever's heads are written to `run`.

    Raises: DatasetError, ReleaseError, ModelError; ValueError for a file that holds no heads.
    """
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(recipe.seed)
    material = gather_atlas(towers, data, captions, run, say)
    space = space_of(read_heads(heads_file.read_bytes()), material)
    parts = divide(material, recipe)
    reader, adapted = open_reader(model, recipe, material, parts, data, run, say)
    asking = Asking(material, space, parts.memory, reader)
    say(f"the test split without retrieval: {len(parts.test)} pictures")
    alone = chosen(asking.without(parts.test, say))

    say(f"phase 1: the reader, on {len(parts.reader)} pictures")
    _train_reader(recipe, adapted, asking, parts.reader, say)
    adapted.save_pretrained(run / "reader")
    say(f"phase 2: the retriever, on {len(parts.retriever)} pictures")
    retriever = build_heads(space.pictures.shape[1], recipe.learned_share)
    _train_retriever(recipe, retriever, asking, parts.retriever, say)
    save_file(retriever.state_dict(), run / "retriever.safetensors")
    say("the test split with retrieval")
    return _measure(recipe, retriever, asking, parts.test, alone, say)


def divide(material: AtlasMaterial, recipe: JointRecipe) -> Parts:
    """No picture plays two parts; a group that spans two is whole in one (its split sees to it,
    within the validation split we do)."""
    rng = np.random.default_rng(recipe.seed)
    held = material.places("val")
    groups = material.groups[held]
    names = rng.permutation(np.unique(groups))
    first = np.isin(groups, names[: len(names) // 2])
    test = rng.permutation(material.places("test"))
    some = [
        test[material.labels[test] == label][: recipe.queries_per_label]
        for label in np.unique(material.labels[test])
    ]
    memory = reference_places(material, recipe.memory_per_label, recipe.seed)
    return Parts(
        memory,
        rng.permutation(held[first])[: recipe.reader_queries],
        rng.permutation(held[~first])[: recipe.retriever_queries],
        np.sort(np.concatenate(some)),
    )


class Asking:
    """Which cases a query finds, and what the reader makes of each: every pair is read once."""

    def __init__(
        self, material: AtlasMaterial, space: Space, memory: Places, reader: Reader
    ) -> None:
        self.material, self.space, self.memory, self.reader = material, space, memory, reader
        self.keys: dict[Side, NDArray[np.float32]] = {
            "image": space.pictures[memory],
            "text": space.captions[memory],
        }
        self.backgrounds = [caption_text(material.rows[place].caption) for place in memory]
        self._groups = material.groups[memory]
        self._read: dict[tuple[int, int], Logs] = {}

    def found(
        self, queries: Places, vectors: NDArray[np.float32], side: Side, count: int
    ) -> NDArray[np.int64]:
        """Numbers in the memory, nearest first, (queries, count); none of a query's own group."""
        own = self.material.groups[queries]
        return nearest(vectors, self.keys[side], own[:, None] != self._groups[None], count)

    def posteriors(self, queries: Places, cases: NDArray[np.int64], say: Say) -> Logs:
        """(queries, cases of each, labels)"""
        pairs = [
            (int(query), int(case))
            for query, numbers in zip(queries, cases, strict=True)
            for case in numbers
        ]
        unread = [pair for pair in dict.fromkeys(pairs) if pair not in self._read]
        if unread:
            asked = [
                Question(query, int(self.memory[case]), self.backgrounds[case])
                for query, case in unread
            ]
            self._read.update(zip(unread, self.reader.posteriors(asked, say), strict=True))
        return np.array([self._read[pair] for pair in pairs]).reshape(*cases.shape, -1)

    def without(self, queries: Places, say: Say) -> Logs:
        """(queries, labels), no case shown."""
        return self.reader.posteriors([Question(int(query)) for query in queries], say)


def open_reader(
    model: Path,
    recipe: JointRecipe,
    material: AtlasMaterial,
    parts: Parts,
    data: Path,
    run: Path,
    say: Say,
) -> tuple[Reader, Any]:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Gemma3ForConditionalGeneration

    loaded: Any = Gemma3ForConditionalGeneration.from_pretrained(
        model, dtype=torch.float32, local_files_only=True
    )
    loaded.to("cuda" if torch.cuda.is_available() else "cpu")
    used = np.unique(np.concatenate([parts.memory, parts.reader, parts.retriever, parts.test]))
    examples = [material.rows[place].example for place in used]
    images = {name: encoded_images(data, name) for name in {each.dataset for each in examples}}
    side = max(CACHE_SIZE, loaded.config.vision_config.image_size)

    def pixels(numbers: Any) -> NDArray[np.uint8]:
        picked = [examples[number] for number in numbers]
        return np.stack([decoded(e, images[e.dataset][e.row], side) for e in picked])

    hashes = [hashlib.sha256(images[e.dataset][e.row]).hexdigest() for e in examples]
    upright = np.full(len(examples), True)  # of one view, which is not augmented
    key = projected_key(tower_hash(loaded), hashes, upright, 1, side, recipe.seed)
    file = run / f"projected-{key}.npy"
    projected = project_images(loaded, pixels, upright, 1, recipe.seed, file, say)
    tokens = np.zeros((len(material.rows), *projected.shape[2:]), np.float16)
    tokens[used] = projected[:, 0]
    adapted = get_peft_model(
        loaded,
        LoraConfig(r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules=DECODER_LAYERS),
    )
    return Reader(adapted.get_base_model(), load_tokenizer(model), label_set(), tokens), adapted


def _train_reader(
    recipe: JointRecipe, adapted: Any, asking: Asking, queries: Places, say: Say
) -> None:
    """One lesson a query and case: the nearest by pictures and the nearest by captions."""
    import torch

    seen = asking.space.pictures[queries]
    lessons = [
        (int(query), int(case))
        for side in SIDES
        for query, cases in zip(
            queries, asking.found(queries, seen, side, recipe.read), strict=True
        )
        for case in cases
    ]
    weights = [weight for weight in adapted.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, weight_decay=0.01)
    steps = math.ceil(len(lessons) * recipe.reader_epochs / recipe.reader_batch)
    share_of = dict(zip(queries.tolist(), _shares(recipe, asking.material, queries), strict=True))
    shares = np.array([share_of[query] for query, _ in lessons])
    shares /= shares.sum()
    rng = np.random.default_rng(recipe.seed)
    adapted.train()
    started = time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            share = warm_cosine(step, steps, max(1, round(WARM_UP_SHARE * steps)))
            group["lr"] = recipe.reader_learning_rate * share
        batch = [lessons[i] for i in rng.choice(len(lessons), recipe.reader_batch, p=shares)]
        loss = asking.reader.loss(
            [query for query, _ in batch],
            [int(asking.memory[case]) for _, case in batch],
            [asking.backgrounds[case] for _, case in batch],
            [int(asking.material.labels[query]) for query, _ in batch],
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if (step + 1) % 25 == 0 or step + 1 == steps:
            spent = time.monotonic() - started
            say(f"step {step + 1}/{steps} loss {loss.item():.3f} {spent:.0f} s")
    adapted.eval()


def _train_retriever(
    recipe: JointRecipe, retriever: Any, asking: Asking, queries: Places, say: Say
) -> None:
    """Each head on the candidates that it would find itself, the other one frozen."""
    import torch

    truths = asking.material.labels[queries]
    seen = asking.space.pictures[queries]
    for side in SIDES:
        cases = asking.found(queries, seen, side, recipe.candidates)
        posteriors = asking.posteriors(queries, cases, say)
        likelihoods = np.take_along_axis(posteriors, truths[:, None, None], axis=2)[..., 0]
        kept = inconsistent(posteriors) if recipe.only_inconsistent else np.full(len(queries), True)
        given = torch.from_numpy(seen[kept])
        keys = torch.from_numpy(asking.keys[side][cases[kept]])
        wanted = torch.from_numpy(likelihoods[kept]).float()
        shares = torch.from_numpy(_shares(recipe, asking.material, queries[kept])).float()
        optimizer = torch.optim.AdamW(
            train_only(retriever, side),
            lr=recipe.retriever_learning_rate,
            weight_decay=recipe.retriever_weight_decay,
        )
        for epoch in range(recipe.retriever_epochs):
            scores = torch.einsum("qd,qcd->qc", retriever(given, side), keys)
            loss = (shares * retrieval_loss(scores, wanted, recipe.temperature)).sum()
            if epoch == 0:
                say(f"{side} head: loss {loss.item():.4f} before")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        say(f"{side} head: loss {loss.item():.4f} after {recipe.retriever_epochs} epochs")


def _shares(recipe: JointRecipe, material: AtlasMaterial, queries: Places) -> NDArray[np.float64]:
    """How much each query counts, (queries,), summing to one: domains as they occur."""
    examples = [material.rows[place].example for place in queries]
    domains = [example.domain for example in examples]
    occur = {domain: domains.count(domain) / len(domains) for domain in set(domains)}
    return sampling_weights(examples, occur, recipe.balance)


def _measure(
    recipe: JointRecipe,
    retriever: Any,
    asking: Asking,
    queries: Places,
    alone: NDArray[np.int64],
    say: Say,
) -> dict[str, Any]:
    """`alone` are the reader's answers to the queries without retrieval."""
    import torch

    seen = asking.space.pictures[queries]
    truths = asking.material.labels[queries]
    groups = asking.material.groups[queries]
    with torch.no_grad():
        moved = {side: retriever(torch.from_numpy(seen), side).numpy() for side in SIDES}
    answers = {"no retrieval": alone}
    read: dict[str, Logs] = {}
    for name, vectors in (("plain", dict.fromkeys(SIDES, seen)), ("joint", moved)):
        say(f"{name} retrieval")
        found = {side: asking.found(queries, vectors[side], side, recipe.read) for side in SIDES}
        cases = np.concatenate([found[side] for side in SIDES], axis=1)
        scores = np.concatenate(
            [np.einsum("qd,qcd->qc", vectors[s], asking.keys[s][found[s]]) for s in SIDES], axis=1
        )
        read[name] = asking.posteriors(queries, cases, say)
        answers[name] = chosen(fused(read[name], scores, recipe.temperature))
    every = np.concatenate(list(read.values()), axis=1)
    right = {name: answer == truths for name, answer in answers.items()}
    right["oracle"] = (chosen(every) == truths[:, None]).any(1)
    doubtful = inconsistent(read["plain"])
    return {
        "all": _figures(right, truths, groups, np.full(len(queries), True)),
        "inconsistent": _figures(right, truths, groups, doubtful) if doubtful.any() else None,
    }


def _figures(
    right: dict[str, NDArray[np.bool_]],
    truths: NDArray[np.int64],
    groups: NDArray[np.str_],
    inside: NDArray[np.bool_],
) -> dict[str, Any]:
    plain, joint = right["plain"][inside], right["joint"][inside]
    return {
        "pictures": int(inside.sum()),
        "accuracy": {name: _share(each[inside], groups[inside]) for name, each in right.items()},
        "balanced_accuracy": {
            name: _balanced(each[inside], truths[inside]) for name, each in right.items()
        },
        "joint_against_plain": {
            "gained": int((joint & ~plain).sum()),
            "lost": int((plain & ~joint).sum()),
            "p": mcnemar(plain, joint, groups[inside]),
        },
    }


def _share(right: NDArray[np.bool_], groups: NDArray[np.str_]) -> dict[str, Any]:
    interval = share_interval(right.tolist(), groups.tolist())
    return {"value": float(right.mean()), "interval": list(interval)}


def _balanced(right: NDArray[np.bool_], truths: NDArray[np.int64]) -> float:
    return float(np.mean([right[truths == label].mean() for label in np.unique(truths)]))


def lines_of(figures: dict[str, Any]) -> Sequence[str]:
    """The figures as lines for a person."""
    lines = []
    for scope, found in figures.items():
        if found is None:
            continue
        lines.append(f"{scope}: {found['pictures']} pictures")
        for name, share in found["accuracy"].items():
            low, high = share["interval"]
            lines.append(
                f"  {name}: {share['value']:.3f} ({low:.3f}-{high:.3f}), "
                f"balanced {found['balanced_accuracy'][name]:.3f}"
            )
        change = found["joint_against_plain"]
        lines.append(
            f"  joint against plain: {change['gained']} gained, {change['lost']} lost, "
            f"p {change['p']:.3g}"
        )
    return lines
