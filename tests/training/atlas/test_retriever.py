"""The retriever, and what was wrong in JOMED's reference code (Nirmaz/JOMED, commit b7d186d): a
softmax twice over, the wrong head trained, answers without a label taken for class 0."""

import math

import numpy as np
import pytest
import torch

from training.atlas.retriever import (
    NO_LABEL,
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

LOG = np.log


def posteriors(*rows: tuple[float, ...]) -> Logs:
    found: Logs = LOG(np.array([rows]))
    return found


def test_the_loss_is_zero_where_the_retriever_agrees_with_the_reader() -> None:
    likelihoods = torch.tensor([[0.8, 0.1, 0.02]]).log()
    scores = 0.5 * likelihoods + 3  # a distribution does not change with what is added to all
    assert float(retrieval_loss(scores, likelihoods, 0.5)) == pytest.approx(0, abs=1e-6)


def test_the_reader_is_normalised_once() -> None:
    """A second softmax would flatten (0.9, 0.1) to (0.69, 0.31)."""
    likelihoods = torch.tensor([[0.9, 0.1]]).log()
    found = float(retrieval_loss(torch.zeros(1, 2), likelihoods, 1.0))
    assert found == pytest.approx(0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5), abs=1e-6)


def test_the_loss_pulls_towards_the_case_that_helps() -> None:
    scores = torch.zeros(1, 2, requires_grad=True)
    retrieval_loss(scores, torch.tensor([[0.9, 0.1]]).log(), 1.0).backward()
    assert scores.grad is not None
    assert scores.grad[0, 0] < 0 < scores.grad[0, 1]


@pytest.mark.parametrize("side", SIDES)
def test_only_the_head_in_turn_is_trained(side: Side) -> None:
    torch.manual_seed(0)
    heads = build_heads(4, 0.15)
    before = {name: weight.clone() for name, weight in heads.state_dict().items()}
    optimizer = torch.optim.AdamW(train_only(heads, side), lr=0.1)
    queries = torch.nn.functional.normalize(torch.randn(3, 4), dim=1)
    scores = heads(queries, side) @ torch.randn(4, 5)
    retrieval_loss(scores, torch.randn(3, 5), 0.1).sum().backward()
    optimizer.step()
    changed = {
        name for name, weight in heads.state_dict().items() if (weight != before[name]).any()
    }
    assert changed == {f"heads.{side}.weight", f"heads.{side}.bias"}


def test_the_query_begins_as_the_frozen_one_and_is_a_mixture() -> None:
    heads = build_heads(3, 0.15)
    query = torch.tensor([[1.0, 0, 0]])
    assert torch.allclose(heads(query, "text"), query)
    with torch.no_grad():
        heads.heads["text"].weight.copy_(torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]))
    mixed = torch.tensor([0.85, 0.15, 0]) / math.hypot(0.85, 0.15)
    assert torch.allclose(heads(query, "text")[0], mixed)
    assert torch.allclose(heads(query, "image"), query)


def test_answers_are_fused_by_the_weight_of_their_case() -> None:
    read = posteriors((0.9, 0.1), (0.2, 0.8))
    scores = np.array([[LOG(3.0), 0.0]])
    found = np.exp(fused(read, scores, 1.0))
    assert found[0] == pytest.approx([0.75 * 0.9 + 0.25 * 0.2, 0.75 * 0.1 + 0.25 * 0.8])
    assert found.sum() == pytest.approx(1)


def test_raw_scores_and_twice_normalised_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="not log-probabilities"):
        fused(np.array([[[2.0, 1.0]]]), np.zeros((1, 1)), 1.0)
    twice = np.exp(posteriors((0.9, 0.1)))
    with pytest.raises(ValueError, match="not log-probabilities"):
        fused(twice, np.zeros((1, 1)), 1.0)


def test_an_answer_without_a_label_is_none_of_them() -> None:
    nothing, half = np.full(3, np.nan), np.array([np.nan, -0.1, -2.0])
    impossible = np.full(3, -np.inf)
    good = LOG(np.array([0.2, 0.7, 0.1]))
    found = chosen(np.array([nothing, half, impossible, good]))
    assert found.tolist() == [NO_LABEL, NO_LABEL, NO_LABEL, 1]


def test_cases_that_lead_to_several_labels_are_inconsistent() -> None:
    same, other = (0.9, 0.1), (0.3, 0.7)
    read = np.concatenate([posteriors(same, same), posteriors(same, other)])
    assert inconsistent(read).tolist() == [False, True]


def test_a_query_never_finds_its_own_group() -> None:
    keys = np.eye(3)
    allowed = np.array([[False, True, True]])
    assert nearest(np.array([[1.0, 0.5, 0.1]]), keys, allowed, 2).tolist() == [[1, 2]]
