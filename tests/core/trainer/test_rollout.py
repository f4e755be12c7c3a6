"""Rollouts: the policy's own distribution, the same every time, and all at once."""

import dataclasses
from collections.abc import Sequence

import pytest
import torch

from core.config.model_config import PRESETS
from core.data.tokenizer import Tokenizer
from core.errors import TrainingError
from core.model.transformer import Transformer
from core.trainer.rollout import Completion, Draw, RolloutConfig, complete

VOCAB = 40
PROMPTS = [[3 + 7 * place % 37 for place in range(length)] for length in (5, 40, 12, 70)]


@pytest.fixture
def model() -> Transformer:
    made = Transformer(dataclasses.replace(PRESETS["tiny"], vocab_size=VOCAB, initializer_range=0.3))
    made.init_weights(seed=1)
    return made


def draw(model: Transformer, draws: Sequence[Draw], **changes: object) -> list[Completion]:
    common = {"stop_ids": frozenset({1, 2}), "max_new_tokens": 12, "temperature": 1.0, "max_running": 64}
    return complete(model, draws, RolloutConfig(**{**common, **changes}))


def draws_of(prompts: Sequence[list[int]], count: int) -> list[Draw]:
    return [Draw(prompt, (7, index, sample)) for index, prompt in enumerate(prompts) for sample in range(count)]


def test_a_rollout_is_the_same_every_time_and_its_samples_differ(model: Transformer) -> None:
    draws = draws_of(PROMPTS, 3)
    first, second = draw(model, draws), draw(model, draws)
    assert [one.ids for one in first] == [one.ids for one in second]
    assert len({tuple(one.ids) for one in first}) > len(PROMPTS)


def test_a_completion_does_not_depend_on_its_neighbours(model: Transformer) -> None:
    model.double()
    draws = draws_of(PROMPTS, 4)
    together = [one.ids for one in draw(model, draws)]
    few_at_once = [one.ids for one in draw(model, draws, max_running=3)]
    backwards = [one.ids for one in draw(model, draws[::-1])][::-1]
    alone = [draw(model, [one])[0].ids for one in draws]
    assert together == few_at_once == backwards == alone


def test_a_completion_keeps_the_token_that_ends_it_or_is_cut(model: Transformer) -> None:
    completions = draw(model, draws_of(PROMPTS, 16))
    ended = [one for one in completions if not one.is_cut]
    assert 0 < len(ended) < len(completions)
    assert all(one.ids[-1] in {1, 2} and not {1, 2} & set(one.ids[:-1]) for one in ended)
    assert all(len(one.ids) == 12 and not {1, 2} & set(one.ids) for one in completions if one.is_cut)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_tokens_are_drawn_with_the_probabilities_of_a_forward_pass(model: Transformer, temperature: float) -> None:
    count = 3000
    completions = draw(
        model, draws_of(PROMPTS[:1], count), max_new_tokens=1, max_running=count, temperature=temperature
    )
    drawn = torch.bincount(torch.tensor([one.ids[0] for one in completions]), minlength=VOCAB) / count
    with torch.no_grad():
        expected = (model(torch.tensor(PROMPTS[:1]))[0, -1] / temperature).softmax(0)
    error = (expected * (1 - expected) / count).sqrt()
    assert ((drawn - expected).abs() < 4.5 * error + 1e-3).all()
    assert expected.max() > 0.1, "an even distribution would prove little"


def test_the_weights_of_the_moment_are_the_ones_that_draw(model: Transformer) -> None:
    draws = draws_of(PROMPTS, 2)
    before = [one.ids for one in draw(model, draws)]
    with torch.no_grad():
        model.lm_head.weight[5] = 0
        model.lm_head.weight[5] += 10 * model.lm_head.weight[6]
    after = [one.ids for one in draw(model, draws)]
    assert before != after


def test_a_training_step_can_follow_a_rollout(model: Transformer) -> None:
    """What the engine leaves in the model must serve a pass with gradients."""
    draw(model, draws_of(PROMPTS, 1))
    assert model.training
    model(torch.tensor(PROMPTS[:1])).sum().backward()
    assert model.lm_head.weight.grad is not None


def test_a_policy_whose_weights_are_no_numbers_is_named(model: Transformer, tokenizer: Tokenizer) -> None:
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="cannot generate"):
        draw(model, draws_of(PROMPTS, 1))
    assert model.training
