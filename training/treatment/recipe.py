"""The settings of a judge's training, read from a committed TOML; no defaults hide here."""

from dataclasses import dataclass
from pathlib import Path

from training.qlora.recipe import Adapter, QloraRecipe, Quantization, Steps, qlora_claims
from training.recipe import read_toml, require


@dataclass(frozen=True)
class Questions:
    """What the judge is asked in training."""

    train: int
    """Drawn of the training split, half of them in pairs."""
    validation: int
    """Drawn of the validation split; the held pairs are among them."""
    caption_share: float
    """Of the conversations learnt, those that are captions: so that captioning is not lost."""
    left_out: list[str]
    """Tables (TSV) whose columns `finding` and `treatment` are never drawn, as measurements hold
    them."""


@dataclass(frozen=True)
class Optimisation:
    """Group relative policy optimisation (GRPO; Shao et al. 2024, arXiv:2402.03300)."""

    learning_rate: float
    beta: float
    """Weight of the divergence from the supervised judge."""
    questions: int
    """A step: two of each pair."""
    answers: int
    """Drawn of each question."""
    questions_at_once: int
    """In memory together."""
    temperature: float
    steps: int
    look_every: int
    """Steps between looks at the held pairs, which are also checkpoints."""
    held_pairs: int
    patience: int
    """Stop after so many looks at which held pairs fell while the reward rose."""


@dataclass(frozen=True)
class JudgeRecipe(QloraRecipe):
    """Supervised: a QLoRA run on questions and captions."""

    questions: Questions


@dataclass(frozen=True)
class TreatmentRecipe(JudgeRecipe):
    optimisation: Optimisation

    @property
    def supervised(self) -> JudgeRecipe:
        """What the first stage depends on: the second may change without it."""
        return JudgeRecipe(
            self.name,
            self.seed,
            self.base,
            self.adapter,
            self.quantization,
            self.steps,
            self.questions,
        )


def read_treatment_recipe(path: Path) -> TreatmentRecipe:
    """Raises: RecipeError naming file and key."""
    sections = {
        "adapter": Adapter,
        "quantization": Quantization,
        "steps": Steps,
        "questions": Questions,
        "optimisation": Optimisation,
    }
    recipe = read_toml(path, TreatmentRecipe, sections)
    require(path, qlora_claims(recipe))
    return recipe
