"""Both stages on a tiny judge: what they learn, and that a kill changes nothing."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from appliance.core.prompt import END_OF_TURN
from appliance.core.treatment import RuleBook
from training.adapted import Adapted, load_adapted
from training.checkpoint import weights_hash
from training.labels import label_set
from training.qlora.material import kept_tokens
from training.qlora.recipe import Adapter, Quantization, Steps
from training.qlora.train import Material, add_adapter, load_base, train_adapter
from training.recipe import RecipeError
from training.treatment.asking import (
    Answer,
    judge_answers,
    judge_ids,
    judge_lesson,
    label_and_verdict,
    label_opening,
)
from training.treatment.drawing import Asked, Drawn, draw_questions, pairs_of
from training.treatment.judging import Question, judge_questions, soft_tokens
from training.treatment.material import join
from training.treatment.optimise import Earnings, optimise, pair_rows
from training.treatment.recipe import (
    Optimisation,
    Questions,
    TreatmentRecipe,
    read_treatment_recipe,
)

IMAGE_TOKENS, WIDTH, SIDE = 4, 32, 32
Say = Callable[[str], None]


def recipe(base: Path) -> TreatmentRecipe:
    return TreatmentRecipe(
        name="tiny",
        seed=0,
        base=str(base),
        adapter=Adapter(rank=16, alpha=16, dropout=0.0, vision="frozen"),
        quantization=Quantization("none", double=False, compute="float32"),
        steps=Steps(
            learning_rate=1e-2,
            warm_up_share=0.1,
            weight_decay=0.0,
            largest_gradient_norm=1.0,
            batch=4,
            pack_tokens=700,
            epochs=2,
            views=1,
            keeps_sides=False,
            label_weight=1.0,
            balance=0.0,
            domain_share={"skin": 1.0},
            gradient_checkpointing=False,
            save_every=2,
            patience=99,
            validated=4,
        ),
        questions=Questions(train=16, validation=4, caption_share=0.0, left_out=[]),
        optimisation=Optimisation(
            learning_rate=1e-2,
            beta=0.0,
            questions=4,
            answers=4,
            questions_at_once=4,
            temperature=1.0,
            steps=4,
            look_every=1,
            held_pairs=2,
            patience=99,
        ),
    )


def picture(image: int) -> Any:
    return np.random.default_rng(image).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def drawn(count: int, book: RuleBook, images: dict[str, list[int]]) -> list[Drawn]:
    return draw_questions(count, book, label_set(), images, {"skin": 1.0}, (), 0)


def material(questions: list[Drawn], tokenizer: Any, in_train: int) -> Material:
    """No captions; one image of noise a question."""
    noise = np.random.default_rng(0).normal(0, 1, (99, 1, IMAGE_TOKENS, WIDTH))
    none: Any = np.zeros(0, np.int64)
    captions = Material([], kept_tokens(noise.astype(np.float16)), 1, none, none, np.zeros(0), "")
    lessons = [
        judge_lesson(
            tokenizer,
            IMAGE_TOKENS,
            *(one.asked.finding, one.asked.treatment, one.asked.named),
            {label: answer for label, (answer, _) in one.asked.right.items()},
            one.label,
        )
        for one in questions
    ]
    return join(captions, lessons, np.array([q.image for q in questions]), in_train, 0.0)


def taught(learnt: Material, settings: TreatmentRecipe, run: Path, say: Say) -> dict[str, Any]:
    from peft import get_peft_model_state_dict

    model = add_adapter(load_base(settings.base, settings.quantization), settings)
    train_adapter(model, settings.supervised, learnt, "", run, say)
    return get_peft_model_state_dict(model)  # type: ignore[no-any-return]


def breaking_off(at: str, lines: list[str]) -> Say:
    def say(line: str) -> None:
        lines.append(line)
        if line.startswith(at):
            raise KeyboardInterrupt

    return say


def test_the_supervised_stage_lowers_its_loss_and_goes_on_after_a_kill(
    base: Path, tokenizer: Any, book: RuleBook, images: dict[str, list[int]], tmp_path: Path
) -> None:
    import torch

    learnt, settings = material(drawn(20, book, images), tokenizer, 16), recipe(base)
    lines: list[str] = []
    whole = taught(learnt, settings, tmp_path / "whole", lines.append)
    losses = [float(line.split()[4]) for line in lines if line.startswith("step")]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    with pytest.raises(KeyboardInterrupt):
        taught(learnt, settings, tmp_path / "broken", breaking_off("step 4/", []))
    again: list[str] = []
    resumed = taught(learnt, settings, tmp_path / "broken", again.append)
    assert "from 2" in again[0]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.fixture(scope="module")
def guesser(base: Path, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A judge that says melanoma, and either word, and an adapter that changes nothing yet."""
    import torch

    from training.qlora.packing import pack, pack_loss

    folder = tmp_path_factory.mktemp("guesser")
    (folder / "tokenizer.model").write_bytes((base / "tokenizer.model").read_bytes())
    model = load_base(str(base), recipe(base).quantization)
    features = soft_tokens(model, picture(0))[None]
    words = asked("ERROR").asked
    prompt = judge_ids(tokenizer, IMAGE_TOKENS, words.finding, words.treatment)
    named = label_opening(words.named)
    either = [
        named + label_and_verdict("melanoma", word) + END_OF_TURN for word in get_args(Answer)
    ]
    row = pack([judge_answers(tokenizer, prompt, "", either)], 512)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        pack_loss(model, row, features).sum().backward()
        optimizer.step()
    model.save_pretrained(folder)
    settings = recipe(folder)
    add_adapter(model, settings).save_pretrained(folder / "adapter")
    made_of = {"recipe": asdict(settings.supervised), "base_sha256": weights_hash(folder)}
    (folder / "adapter" / "training.json").write_text(json.dumps(made_of))
    return folder / "adapter"


def asked(answer: Any) -> Drawn:
    words = Asked(
        "skin",
        "60-year-old, spot",
        "Freeze it",
        ("cryotherapy",),
        {"melanoma": (answer, "critical")},
    )
    return Drawn(words, 0, "melanoma", 0)


def optimised(adapter: Path, settings: TreatmentRecipe, run: Path, say: Say) -> Adapted:
    judge = load_adapted(adapter, learns=True)
    pair = (asked("ERROR"), asked("ERROR"))
    optimise(judge, settings, [pair] * 8, [pair], picture, run, say)
    return judge


def test_optimising_makes_the_rewarded_word_likelier_and_goes_on_after_a_kill(
    base: Path, guesser: Path, tmp_path: Path
) -> None:
    import torch

    settings = recipe(base)

    def error(judge: Adapted) -> float:
        words = asked("ERROR").asked
        question = Question(words.finding, words.treatment, ("melanoma",), picture(0))
        (found,) = judge_questions(judge, [question])
        return found.error

    lines: list[str] = []
    whole = optimised(guesser, settings, tmp_path / "whole", lines.append)
    before = error(load_adapted(guesser))
    assert 0.2 < before < 0.8
    assert error(whole) > before + 0.1
    assert [line.split()[1] for line in lines[:-1]] == [f"{step}/4" for step in range(5)]
    with pytest.raises(KeyboardInterrupt):
        optimised(guesser, settings, tmp_path / "broken", breaking_off("step 3/", []))
    again: list[str] = []
    resumed = optimised(guesser, settings, tmp_path / "broken", again.append)
    assert again[0].startswith("step 3/")
    weights = dict(whole.model.named_parameters())
    for name, weight in resumed.model.named_parameters():
        assert torch.equal(weight, weights[name]), name
    looks = [(tmp_path / run / "looks.jsonl").read_text() for run in ("whole", "broken")]
    assert len(looks[0].splitlines()) == len(looks[1].splitlines()) == 5


def test_without_patience_the_first_look_ends_the_run(
    base: Path, guesser: Path, tmp_path: Path
) -> None:
    settings = recipe(base)
    impatient = replace(settings, optimisation=replace(settings.optimisation, patience=0))
    lines: list[str] = []
    optimised(guesser, impatient, tmp_path, lines.append)
    *looked, stopped, _ = lines
    assert [line.split()[1] for line in looked] == ["0/4", "1/4"]
    assert stopped == "stopped: the pairs fell while the reward rose"


def test_another_recipe_does_not_go_on_where_one_stopped(
    base: Path, guesser: Path, tmp_path: Path
) -> None:
    from training.looks import begin

    settings = recipe(base)
    begin(tmp_path, asdict(settings))
    begin(tmp_path, asdict(settings))
    other = replace(settings, optimisation=replace(settings.optimisation, beta=0.1))
    with pytest.raises(RecipeError, match="another recipe"):
        begin(tmp_path, asdict(other))


def test_another_judge_is_not_optimised_where_one_stopped(
    base: Path, guesser: Path, tmp_path: Path
) -> None:
    settings, judge = recipe(base), load_adapted(guesser, learns=True)
    pair = (asked("ERROR"), asked("ERROR"))

    def begun(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimise(judge, settings, [pair] * 8, [pair], picture, tmp_path, begun)
    other = replace(judge, made_of={**judge.made_of, "step": 7})
    with pytest.raises(RecipeError, match="another recipe"):
        optimise(other, settings, [pair] * 8, [pair], picture, tmp_path, print)


@pytest.mark.parametrize("name", ["demonstration", "medgemma-4b-it"])
def test_the_committed_recipes_read(name: str) -> None:
    configs = Path(__file__).resolve().parents[3] / "training" / "configs"
    found = read_treatment_recipe(configs / f"treatment-{name}.toml")
    assert found.optimisation.questions % found.optimisation.questions_at_once == 0
    assert "optimisation" not in asdict(found.supervised)
    assert found.questions.left_out == ["tests/data/treatment_scenarios.tsv"]


def test_pairs_stand_together(book: RuleBook, images: dict[str, list[int]]) -> None:
    assert len(pairs_of(drawn(20, book, images))) == 5


def test_one_word_of_both_pictures_of_a_pair_earns_nothing() -> None:
    pair = (asked("ERROR"), asked("CORRECT"))
    rows = pair_rows(pair, picture)
    columns: Any = {key: [row[key] for row in rows] for key in ("answer", "worth")}

    def earned(*words: Answer) -> float:
        texts = [label_opening(["cryotherapy"]) + label_and_verdict("melanoma", w) for w in words]
        return sum(Earnings()([[{"content": text}] for text in texts], **columns))

    assert earned("ERROR", "ERROR") == earned("CORRECT", "CORRECT") == 0
    assert earned("ERROR", "CORRECT") == -earned("CORRECT", "ERROR") == 2 * 2.375
