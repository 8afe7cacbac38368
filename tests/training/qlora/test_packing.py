"""Packing changes where conversations lie, and nothing that the model says of them."""

import random
from types import SimpleNamespace
from typing import Any

import pytest

from tests.training.qlora.tiny_gemma import IMAGE_TOKENS, SOFT, WIDTH, WINDOW, lesson, tiny_gemma
from training.qlora.packing import pack, pack_loss, plan_packs


def test_packs_hold_every_conversation_once_within_their_room() -> None:
    lengths = [random.Random(0).randint(5, 60) for _ in range(200)]
    packs = plan_packs(lengths, most_tokens=64)
    assert sorted(index for one in packs for index in one) == list(range(200))
    assert all(sum(lengths[index] for index in one) <= 64 for one in packs)
    assert len(packs) < 1.1 * sum(lengths) / 64


def test_a_conversation_too_long_for_a_pack_gets_its_own() -> None:
    assert plan_packs([100, 10], most_tokens=50) == [[0], [1]]


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request: pytest.FixtureRequest) -> Any:
    found = tiny_gemma()
    found.set_attn_implementation(request.param)
    return found


def test_packed_losses_are_the_losses_of_each_conversation_alone(model: Any) -> None:
    import torch
    import torch.nn.functional as F

    lessons = [lesson(seed) for seed in range(5)]
    features = torch.randn(5, IMAGE_TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        together = pack_loss(model, pack(lessons, WINDOW), features)
        for index, one in enumerate(lessons):
            ids = torch.tensor([one.ids])
            logits = model(
                input_ids=ids,
                token_type_ids=(ids == SOFT).long(),
                mm_encoder_outputs={
                    "image": SimpleNamespace(pooler_output=features[index : index + 1])
                },
            ).logits
            loss = F.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="none")
            alone = (loss * torch.tensor(one.weights[1:])).sum()
            assert together[index].item() == pytest.approx(alone.item(), rel=1e-4)


def test_logits_made_piece_by_piece_give_the_same_loss_and_gradient(model: Any) -> None:
    import torch

    results = []
    for logits_at_once in (10_000, 64 * 3):  # all, three tokens of a vocabulary of 64
        features = torch.randn(3, IMAGE_TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))
        features.requires_grad_()
        packed = pack([lesson(seed) for seed in range(3)], WINDOW)
        loss = pack_loss(model, packed, features, logits_at_once)
        loss.sum().backward()
        results.append((loss.detach(), features.grad))
    for whole, pieces in zip(*results, strict=True):
        torch.testing.assert_close(whole, pieces)


def test_packing_another_neighbour_changes_nothing(model: Any) -> None:
    import torch

    features = torch.randn(3, IMAGE_TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        one = pack_loss(model, pack([lesson(0), lesson(1)], WINDOW), features[:2])
        other = pack_loss(model, pack([lesson(0), lesson(2)], WINDOW), features[[0, 2]])
    assert one[0].item() == pytest.approx(other[0].item(), rel=1e-5)
