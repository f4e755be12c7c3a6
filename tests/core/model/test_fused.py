"""The fused steps of a block against the plain layers, and how documents of a row stay apart in them."""

import pytest
import torch
from torch import Tensor

from core.config.model_config import ModelConfig
from core.model import fused, layers
from core.model.transformer import Transformer

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
TIME = 150
DOCUMENTS = torch.tensor([[0] * 70 + [1] * 80, [0] * 140 + [1] * 10])
POSITIONS = torch.cat([torch.arange(n) for n in (70, 80, 140, 10)]).view(2, TIME)


def model(dtype: torch.dtype, **changes: object) -> Transformer:
    built = Transformer(ModelConfig.from_dict({**SHAPE, **changes}))
    built.init_weights(0)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.mul_(5)  # far from where a norm's weight is one and attention is flat
    return built.to(dtype)


def ids() -> Tensor:
    return torch.randint(0, SHAPE["vocab_size"], (2, TIME), generator=torch.Generator().manual_seed(3))


def hidden_and_gradients(net: Transformer) -> dict[str, Tensor]:
    hidden = net.hidden(ids(), position_ids=POSITIONS, document_ids=DOCUMENTS)
    net.zero_grad()
    hidden.backward(torch.randn(hidden.shape, dtype=hidden.dtype, generator=torch.Generator().manual_seed(4)))
    gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    return {"hidden": hidden.detach(), **gradients}


@pytest.mark.parametrize("chunk_tokens", [64, 512])
def test_fused_layers_equal_plain_ones_with_all_gradients(chunk_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = model(torch.float64)
    monkeypatch.setattr(fused, "CHUNK_TOKENS", chunk_tokens)
    ours = hidden_and_gradients(net)
    monkeypatch.setattr(layers, "can_fuse", lambda *_: False)
    plain = hidden_and_gradients(net)
    assert len(ours) == 1 + 2 * 9 + 2  # hidden; two layers of nine parameters; embedding and last norm
    for name, expected in plain.items():
        torch.testing.assert_close(ours[name], expected, rtol=1e-9, atol=1e-12 * float(expected.abs().max()), msg=name)


def test_gradients_of_the_fused_steps_equal_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "CHUNK_TOKENS", 2)
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator, requires_grad=True)

    x, norm = draw(5, 4), draw(4)
    assert torch.autograd.gradcheck(
        lambda x, norm, *weights: fused.norm_mlp(x, norm, 1e-3, *weights), (x, norm, draw(6, 4), draw(6, 4), draw(4, 6))
    )
    angles = torch.randn(5, 1, 1, dtype=torch.float64, generator=generator).expand(5, 1, 2)
    rotary = fused.Rotary(angles.cos(), angles.sin())
    assert torch.autograd.gradcheck(
        lambda x, norm, *weights: fused.norm_qkv(x, norm, 1e-3, weights, rotary),
        (x, norm, draw(4, 4), draw(2, 4), draw(2, 4)),
    )


def test_frozen_matrices_get_no_gradient_and_the_rest_the_same() -> None:
    net = model(torch.float64)
    expected = hidden_and_gradients(net)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_("norm" in name)
    ours = hidden_and_gradients(net)
    assert set(ours) == {"hidden"} | {name for name in expected if "norm" in name}
    for name, value in ours.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "changes",
    [{"model_type": "qwen2", "attention_bias": True}, {"model_type": "qwen3", "qk_norm": True}],
    ids=["biases", "q and k norms"],
)
def test_attention_that_the_fused_step_does_not_know_takes_the_plain_one(changes: dict[str, object]) -> None:
    block = model(torch.float32, **changes).model.layers[0]
    assert not block.self_attn.can_fuse(torch.zeros(1, 1, 32))
    assert model(torch.float32).model.layers[0].self_attn.can_fuse(torch.zeros(1, 1, 32))


def test_bf16_products_take_the_plain_layers() -> None:
    attention = model(torch.float32).model.layers[0].self_attn
    with torch.autocast("cpu", torch.bfloat16):
        assert not attention.can_fuse(torch.zeros(1, 1, 32))
    assert not attention.can_fuse(torch.zeros(1, 1, 32, dtype=torch.bfloat16))


def test_changing_a_token_of_one_document_leaves_the_others_logits_and_gradients_bit_equal() -> None:
    net = model(torch.float32)
    second = DOCUMENTS == 1

    def logits_and_gradients(tokens: Tensor) -> tuple[Tensor, Tensor]:
        embedded: list[Tensor] = []
        handle = net.model.embed_tokens.register_forward_hook(
            lambda _module, _inputs, output: embedded.append(output.detach().requires_grad_()) or embedded[0]
        )
        hidden = net.hidden(tokens, position_ids=POSITIONS, document_ids=DOCUMENTS)
        handle.remove()
        logits = net.lm_head(hidden)
        logits.square().sum().backward()
        assert embedded[0].grad is not None
        return logits[second], embedded[0].grad[second]

    changed = ids()
    changed[:, 3] = (changed[:, 3] + 1) % SHAPE["vocab_size"]
    for before, after in zip(logits_and_gradients(ids()), logits_and_gradients(changed), strict=True):
        assert torch.equal(before, after)
