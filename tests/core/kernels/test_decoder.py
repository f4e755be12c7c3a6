"""The compiled decoder gives torch's logits for every shape of model, and the same ones in every batch."""

import dataclasses
import re

import pytest
import torch
from torch import Tensor

from core.config.model_config import PRESETS, ModelConfig
from core.inference.kernel_runner import KernelRunner
from core.inference.runner import Segment
from core.model.adapters import float_weight
from core.model.lora import Adapter, AdapterHooks, LowRank
from core.model.peft_format import linear_shapes
from core.model.quantize import Scheme, quantize_
from core.model.transformer import Transformer

TINY = dataclasses.replace(PRESETS["tiny"], vocab_size=101, initializer_range=0.1)
SHAPES = {
    "llama": TINY,
    "untied": dataclasses.replace(TINY, tie_word_embeddings=False, head_dim=48),
    "qwen2": dataclasses.replace(TINY, model_type="qwen2", attention_bias=True),
    "qwen3": dataclasses.replace(TINY, model_type="qwen3", qk_norm=True, head_dim=32),
    "astrai": dataclasses.replace(
        TINY, model_type="astrai", qk_norm=True, qk_norm_after_rope=True, gated_attention=True
    ),
    "biases": dataclasses.replace(TINY, attention_bias=True, attention_out_bias=True, mlp_bias=True),
    "window": dataclasses.replace(TINY, model_type="mistral", sliding_window=9),
    "one kv head": dataclasses.replace(TINY, num_attention_heads=5, num_key_value_heads=1),
    "yarn": dataclasses.replace(TINY, rope_scaling={"rope_type": "yarn", "factor": 4.0}),
}
SCHEMES = {
    "int8": Scheme(bits=8),
    "int4": Scheme(bits=4, group_size=32),
    "int4 head": Scheme(bits=4, group_size=64, head_bits=4),
}
# Activations become bytes in the kernels alone: the distance of the logits as a share of their norm.
BOUND = {16: 0.04, 8: 0.05}


def make(config: ModelConfig, scheme: Scheme) -> Transformer:
    model = Transformer(config).eval()
    model.init_weights(seed=0)
    quantize_(model, scheme)
    return model


def ids_of(length: int, *, seed: int) -> list[int]:
    return torch.randint(0, 101, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def distance(logits: Tensor, expected: Tensor) -> float:
    return float((logits - expected).norm() / expected.norm())


@torch.no_grad()
@pytest.mark.parametrize("kv_bits", [16, 8])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_torchs_within_the_rounding_of_activations(shape: str, scheme: str, kv_bits: int) -> None:
    model, ids = make(SHAPES[shape], SCHEMES[scheme]), ids_of(70, seed=1)
    expected = model(torch.tensor([ids]))[0]
    runner = KernelRunner(model, num_blocks=3, num_threads=1, kv_bits=kv_bits)
    assert distance(runner.forward([Segment(ids, 0, [2, 0, 1], 70)]), expected) < BOUND[kv_bits]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", ["llama", "window", "qwen3"])
def test_parts_batches_and_threads_change_no_bit(shape: str, threads: int) -> None:
    model = make(SHAPES[shape], SCHEMES["int4"])
    texts = [ids_of(length, seed=length) for length in (70, 1, 33)]
    tables = [[0, 5, 2], [7], [3, 9]]
    runner = KernelRunner(model, num_blocks=10, num_threads=threads)
    first = runner.forward(
        [
            Segment(texts[0][:40], 0, tables[0], 40),
            Segment(texts[1], 0, tables[1], 1),
            Segment(texts[2][:31], 0, tables[2], 0),
        ]
    )
    second = runner.forward([Segment(texts[0][40:69], 40, tables[0], 29), Segment(texts[2][31:], 31, tables[2], 1)])
    third = runner.forward([Segment(texts[0][69:], 69, tables[0], 1)])
    alone = torch.cat([runner.forward([Segment([token], i, [1, 4, 6], 1)]) for i, token in enumerate(texts[0])])
    assert torch.equal(torch.cat((first[:40], second[:29], third)), alone)
    alone = torch.cat([runner.forward([Segment([token], i, [1, 4], 1)]) for i, token in enumerate(texts[2])])
    assert torch.equal(second[29:], alone[-1:])


@pytest.mark.parametrize("kv_bits", [16, 8])
def test_blocks_that_are_copied_or_put_back_give_the_same_logits(kv_bits: int) -> None:
    runner = KernelRunner(make(TINY, SCHEMES["int8"]), num_blocks=6, num_threads=1, kv_bits=kv_bits)
    ids = ids_of(40, seed=2)
    runner.forward([Segment(ids, 0, [0, 1], 0)])
    expected = runner.forward([Segment([5], 40, [0, 1], 1)])
    runner.copy_block(0, 2)
    runner.copy_block(1, 3)
    assert torch.equal(runner.forward([Segment([5], 40, [2, 3], 1)]), expected)
    content = runner.read_block(0)
    assert content.dtype == torch.uint8
    assert content.nbytes == runner.block_bytes
    runner.write_block(4, content)
    assert torch.equal(runner.forward([Segment([5], 40, [4, 1], 1)]), expected)


@pytest.mark.parametrize(
    "segment",
    [
        Segment([101], 0, [0], 1),
        Segment([5, -1], 0, [0], 1),
        Segment([5], 32, [0], 1),
        Segment([5], 255, [0, 1] * 4, 1),
    ],
    ids=["id beyond the vocabulary", "id below it", "no block", "position beyond the angles"],
)
def test_a_step_beyond_the_memory_is_refused(segment: Segment) -> None:
    config = dataclasses.replace(TINY, max_position_embeddings=255)
    runner = KernelRunner(make(config, SCHEMES["int8"]), num_blocks=8, num_threads=1)
    with pytest.raises(AssertionError):
        runner.forward([Segment([1], 0, [7], 1), segment])


def test_a_damaged_weight_shows_in_the_logits() -> None:
    model = make(TINY, SCHEMES["int4"])
    with torch.no_grad():
        model.model.layers[1].input_layernorm.weight[3] = float("nan")
    runner = KernelRunner(model, num_blocks=1, num_threads=1)
    assert runner.forward([Segment([1, 2, 3], 0, [0], 1)]).isnan().all()


@torch.no_grad()
@pytest.mark.parametrize("is_gated", [False, True])
def test_astrais_norm_after_the_rotation_and_gate_are_torchs(is_gated: bool) -> None:
    options = {"model_type": "astrai", "qk_norm": True, "qk_norm_after_rope": True, "gated_attention": is_gated}
    model = Transformer(dataclasses.replace(TINY, **options)).eval()
    model.init_weights(seed=0)
    for block in model.model.layers:
        for norm in (block.self_attn.q_norm, block.self_attn.k_norm):
            torch.nn.init.uniform_(norm.weight, 0.2, 3.0, generator=torch.Generator().manual_seed(1))
    quantize_(model, SCHEMES["int8"])
    ids = ids_of(70, seed=1)
    expected = model(torch.tensor([ids]))[0]
    runner = KernelRunner(model, num_blocks=3, num_threads=1)
    assert distance(runner.forward([Segment(ids, 0, [2, 0, 1], 70)]), expected) < BOUND[16]


def some_adapter(config: ModelConfig, layers: str, *, rank: int, seed: int, has_gain: bool = False) -> Adapter:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: LowRank(
            torch.randn(rank, inputs, generator=generator) * 0.2,
            torch.randn(outputs, rank, generator=generator) * 0.2,
            1 + torch.randn(outputs, generator=generator) * 0.2 if has_gain else None,
        )
        for name, (outputs, inputs) in linear_shapes(config).items()
        if re.search(layers, name)
    }


@torch.no_grad()
@pytest.mark.parametrize("shape", ["llama", "biases"])
@pytest.mark.parametrize("has_gain", [False, True])
@pytest.mark.parametrize("layers", ["q_proj|v_proj", r"layers\.1\.", "gate|up", "o_proj|down", "."])
def test_an_adapter_beside_the_weights_equals_torchs(layers: str, has_gain: bool, shape: str) -> None:
    ids = ids_of(45, seed=4)
    model = make(SHAPES[shape], SCHEMES["int8"])
    adapter = some_adapter(TINY, layers, rank=5, seed=1, has_gain=has_gain)
    hooks = AdapterHooks(model)
    hooks.add("tuned", adapter)
    plain = model(torch.tensor([ids]))[0]
    with hooks.active({"tuned": torch.arange(45)}):
        expected = model(torch.tensor([ids]))[0]
    assert distance(plain, expected) > 0.1
    runner = KernelRunner(model, num_blocks=2, num_threads=1)
    runner.add_adapter("tuned", adapter)
    assert distance(runner.forward([Segment(ids, 0, [0, 1], 45, "tuned")]), expected) < BOUND[16]


@pytest.mark.parametrize("threads", [1, 2])
def test_two_adapters_and_none_in_a_step_equal_each_alone(threads: int) -> None:
    runner = KernelRunner(make(TINY, SCHEMES["int4"]), num_blocks=6, num_threads=threads)
    runner.add_adapter("first", some_adapter(TINY, ".", rank=3, seed=1))
    runner.add_adapter("second", some_adapter(TINY, "q_proj|down", rank=8, seed=2))
    asked: list[str | None] = ["first", None, "second"]
    segments = [
        Segment(ids_of(20 + number, seed=number), 0, [number], 20 + number, name) for number, name in enumerate(asked)
    ]
    together = runner.forward(segments)
    assert torch.equal(together, torch.cat([runner.forward([segment]) for segment in segments]))


@torch.no_grad()
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_packed_weights_are_read_back_exactly(scheme: str) -> None:
    config = dataclasses.replace(TINY, intermediate_size=136)  # no whole group
    model = make(config, SCHEMES[scheme])
    expected = {name: float_weight(model.get_submodule(name)) for name in linear_shapes(config)}
    runner = KernelRunner(model, num_blocks=1, num_threads=1)
    assert all(torch.equal(runner.weight(name), weight) for name, weight in expected.items())


def test_values_too_small_for_half_precision_still_count() -> None:
    model = make(TINY, SCHEMES["int8"])
    adapter = some_adapter(TINY, ".", rank=5, seed=1)
    tiny = {name: LowRank(low.a * 1e-9, low.b * 1e9) for name, low in adapter.items()}
    runner = KernelRunner(model, num_blocks=1, num_threads=1)
    runner.add_adapter("plain", adapter)
    runner.add_adapter("tiny", tiny)
    logits = [runner.forward([Segment(ids_of(20, seed=1), 0, [0], 20, name)]) for name in ("plain", "tiny")]
    assert distance(logits[1], logits[0]) < 0.01
    runner.remove_adapter("tiny")
    with pytest.raises(KeyError, match="tiny"):
        runner.forward([Segment([1], 0, [0], 1, "tiny")])
