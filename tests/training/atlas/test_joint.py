"""The reader beside a case, on a model of random weights; and a whole joint run, as small."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.atlas.joint import divide, read_joint_recipe
from training.atlas.reader import Reader, paired_prompt
from training.atlas.recipe import JOINT
from training.evaluation.asking import label_scorer
from training.labels import label_set

BACKGROUND = "melanoma. dermoscopy, skin lesion. irregular border. urgent."


@pytest.fixture(scope="module")
def reader(tokenizer: Any) -> Reader:
    """Two layers of random weights: what it says is arbitrary, but its own."""
    import tempfile

    import torch
    from safetensors.torch import save_file

    from tests.training.tiny import RECIPE
    from training.captioner import build_captioner
    from training.tower import build_classifier

    torch.manual_seed(0)
    geometry = replace(RECIPE.geometry, text_depth=2)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tower.safetensors"
        save_file(
            {k: v.contiguous() for k, v in build_classifier(geometry, 3).state_dict().items()}, file
        )
        model = build_captioner(geometry, tokenizer, file).eval()
    tokens = np.random.default_rng(0).normal(size=(4, geometry.image_tokens, geometry.text_width))
    return Reader(model, tokenizer, label_set(), tokens.astype(np.float16))


def test_the_posterior_is_that_of_scoring_each_label_in_full(reader: Reader) -> None:
    import torch

    scores_of = label_scorer(reader.model, reader.tokenizer, label_set())
    tokens = torch.from_numpy(reader._tokens[:1].astype(np.float32))
    wanted = np.array(scores_of(tokens)[0])
    wanted -= np.logaddexp.reduce(wanted)
    found = reader.posterior(0, None, None)
    assert found == pytest.approx(wanted, abs=1e-4)
    assert np.exp(found).sum() == pytest.approx(1)


def test_the_case_and_its_caption_are_read(reader: Reader) -> None:
    alone = reader.posterior(0, None, None)
    beside = reader.posterior(0, 1, BACKGROUND)
    assert np.abs(beside - alone).max() > 1e-3
    assert np.abs(reader.posterior(0, 2, BACKGROUND) - beside).max() > 1e-4
    assert np.abs(reader.posterior(0, 1, "normal chest.") - beside).max() > 1e-4


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


def test_no_picture_and_no_group_plays_two_parts() -> None:
    from tests.training.atlas.made_up import made_up_material

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
