"""What was seen of held questions while a run went on, and which weights were the best."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from training.processes import processes
from training.recipe import RecipeError
from training.whole_file import write_whole


@dataclass(frozen=True)
class AfterSteps:
    """A look, after so many steps."""

    step: int


L = TypeVar("L", bound=AfterSteps)


class Looks(Generic[L]):
    """Every look so far, one a line of a file."""

    def __init__(
        self, file: Path, kind: type[L], is_better: Callable[[L, L, L], bool], *, writes: bool
    ) -> None:
        """`is_better`: whether the first look is better than the second, which was the best so
        far; the third is the one before any step. `writes`: of several processes one does."""
        self.file, self.is_better, self.writes = file, is_better, writes
        self.seen: list[L] = []
        if file.is_file():
            lines = file.read_text(encoding="utf-8").splitlines()
            self.seen = [kind(**json.loads(line)) for line in lines]

    @property
    def best(self) -> L:
        best = self.seen[0]
        for each in self.seen:
            if self.is_better(each, best, self.seen[0]):
                best = each
        return best

    def add(self, found: L) -> bool:
        """Whether it is the best."""
        self.seen.append(found)
        self._write()
        return self.best is found

    def forget_after(self, step: int) -> None:
        """Those that a run broken off had beyond its checkpoint."""
        self.seen = [each for each in self.seen if each.step <= step]
        self._write()

    def _write(self) -> None:
        if self.writes:
            write_whole(self.file, "".join(json.dumps(asdict(each)) + "\n" for each in self.seen))


def begin(run: Path, recipe: dict[str, Any]) -> bool:
    """Note in `run` what it follows; whether this process, of several, is the one that writes.

    Raises: RecipeError when `run` was begun with another recipe.
    """
    state = processes()
    file, text = run / "recipe.json", json.dumps(recipe, indent=1)
    if file.is_file() and file.read_text(encoding="utf-8") != text:
        raise RecipeError(f"{run} was begun with another recipe; delete it or use that one")
    state.wait_for_everyone()
    if state.is_main_process:
        run.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return bool(state.is_main_process)
