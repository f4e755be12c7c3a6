"""Rotary position embedding: the frequency table of every `rope_scaling` we run.

Frequencies are computed in float64 and kept in fp32. Legend: T time, D head dim.
Sources: Su et al. 2021 (RoPE); Meta's Llama 3.1 release (llama3); Peng et al. 2023 (YaRN).
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from core.config.model_config import ModelConfig, rope_type


def rotary_table(config: ModelConfig, max_seq_len: int, *, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Cosines and sines for positions 0…max_seq_len-1, each (T, D), halves repeated."""
    frequencies, scale = _frequencies(config)
    angles = torch.outer(torch.arange(max_seq_len, dtype=torch.float32), frequencies.float())  # (T, D/2)
    angles = torch.cat((angles, angles), dim=-1)
    return (angles.cos() * scale).to(device), (angles.sin() * scale).to(device)


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate halves: x (B, H, T, D), cos and sin broadcastable to it."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def _frequencies(config: ModelConfig) -> tuple[Tensor, float]:
    """Angle per position of each pair, (D/2,) float64, and the factor on cos and sin."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim
    plain = config.rope_theta**-exponents
    scaling = config.rope_scaling
    if scaling is None:
        return plain, 1.0
    match rope_type(scaling):
        case "linear":
            return plain / scaling["factor"], 1.0
        case "llama3":
            return _llama3(plain, scaling), 1.0
        case "yarn":
            return _yarn(plain, scaling, config)
        case _:
            return plain, 1.0


def _llama3(plain: Tensor, scaling: Mapping[str, Any]) -> Tensor:
    """Long wavelengths are stretched by the factor, short ones kept, the band between blended."""
    low, high, factor = scaling["low_freq_factor"], scaling["high_freq_factor"], scaling["factor"]
    context = scaling["original_max_position_embeddings"]
    wavelength = 2 * math.pi / plain
    blend = ((context / wavelength - low) / (high - low)).clamp(0, 1)
    return (1 - blend) * plain / factor + blend * plain


def _yarn(plain: Tensor, scaling: Mapping[str, Any], config: ModelConfig) -> tuple[Tensor, float]:
    """NTK by parts: a linear ramp over the dimensions between `beta_fast` and `beta_slow` rotations."""
    factor = scaling["factor"]
    context = scaling.get("original_max_position_embeddings") or config.max_position_embeddings
    half = config.head_dim / 2

    def dimension(rotations: float) -> float:
        return config.head_dim * math.log(context / (rotations * 2 * math.pi)) / (2 * math.log(config.rope_theta))

    low, high = dimension(scaling.get("beta_fast") or 32), dimension(scaling.get("beta_slow") or 1)
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, config.head_dim - 1)
    span = max(high - low, 0.001)
    ramp = ((torch.arange(int(half), dtype=torch.float64) - low) / span).clamp(0, 1)
    return plain / factor * ramp + plain * (1 - ramp), _yarn_attention_factor(scaling, factor)


def _yarn_attention_factor(scaling: Mapping[str, Any], factor: float) -> float:
    if scaling.get("attention_factor") is not None:
        return float(scaling["attention_factor"])

    def temperature(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    if scaling.get("mscale") and scaling.get("mscale_all_dim"):
        return temperature(scaling["mscale"]) / temperature(scaling["mscale_all_dim"])
    return temperature(1.0)


def llama3_factors(config: ModelConfig, scaling: Mapping[str, Any]) -> Tensor:
    """By what Llama 3's scaling divides each frequency, (D/2,) float64; GGUF files hold this."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim
    plain = config.rope_theta**-exponents
    return plain / _llama3(plain, scaling)
