"""The estimate of memory and speed, held against what was measured on one machine in one run (docs/lab_notebook.md)."""

import pytest

from app.model_fit import (
    LIBRARIES_BYTES,
    Verdict,
    bytes_per_token,
    need,
    prompt_tokens_per_s,
    quantization_on_load,
    tokens_per_s,
    verdict,
)
from core.config.model_config import PRESETS, ModelConfig

READ_GB_PER_S, FP32_GFLOP_PER_S = 35.4, 159.0
STARTER, ONE_B = PRESETS["starter"], PRESETS["1b"]
TINY_LLAMA = ModelConfig(
    vocab_size=32000,
    hidden_size=2048,
    intermediate_size=5632,
    num_hidden_layers=22,
    num_attention_heads=32,
    num_key_value_heads=4,
    head_dim=64,
    max_position_embeddings=2048,
    tie_word_embeddings=False,
)


@pytest.mark.parametrize(
    ("config", "quantization", "measured"),
    [(TINY_LLAMA, "int4", 53.2), (TINY_LLAMA, "int8", 29.2), (STARTER, "int8", 1480), (STARTER, "none", 175)],
)
def test_decoding_is_told_within_a_tenth_of_what_was_measured(
    config: ModelConfig, quantization: str, measured: float
) -> None:
    assert tokens_per_s(config, quantization, read_gb_per_s=READ_GB_PER_S) == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize(("quantization", "measured"), [("int4", 157.4), ("int8", 95.3)])
def test_a_prompt_is_told_within_a_tenth(quantization: str, measured: float) -> None:
    told = prompt_tokens_per_s(TINY_LLAMA, quantization, fp32_gflop_per_s=FP32_GFLOP_PER_S)
    assert told == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize(("quantization", "megabytes"), [("int4", 580), ("int8", 1036)])
def test_the_bytes_of_a_token_are_those_that_the_benchmark_counts(quantization: str, megabytes: float) -> None:
    assert bytes_per_token(TINY_LLAMA, quantization) / 1e6 == pytest.approx(megabytes, rel=0.01)


def test_memory_is_told_within_a_tenth_of_what_was_measured() -> None:
    needed = need(ONE_B, "int4")
    assert (needed.weight_bytes + LIBRARIES_BYTES) / 1e6 == pytest.approx(1345, rel=0.1)
    assert (needed.running_bytes + LIBRARIES_BYTES) / 1e6 == pytest.approx(1465, rel=0.1)
    assert (needed.most_bytes + LIBRARIES_BYTES) / 1e6 == pytest.approx(1946, rel=0.1)


@pytest.mark.parametrize(
    ("free_gb", "expected"), [(24.0, Verdict.FITS), (2.0, Verdict.TIGHT), (1.5, Verdict.TOO_LARGE)]
)
def test_the_verdict_follows_from_what_is_free(free_gb: float, expected: Verdict) -> None:
    assert verdict(need(ONE_B, "int4"), int(free_gb * 1e9), is_running=False) == expected


def test_the_form_in_memory_is_the_stored_one_or_the_one_that_loading_takes() -> None:
    assert [quantization_on_load(STARTER, stored) for stored in ("int8", None, "Q4_0")] == ["int8", "none", "none"]
    assert [quantization_on_load(ONE_B, stored) for stored in ("int8", None, "Q4_0")] == ["int8", "int4", "int4"]
