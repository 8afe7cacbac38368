"""Tokens a second of a QLoRA step, and its memory: this project's, and TRL's SFTTrainer.

    python -m tests.benchmarks.qlora_speed --geometry demonstration [--steps 8]
    python -m tests.benchmarks.qlora_speed --geometry 4b --quantization nf4        (a GPU)

Same random weights, conversations, LoRA, batch and learnt tokens. TRL has what Google's public
notebook gives it (fine_tune_with_hugging_face.ipynb): batch 4, 4 accumulated, padding, pixels at
every step, gradient checkpointing. This project has a committed recipe: image tokens kept, rows
packed. Each is a process of its own; they step in turn, one waiting for the other. Tokens are
those that are no padding, image tokens among them. Seconds are the clock's on a GPU, and on a CPU
the process's own, with one thread: other work on the machine then does not count.

TRL is no dependency; to bring it without touching the project's environment or its torch:

    python -m venv TRL && echo $PWD/.venv/lib/python3.11/site-packages > \
        TRL/lib/python3.11/site-packages/project.pth
    TRL/bin/pip install --no-deps trl==1.16.0 datasets==5.2.0 multiprocess dill xxhash pandas
    TRL/bin/python -m tests.benchmarks.qlora_speed ...
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from training.conversation import Conversation, conversation
from training.labels import label_table
from training.qlora.geometry import KNOWN, BaseGeometry
from training.qlora.recipe import QloraRecipe, Quantization, read_qlora_recipe
from training.tokenizer import load_tokenizer, train_tokenizer

RECIPE = Path(__file__).resolve().parents[2] / "training/configs/medgemma-4b-it.toml"
GEOMETRIES = {
    "demonstration": BaseGeometry(
        1024, 256, 512, 4, 4, 2, 64, 256, 1024, 6, False, image_size=128, patch_size=16,
        image_tokens=16,
    ),
    # The tower does 0.76 as many operations an image as the decoder a conversation; in 4b, 0.74.
    "proportional": BaseGeometry(
        1024, 256, 1024, 6, 4, 2, 64, 192, 768, 6, False, image_size=336, patch_size=14,
        image_tokens=64,
    ),
    "4b": KNOWN["google/medgemma-4b-it"],
}  # fmt: skip
MICRO_BATCH, ACCUMULATED = 4, 4
TEXT_TOKENS = 125
"""Of the longest of these conversations, about."""
WARM_UP = 2
"""Steps of each that are not counted."""

Step = Callable[[], int]
"""One optimizer step; returns how many tokens it took."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--geometry", choices=GEOMETRIES, default="demonstration")
    parser.add_argument("--quantization", choices=["none", "nf4"], default="none")
    parser.add_argument("--compute", choices=["float32", "bfloat16"])
    parser.add_argument(
        "--pack-tokens", type=int, help="Of this project's rows; default: as many as TRL's hold."
    )
    parser.add_argument(
        "--keep-activations", action="store_true", help="This project without checkpointing."
    )
    parser.add_argument("--steps", type=int, default=8, help="Steps of each that are counted.")
    options = parser.parse_args()
    options.compute = options.compute or ("bfloat16" if options.geometry == "4b" else "float32")
    with tempfile.TemporaryDirectory() as folder:
        made = multiprocessing.get_context("spawn").Process(
            target=make_base, args=(Path(folder), options)
        )
        made.start()
        made.join()
        if made.exitcode:
            raise SystemExit("the base could not be made")
        report(options, alternate(Path(folder), options))


def make_base(folder: Path, options: argparse.Namespace) -> None:
    """A model folder of random weights, with a tokenizer."""
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    tokenizer = tokenizer_in(folder)
    geometry = GEOMETRIES[options.geometry]
    config = Gemma3Config(
        text_config={
            "vocab_size": geometry.vocabulary,
            "hidden_size": geometry.width,
            "intermediate_size": geometry.feed_forward,
            "num_hidden_layers": geometry.depth,
            "num_attention_heads": geometry.heads,
            "num_key_value_heads": geometry.key_value_heads,
            "head_dim": geometry.head_width,
            "query_pre_attn_scalar": geometry.head_width,
            "sliding_window": 1024,
            "max_position_embeddings": 8192,
        },
        vision_config={
            "hidden_size": geometry.vision_width,
            "intermediate_size": geometry.vision_feed_forward,
            "num_hidden_layers": geometry.vision_depth,
            "num_attention_heads": geometry.vision_width // (72 if geometry.width > 1000 else 32),
            "image_size": geometry.image_size,
            "patch_size": geometry.patch_size,
            "vision_use_head": False,
        },
        mm_tokens_per_image=geometry.image_tokens,
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
    )
    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, options.compute))
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Gemma3ForConditionalGeneration(config)
    model.model.multi_modal_projector.mm_input_projection_weight.data.normal_(0, 0.05)
    model.save_pretrained(folder)


def tokenizer_in(folder: Path) -> Any:
    from appliance.core.caption import caption_json

    if not (folder / "tokenizer.model").is_file():
        train_tokenizer([caption_json(row.caption) for row in label_table()], 1024, folder)
    return load_tokenizer(folder)


def lessons_of(folder: Path, count: int, image_tokens: int) -> list[Conversation]:
    """Conversations on the label table's captions, over and over."""
    tokenizer, rows = tokenizer_in(folder), label_table()
    known = [conversation(tokenizer, image_tokens, row.caption, 1.0) for row in rows]
    order = np.random.default_rng(0).integers(0, len(known), count)
    return [known[place] for place in order]


def pictures(count: int, side: int) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """(count, side, side, 3), noise: what an image shows costs nothing."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def recipe_for(options: argparse.Namespace) -> QloraRecipe:
    recipe = read_qlora_recipe(RECIPE)
    kind = Quantization(options.quantization, double=True, compute=options.compute)
    assert recipe.steps.batch == MICRO_BATCH * ACCUMULATED
    geometry = GEOMETRIES[options.geometry]
    tokens = options.pack_tokens or MICRO_BATCH * (geometry.image_tokens + TEXT_TOKENS)
    steps = replace(
        recipe.steps,
        views=1,
        pack_tokens=tokens,
        gradient_checkpointing=not options.keep_activations,
    )
    return replace(recipe, quantization=kind, steps=steps)


def ours(folder: Path, options: argparse.Namespace, serve: Callable[[Step, float], None]) -> None:
    """The steps of training.qlora, on image tokens kept beforehand."""
    import torch
    from accelerate import Accelerator

    from training.qlora.learner import PackLearner
    from training.qlora.material import kept_tokens
    from training.qlora.projected import forget_tower, project_images
    from training.qlora.train import Material, add_adapter, learn, load_base

    recipe, geometry = recipe_for(options), GEOMETRIES[options.geometry]
    batch = recipe.steps.batch
    accelerator = Accelerator()
    model = load_base(str(folder), recipe.quantization).to(accelerator.device)
    seen, upright = pictures(batch, geometry.image_size), np.zeros(batch, bool)
    started = clock()
    kept = project_images(
        model, lambda chosen: seen[list(chosen)], upright, 1, 0, folder / "kept.npy",
        lambda line: None,
    )  # fmt: skip
    once = (clock() - started) / batch
    forget_tower(model)
    count = batch * (WARM_UP + options.steps)
    places = np.arange(count)
    material = Material(
        lessons=lessons_of(folder, count, geometry.image_tokens),
        image_tokens=kept_tokens(kept[places % batch]),
        views=1,
        train=places,
        validation=places[:1],
        weights=np.full(count, 1 / count),
        images_sha256="",
    )
    model = add_adapter(model, recipe)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, recipe.steps.learning_rate, weight_decay=0.0)
    learner, optimizer = accelerator.prepare(PackLearner(model, options.compute), optimizer)
    batches = iter(places.reshape(-1, batch))

    def step() -> int:
        learner.train()
        images = next(batches)
        tokens = learn(learner, material, images, images * 0, recipe.steps, accelerator)
        accelerator.clip_grad_norm_(trained, recipe.steps.largest_gradient_norm)
        optimizer.step()
        optimizer.zero_grad()
        return tokens

    serve(step, once)


def theirs(folder: Path, options: argparse.Namespace, serve: Callable[[Step, float], None]) -> None:
    """The steps of SFTTrainer, as the notebook sets it up."""
    import threading

    import torch
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig, Gemma3ForConditionalGeneration, TrainerCallback
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    from training.qlora.train import DECODER_LAYERS, KEPT_WHOLE

    datasets: Any = import_module("datasets")  # neither is a dependency
    trl: Any = import_module("trl")
    recipe, geometry = recipe_for(options), GEOMETRIES[options.geometry]
    dtype, bfloat16 = getattr(torch, options.compute), options.compute == "bfloat16"
    settings: dict[str, Any] = {"dtype": dtype, "attn_implementation": "sdpa"}
    if options.quantization == "nf4":
        settings["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype,
            bnb_4bit_quant_storage=dtype,
            llm_int8_skip_modules=KEPT_WHOLE,
        )
        settings["device_map"] = "auto" if torch.cuda.is_available() else "cpu"
    model = Gemma3ForConditionalGeneration.from_pretrained(folder, **settings)
    side = geometry.image_size
    processor = Gemma3ImageProcessorPil(size={"height": side, "width": side})
    count = recipe.steps.batch * (WARM_UP + options.steps + 1)  # it reads one batch ahead
    lessons, seen = lessons_of(folder, count, geometry.image_tokens), pictures(16, side)
    tokens_of_step = [0]

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        chosen = [lessons[row["place"]] for row in rows]
        longest = max(len(one.ids) for one in chosen)
        ids, mask, types = torch.zeros(3, len(chosen), longest, dtype=torch.long)
        labels = torch.full_like(ids, -100)
        for at, one in enumerate(chosen):
            length = len(one.ids)
            ids[at, :length] = torch.tensor(one.ids)
            mask[at, :length] = 1
            types[at, :length] = torch.tensor(one.is_image)
            labels[at, :length] = torch.where(torch.tensor(one.weights) > 0, ids[at, :length], -100)
        tokens_of_step[0] += int(mask.sum())
        images = [seen[row["place"] % len(seen)] for row in rows]
        pixels = processor(images=images, return_tensors="pt")["pixel_values"]
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": types,
            "labels": labels,
            "pixel_values": pixels,
        }

    begin, ended = threading.Semaphore(0), threading.Semaphore(0)

    class InTurn(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ended.release()
            begin.acquire()

    trainer = trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(
            output_dir=str(folder / "trl"),
            max_steps=WARM_UP + options.steps,
            per_device_train_batch_size=MICRO_BATCH,
            gradient_accumulation_steps=ACCUMULATED,
            gradient_checkpointing=True,
            gradient_checkpointing_kwargs={"use_reentrant": False},
            optim="adamw_torch_fused",
            learning_rate=recipe.steps.learning_rate,
            max_grad_norm=recipe.steps.largest_gradient_norm,
            bf16=bfloat16,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to="none",
            logging_steps=1000,
            disable_tqdm=True,
            remove_unused_columns=False,
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            label_names=["labels"],
        ),
        train_dataset=datasets.Dataset.from_dict({"place": list(range(count))}),
        data_collator=collate,
        processing_class=tokenizer_in(folder),
        peft_config=LoraConfig(
            r=recipe.adapter.rank,
            lora_alpha=recipe.adapter.alpha,
            lora_dropout=recipe.adapter.dropout,
            target_modules=DECODER_LAYERS,
            task_type="CAUSAL_LM",
        ),
        callbacks=[InTurn()],
    )

    def train() -> None:
        torch.set_num_threads(1)  # of this thread
        begin.acquire()
        trainer.train()
        ended.release()

    threading.Thread(target=train, daemon=True).start()

    def step() -> int:
        tokens_of_step[0] = 0
        begin.release()
        ended.acquire()
        return tokens_of_step[0]

    serve(step, 0.0)


def work(name: str, folder: Path, options: argparse.Namespace, pipe: Connection) -> None:
    """One side in a process of its own: a step for every message, then how much memory it took:
    on a GPU all that was allocated, on a CPU what the steps added to the process as it was."""
    import torch

    torch.set_num_threads(1)

    def serve(step: Step, once: float) -> None:
        at_rest = memory_bytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        pipe.send(once)
        while pipe.recv() == "step":
            started = clock()
            tokens = step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            pipe.send((tokens, clock() - started))
        peak = memory_bytes("VmHWM") - at_rest
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated()
        pipe.send(peak)

    {"ours": ours, "trl": theirs}[name](folder, options, serve)


def clock() -> float:
    """Seconds: the wall's where a GPU works, else those this process was at work."""
    import torch

    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def memory_bytes(line: str) -> int:
    """Of this process: VmRSS as it is, VmHWM at its most (proc(5))."""
    status = dict(row.split(":", 1) for row in Path("/proc/self/status").read_text().splitlines())
    return int(status[line].split()[0]) * 1024


def alternate(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Both sides, step by step in turn: tokens and seconds of each step, and peak memory."""
    context = multiprocessing.get_context("spawn")
    pipes, found = {}, {}
    for name in ("ours", "trl"):
        pipes[name], other = context.Pipe()
        context.Process(target=work, args=(name, folder, options, other), daemon=True).start()
        other.close()
        found[name] = {"image_once_s": pipes[name].recv(), "steps": []}
    for turn in range(WARM_UP + options.steps):
        for name in ("ours", "trl") if turn % 2 else ("trl", "ours"):
            pipes[name].send("step")
            tokens, seconds = pipes[name].recv()
            if turn >= WARM_UP:
                found[name]["steps"].append((tokens, seconds))
    for name, pipe in pipes.items():
        pipe.send("end")
        found[name]["peak_bytes"] = pipe.recv()
    return found


def report(options: argparse.Namespace, found: dict[str, dict[str, Any]]) -> None:
    rates = {
        name: [tokens / seconds for tokens, seconds in side["steps"]]
        for name, side in found.items()
    }
    ratios = [ours / trl for ours, trl in zip(rates["ours"], rates["trl"], strict=True)]
    print(f"{options.geometry}, {options.quantization}, {options.compute}, {options.steps} steps")
    for name, side in found.items():
        tokens, seconds = (sum(column) for column in zip(*side["steps"], strict=True))
        low, middle, high = min(rates[name]), statistics.median(rates[name]), max(rates[name])
        print(
            f"{name:<5} {tokens / seconds:9.0f} tokens/s (a step {middle:.0f}, {low:.0f} to "
            f"{high:.0f})  {side['peak_bytes'] / 1e6:.0f} MB at most"
        )
    once = found["ours"]["image_once_s"]
    print(
        f"ratio {statistics.median(ratios):.2f} (steps in turn: {min(ratios):.2f} to "
        f"{max(ratios):.2f}); kept image tokens cost {once * 1000:.1f} ms an image, once"
    )
    print(json.dumps({**vars(options), "ratios": ratios, **found}))


if __name__ == "__main__":
    main()
