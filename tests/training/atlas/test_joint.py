"""The reader beside a case, on a model of random weights; and a whole joint run, as small."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.core.atlas import TowerId, Vector
from appliance.core.gate import Refusal
from appliance.core.ports import Picture
from appliance.release.atlas_heads import write_heads
from tests.training.atlas.made_up import made_up_material
from tests.training.tiny import HELD_BACK, RECIPE
from training.atlas.heads import train_heads
from training.atlas.joint import (
    divide,
    lines_of,
    open_reader,
    read_joint_recipe,
    train_jointly,
)
from training.atlas.material import gather_atlas
from training.atlas.reader import READ_TOGETHER, Question, Reader, paired_prompt
from training.atlas.recipe import DEMONSTRATION, JOINT, read_heads_recipe
from training.atlas.retriever import SIDES
from training.captioner import build_captioner
from training.evaluation.asking import label_scorer
from training.labels import label_set
from training.measured.captions import write_captions
from training.tokenizer import load_tokenizer
from training.tower import build_classifier

BACKGROUND = "melanoma. dermoscopy, skin lesion. irregular border. urgent."


@pytest.fixture(scope="module")
def model_folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of random weights: what it says is arbitrary, but its own."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    geometry = replace(RECIPE.geometry, text_depth=2)
    weights = build_classifier(geometry, 3).state_dict()
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "tower.safetensors")
    model = build_captioner(geometry, tokenizer, folder / "tower.safetensors")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reader(model_folder: Path) -> Reader:
    from transformers import Gemma3ForConditionalGeneration

    model: Any = Gemma3ForConditionalGeneration.from_pretrained(model_folder)
    shape = (4, RECIPE.geometry.image_tokens, RECIPE.geometry.text_width)
    tokens = np.random.default_rng(0).normal(size=shape)
    return Reader(
        model.eval(), load_tokenizer(model_folder), label_set(), tokens.astype(np.float16)
    )


class MeanColour:
    """Towers of counted bytes: what they see does not matter here."""

    identity = TowerId("release", "colours", "aa" * 32, "bb" * 32, 16)

    def picture_features(self, picture: Picture) -> Vector:
        rows = np.frombuffer(picture.rgb, np.uint8).reshape(-1, 3)
        return [*(rows.mean(0) / 255).tolist(), *(rows.std(0) / 255).tolist()]

    def text_features(self, text: str) -> Vector:
        return [text.count(letter) / len(text) for letter in "aeiou"]

    def refusal(self, picture: Picture, features: Vector) -> Refusal | None:
        return None


def test_the_posterior_is_that_of_scoring_each_label_in_full(reader: Reader) -> None:
    import torch

    scores_of = label_scorer(reader.model, reader.tokenizer, label_set())
    tokens = torch.from_numpy(reader._tokens[:1].astype(np.float32))
    wanted = np.array(scores_of(tokens)[0])
    wanted -= np.logaddexp.reduce(wanted)
    found = reader.posteriors([Question(0)], print)[0]
    assert found == pytest.approx(wanted, abs=1e-4)
    assert np.exp(found).sum() == pytest.approx(1)


def test_the_case_and_its_caption_are_read(reader: Reader) -> None:
    asked = [
        Question(0),
        Question(0, 1, BACKGROUND),
        Question(0, 2, BACKGROUND),
        Question(0, 1, "normal chest."),
    ]
    alone, beside, other_case, other_caption = reader.posteriors(asked, print)
    assert np.abs(beside - alone).max() > 1e-3
    assert np.abs(other_case - beside).max() > 1e-4
    assert np.abs(other_caption - beside).max() > 1e-4


def test_read_together_is_read_alone(reader: Reader) -> None:
    """Prompts of several lengths and, of one length, more than are read together."""
    asked = [
        Question(n % 4, (n + 1) % 4, text)
        for n in range(READ_TOGETHER + 3)
        for text in (BACKGROUND, "normal chest.")
    ] + [Question(2)]
    together = reader.posteriors(asked, print)
    alone = np.concatenate([reader.posteriors([each], print) for each in asked])
    assert together == pytest.approx(alone, abs=1e-4)


def test_the_prompt_shows_the_case_first_and_asks_what_the_clinic_asks(reader: Reader) -> None:
    text = "".join(paired_prompt(BACKGROUND))
    assert text.index("A reference case") < text.index(BACKGROUND) < text.index("in question")
    assert text.endswith("<end_of_turn>\n<start_of_turn>model\n")
    ids = reader.prompt(BACKGROUND)
    assert ids.count(reader._soft) == 2 * reader._tokens.shape[1]


def test_the_loss_is_the_true_labels_alone(reader: Reader) -> None:
    """Of one lesson: minus the log-probability of the label's tokens, over how many there are."""
    import torch

    with torch.no_grad():
        found = float(reader.loss([0], [1], [BACKGROUND], [3]))
        together = float(reader.loss([0, 2], [1, 3], [BACKGROUND, "a."], [3, 5]))
        other = float(reader.loss([2], [3], ["a."], [5]))
    answer = reader._names[3]
    prompt = reader.prompt(BACKGROUND)
    with torch.no_grad():
        vectors, is_image = reader.embedded([[*prompt, *answer]], [[1, 0]])
        logits = reader.model(inputs_embeds=vectors, token_type_ids=is_image.long()).logits
    logs = logits[0].float().log_softmax(-1)
    each = [float(logs[len(prompt) - 1 + n, token]) for n, token in enumerate(answer)]
    assert found == pytest.approx(-np.mean(each), abs=1e-4)
    lengths = (len(answer), len(reader._names[5]))
    whole = (found * lengths[0] + other * lengths[1]) / sum(lengths)
    assert together == pytest.approx(whole, abs=1e-3)  # padding changes nothing


def test_a_model_made_anew_in_its_folder_is_looked_through_again(
    model_folder: Path, data: Path, tmp_path: Path
) -> None:
    from shutil import copytree

    from safetensors.torch import load_file, save_file

    folder, run = copytree(model_folder, tmp_path / "model"), tmp_path / "run"
    captions = write_captions(data, tmp_path / "captions.jsonl", lambda line: None)
    material = gather_atlas(MeanColour(), data, captions, run, lambda line: None)
    recipe = replace(read_joint_recipe(JOINT), memory_per_label=1, queries_per_label=1)
    parts = divide(material, recipe)

    def tokens() -> Any:
        reader, _ = open_reader(folder, recipe, material, parts, data, run, lambda line: None)
        return reader._tokens[parts.test]

    before = tokens()
    weights = load_file(folder / "model.safetensors")
    (projection,) = (name for name in weights if name.endswith("mm_input_projection_weight"))
    weights[projection] = weights[projection] * 2
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert tokens() == pytest.approx(2 * before, abs=1e-3)


def test_no_picture_and_no_group_plays_two_parts() -> None:
    material = made_up_material()
    recipe = replace(read_joint_recipe(JOINT), memory_per_label=5, queries_per_label=4)
    parts = divide(material, recipe)
    every = [parts.memory, parts.reader, parts.retriever, parts.test]
    places = np.concatenate(every)
    assert len(np.unique(places)) == len(places)
    assert [set(material.splits[each]) for each in every] == [
        {"train"},
        {"val"},
        {"val"},
        {"test"},
    ]
    groups = [{material.rows[p].example.group for p in each} for each in every[1:3]]
    assert not groups[0] & groups[1]


def test_a_joint_run_from_pictures_to_figures(
    model_folder: Path, data: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    run = tmp_path / "run"
    captions = write_captions(data, tmp_path / "captions.jsonl", lambda line: None)
    material = gather_atlas(MeanColour(), data, captions, run, lambda line: None)
    heads = replace(read_heads_recipe(DEMONSTRATION), steps=3, batch=8)
    write_heads(train_heads(heads, material, lambda line: None), run / "heads.npz")
    recipe = replace(
        read_joint_recipe(JOINT),
        reader_queries=2,
        retriever_queries=2,
        queries_per_label=1,
        read=1,
        candidates=3,
        rank=2,
        reader_batch=2,
        retriever_epochs=3,
    )
    said: list[str] = []
    figures = train_jointly(
        recipe, model_folder, MeanColour(), run / "heads.npz", data, captions, run, said.append
    )
    asked_alone = said.index(f"the test split without retrieval: {len(HELD_BACK)} pictures")
    assert asked_alone < said.index("phase 1: the reader, on 2 pictures")
    found = figures["all"]
    assert found["pictures"] == len(HELD_BACK)
    accuracy = {name: share["value"] for name, share in found["accuracy"].items()}
    assert set(accuracy) == {"no retrieval", "plain", "joint", "oracle"}
    assert accuracy["oracle"] >= max(accuracy["plain"], accuracy["joint"]) - 1e-9
    assert figures["inconsistent"] is None or figures["inconsistent"]["pictures"] <= 5
    assert (run / "reader" / "adapter_config.json").is_file()
    learnt = load_file(run / "retriever.safetensors")
    for side in SIDES:
        assert not torch.equal(learnt[f"heads.{side}.weight"], torch.eye(128))
    assert any(line.startswith("all: 5 pictures") for line in lines_of(figures))
