"""Blocks that are computed again backwards: the same loss and gradients, and less that is kept."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.config.model_config import PRESETS
from core.config.train_config import TrainConfig
from core.data.tokenizer import Tokenizer
from core.model.checkpoint import save_model
from core.model.transformer import Transformer
from core.trainer.build_context import build_context
from core.trainer.optimizer import named_parameters

Options = Callable[..., dict[str, object]]
Outcome = tuple[Tensor, dict[str, Tensor], int]
CASES: list[dict[str, object]] = [
    {"stage": "pt"},
    {"stage": "rm"},
    {"stage": "dpo"},
    {"stage": "dpo", "adapter": "lora", "base_quantization": "int8"},
    {"stage": "ppo", "max_new_tokens": 16, "num_generations": 2},
    {"stage": "pt", "adapter": "dora", "base_quantization": "int4"},
]


@pytest.fixture
def options(run_options: Options, text_data: Path, pair_data: Path, tokenizer: Tokenizer, tmp_path: Path) -> Options:
    """Options of a short run of any of these stages, from a base."""
    config = dataclasses.replace(PRESETS["tiny"], vocab_size=tokenizer.vocab_size, initializer_range=0.1)
    model = Transformer(config)
    model.init_weights(seed=1)
    save_model(model, tmp_path / "base", tokenizer=tokenizer)

    def changed(stage: str, **changes: object) -> dict[str, object]:
        data = str(text_data if stage == "pt" else pair_data)
        return run_options(stage=stage, data=data, base=str(tmp_path / "base"), max_seq_len=96, **changes)

    return changed


def backward(options: dict[str, object]) -> Outcome:
    """Loss, gradients by name and how many values were kept for them, in double precision."""
    reward = (lambda _, completions: [len(text) for text in completions]) if options["stage"] == "ppo" else None
    context = build_context(TrainConfig.from_dict(options), resume=False, reward=reward)
    for module in (context.reference, *context.trained.values()):
        if module is not None:
            module.double()
    draw = torch.Generator().manual_seed(7)
    for parameter in named_parameters(context.trained).values():  # an adapter's B is zero at first
        parameter.data += 0.01 * torch.randn(parameter.shape, generator=draw)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[id(tensor)] = tensor.numel()
        return tensor

    rows = context.train_rows.batch([(0, 0), (0, 1)])
    (batch,) = next(iter(context.strategy.updates(context, [rows])))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = context.strategy.loss(context, batch).total
    loss.backward()  # type: ignore[no-untyped-call]
    named = named_parameters(context.trained)
    gradients = {name: parameter.grad for name, parameter in named.items() if parameter.grad is not None}
    assert gradients.keys() == named.keys()
    return loss.detach(), gradients, sum(kept.values())


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_loss_and_every_gradient_are_the_same_and_less_is_kept(options: Options, case: dict[str, object]) -> None:
    loss, gradients, kept = backward(options(**case))
    again_loss, again, again_kept = backward(options(**case, gradient_checkpointing=True))
    torch.testing.assert_close(again_loss, loss, atol=0, rtol=1e-9)
    for name, gradient in gradients.items():
        error = (again[name] - gradient).abs().max()
        assert error <= 1e-9 * gradient.abs().max(), name
        assert gradient.abs().max() > 0, name
    assert again_kept < kept / 2
