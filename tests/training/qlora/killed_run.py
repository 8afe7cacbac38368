"""A QLoRA run in a process of its own, to be killed from outside.

Processes are forked from a server that has imported everything and run nothing: a start costs
milliseconds, and no thread of the tests is carried over.
"""

import multiprocessing
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PRELOADED = ["torch", "peft", "accelerate", "transformers.models.gemma3.modeling_gemma3", __name__]


def run_to_the_end(run: str, progress: Connection) -> None:
    """Train the tiny model in `run`; says how far it got at every row of images."""
    import torch

    from tests.training.qlora.test_qlora import RECIPE, material
    from tests.training.qlora.tiny_gemma import tiny_gemma
    from training.qlora.train import add_adapter, train_adapter

    torch.set_num_threads(1)
    recipe = replace(RECIPE, steps=replace(RECIPE.steps, epochs=10))
    lessons = material()
    kept = lessons.image_tokens

    def reported(model: Any, images: Any, views: Any) -> Any:
        progress.send("row")
        return kept(model, images, views)

    model = add_adapter(tiny_gemma(), recipe)
    watched = replace(lessons, image_tokens=reported)
    train_adapter(model, recipe, watched, "", Path(run), progress.send)


def finish_with_kills(run: Path, kills: tuple[int, ...]) -> list[int]:
    """Run to the end, killed by SIGKILL once for each of `kills`: after so many rows of images
    since it started. Returns the step that each start began from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    began = []
    for rows in (*kills, None):
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=run_to_the_end, args=(str(run), theirs))
        process.start()
        theirs.close()
        seen = 0
        try:
            while rows is None or seen < rows:
                line = mine.recv()
                seen += line == "row"
                if line.startswith("qlora:"):
                    began.append(int(line.partition("steps from ")[2].partition(",")[0]))
            process.kill()
        except EOFError:  # it came to its end
            if rows is not None:
                raise
        finally:
            process.join()
            mine.close()
        expected = 0 if rows is None else -9
        if process.exitcode != expected:
            raise RuntimeError(f"the run ended with {process.exitcode}, not {expected}")
        process.close()
    return began
