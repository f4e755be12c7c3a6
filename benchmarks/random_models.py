"""Models of random weights on disk, in our layout and as GGUF: as large as real ones, and made in seconds.

Weights are drawn as whole numbers, so nothing is quantised here. Speed does not depend on what they say.
"""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from core.config.model_config import PRESETS, ModelConfig
from core.model.checkpoint import save_model
from core.model.layers import RMSNorm
from core.model.quantize import QuantizedEmbedding, QuantizedLinear, Scheme, prepare_for_quantized_
from core.model.transformer import Transformer

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType

# AstrAI's own shape, and the one that the design was measured with (TinyLlama's).
SHAPES = {
    "astrai": dataclasses.replace(PRESETS["1b"], max_position_embeddings=4096),
    "llama": ModelConfig(
        vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32,
        num_key_value_heads=4, head_dim=64, max_position_embeddings=4096, tie_word_embeddings=False,
    ),
}  # fmt: skip
SCHEMES = {
    "fp32": None,
    "int8": Scheme(bits=8),
    "int4": Scheme(bits=4),
    "int4 with int4 head": Scheme(bits=4, head_bits=4),
}
# Standard deviations of uniform whole numbers -127…126 and -8…7, which scales bring to 1/√I.
INT8_STD, INT4_STD = 73.2, 4.6


def write_ours(config: ModelConfig, scheme: Scheme | None, folder: Path) -> None:
    """A model folder without a tokenizer."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        model = Transformer(config)
        if scheme is not None:
            prepare_for_quantized_(model, scheme)
    for module in model.modules():
        if isinstance(module, QuantizedLinear | QuantizedEmbedding):
            _fill_quantised(module, generator)
        elif isinstance(module, torch.nn.Linear | torch.nn.Embedding | RMSNorm):
            module.weight = torch.nn.Parameter(_drawn(module.weight.shape, generator))
    if config.tie_word_embeddings:
        model.tie_head()
    save_model(model, folder, extra={} if scheme is None else {"quantization_config": scheme.to_config()})


def _drawn(shape: torch.Size, generator: torch.Generator) -> Tensor:
    return torch.ones(shape) if len(shape) == 1 else torch.randn(shape, generator=generator) * shape[1] ** -0.5


def _fill_quantised(module: QuantizedLinear | QuantizedEmbedding, generator: torch.Generator) -> None:
    size = math.sqrt(module.inputs)
    low, high, std = (-127, 127, INT8_STD) if module.bits == 8 else (0, 256, INT4_STD)
    module.weight = torch.randint(low, high, module.weight.shape, dtype=module.weight.dtype, generator=generator)
    module.weight_scale = torch.full(module.weight_scale.shape, 1 / (std * size), dtype=module.weight_scale.dtype)


def write_gguf(config: ModelConfig, kind: str, path: Path) -> None:
    """A Llama of GGUF, Q4_0 or Q8_0, with the types that llama.cpp's own quantiser gives its tensors."""
    import gguf

    types = {"Q4_0": gguf.GGMLQuantizationType.Q4_0, "Q8_0": gguf.GGMLQuantizationType.Q8_0}
    head_type = gguf.GGMLQuantizationType.Q6_K if kind == "Q4_0" else types[kind]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("no_vocab")
    random = np.random.default_rng(0)
    for name, shape in _gguf_shapes(config).items():
        if len(shape) == 1:
            writer.add_tensor(name, np.ones(shape, np.float32))
            continue
        is_head = name == "output.weight" or (name == "token_embd.weight" and config.tie_word_embeddings)
        quant = head_type if is_head else types[kind]
        writer.add_tensor(name, _gguf_blocks(random, quant, shape), raw_dtype=quant)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _gguf_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    hidden, inner = config.hidden_size, config.intermediate_size
    q, kv = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (config.vocab_size, hidden),
        "output_norm.weight": (hidden,),
    }
    if not config.tie_word_embeddings:
        shapes["output.weight"] = (config.vocab_size, hidden)
    layer: dict[str, tuple[int, ...]] = {
        "attn_norm": (hidden,), "attn_q": (q, hidden), "attn_k": (kv, hidden), "attn_v": (kv, hidden),
        "attn_output": (hidden, q), "ffn_norm": (hidden,), "ffn_gate": (inner, hidden), "ffn_up": (inner, hidden),
        "ffn_down": (hidden, inner),
    }  # fmt: skip
    for number in range(config.num_hidden_layers):
        shapes |= {f"blk.{number}.{name}.weight": shape for name, shape in layer.items()}
    return shapes


def _gguf_blocks(
    random: np.random.Generator, quant: "GGMLQuantizationType", shape: tuple[int, ...]
) -> "np.ndarray[Any, Any]":
    """Random bytes as rows of blocks, their fp16 scales small numbers."""
    import gguf

    block, size = gguf.GGML_QUANT_SIZES[quant]
    blocks = random.integers(0, 256, (shape[0] * shape[1] // block, size), dtype=np.uint8)
    place = size - 2 if quant == gguf.GGMLQuantizationType.Q6_K else 0
    blocks[:, place : place + 2] = np.frombuffer(np.float16(1e-3).tobytes(), np.uint8)
    return blocks.reshape(shape[0], -1)
