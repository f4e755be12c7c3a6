"""The chunked loss against torch's own, and by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from core.data.dataset import IGNORED
from core.trainer import losses
from core.trainer.losses import cross_entropy_sum


def test_uniform_logits_cost_log_of_the_vocabulary() -> None:
    loss = cross_entropy_sum(torch.zeros(3, 4), torch.ones(8, 4), torch.tensor([0, 5, 7]))
    assert loss.item() == pytest.approx(3 * math.log(8))


def test_loss_and_gradients_equal_torch_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "CHUNK_TOKENS", {"cpu": 5})
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(13, 6, dtype=torch.float64, generator=generator)
    head = torch.randn(11, 6, dtype=torch.float64, generator=generator)
    labels = torch.randint(0, 11, (13,), generator=generator)
    labels[[2, 7]] = IGNORED
    ours = [hidden.clone().requires_grad_(), head.clone().requires_grad_()]
    theirs = [hidden.clone().requires_grad_(), head.clone().requires_grad_()]
    loss = cross_entropy_sum(*ours, labels) * 0.25
    expected = F.cross_entropy(theirs[0] @ theirs[1].T, labels, ignore_index=IGNORED, reduction="sum") * 0.25
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours[0].grad, theirs[0].grad)
    torch.testing.assert_close(ours[1].grad, theirs[1].grad)


def test_large_logits_do_not_overflow() -> None:
    hidden = torch.full((1, 1), 1000.0)
    head = torch.tensor([[1.0], [-1.0]])
    assert cross_entropy_sum(hidden, head, torch.tensor([1])).item() == pytest.approx(2000.0)
