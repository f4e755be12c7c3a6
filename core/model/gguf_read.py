"""A GGUF file as a model: its shape from the metadata, its tensors dequantised one by one.

Quantised blocks are dequantised by the `gguf` package, some rows at a time into the tensor that is wanted, so
memory holds the model and a few megabytes more. Source: the GGUF specification and llama.cpp's reading of it.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gguf
import numpy as np
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from torch import Tensor

from core.config.model_config import ModelConfig
from core.config.param_config import SamplingConfig
from core.data.gguf_file import GGUFFile, GGUFTensor, number
from core.errors import ConfigError, ModelError
from core.model.gguf_names import ROPE_FACTORS, from_gguf_name, rotated_heads
from core.model.rope import llama3_factors
from core.model.rope_layout import neighbours_to_halves
from core.model.weights import StoredTensor

FAMILIES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
FLOATS = {GGMLQuantizationType.F32: torch.float32, GGMLQuantizationType.F16: torch.float16}
# Types whose blocks the package dequantises (its table of them has no public name).
QUANTISED = frozenset(
    getattr(GGMLQuantizationType, name)
    for name in (
        *("BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "TQ1_0", "TQ2_0"),
        *("MXFP4", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S", "IQ1_M", "IQ4_NL", "IQ4_XS"),
    )
)
# Values that are dequantised at once.
CHUNK_VALUES = 1 << 22
# Llama 3.1 and later; the file holds the factors that follow from them, see `_llama3`.
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
SAMPLING = {"temp": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p"}
_OTHER_FILE = "Use the safetensors folder of this model."


def gguf_config(file: GGUFFile) -> ModelConfig:
    """The shape of the model in a GGUF file. Raises ModelError for one that we do not run."""
    architecture = str(file.metadata.get("general.architecture"))
    if architecture not in FAMILIES:
        raise ModelError(
            "{name} holds a model of {architecture!r}.", "Use one of: {known}.",
            name=file.path.name, architecture=architecture, known=", ".join(FAMILIES),
        )  # fmt: skip
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        name = file.path.name
        raise ModelError("{name} has no token_embd.weight, so it is no whole model.", _OTHER_FILE, name=name)
    value = partial(_number, file.metadata, architecture)
    if value("expert_count"):
        raise ModelError(
            "{name} is a mixture of {count} experts (MoE).", "Use a dense one.",
            name=file.path.name, count=value("expert_count"),
        )  # fmt: skip
    heads = value("attention.head_count") or 1
    hidden = embedding.shape[1]
    head_dim = value("attention.key_length") or hidden // max(heads, 1)
    for key in ("attention.value_length", "rope.dimension_count"):
        if value(key) not in (None, head_dim):
            raise ModelError(
                "{name} is {value}, a head has {size}.", _OTHER_FILE,
                name=f"{architecture}.{key}", value=value(key), size=head_dim,
            )  # fmt: skip
    values = {
        "model_type": FAMILIES[architecture],
        "vocab_size": embedding.shape[0],
        "hidden_size": hidden,
        "intermediate_size": value("feed_forward_length"),
        "num_hidden_layers": value("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": value("attention.head_count_kv") or heads,
        "head_dim": head_dim,
        "max_position_embeddings": value("context_length"),
        "rms_norm_eps": value("attention.layer_norm_rms_epsilon", kind=_single),
        "rope_theta": value("rope.freq_base", kind=_single) or 10000.0,
        "attention_bias": "blk.0.attn_q.bias" in file.tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in file.tensors,
        "tie_word_embeddings": "output.weight" not in file.tensors,
        **{f"{name}_token_id": number(file.metadata, f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")},
        "pad_token_id": number(file.metadata, "tokenizer.ggml.padding_token_id"),
    }
    config = ModelConfig.from_hf({key: entry for key, entry in values.items() if entry is not None})
    return _with_scaling(config, file, architecture)


def _number(metadata: Mapping[str, Any], architecture: str, key: str, kind: Callable[[Any], Any] = int) -> Any:
    return number(metadata, f"{architecture}.{key}", kind=kind)


def _single(value: float) -> float:
    """The decimal number that was meant by one in single precision."""
    return float(f"{value:.7g}")


def _with_scaling(config: ModelConfig, file: GGUFFile, architecture: str) -> ModelConfig:
    """The shape with what the file says of longer contexts. Raises ModelError."""
    key = f"{architecture}.rope.scaling."
    kind = file.metadata.get(f"{key}type", "none")
    factor, context = (
        number(file.metadata, key + name, kind=_single) for name in ("factor", "original_context_length")
    )
    scaling: dict[str, Any] | None = None
    if ROPE_FACTORS in file.tensors:
        scaling = _llama3(config, file.tensors[ROPE_FACTORS], int(context) if context else None)
    elif kind in ("linear", "yarn") and factor:
        scaling = {"rope_type": kind, "factor": factor}
        scaling |= {"original_max_position_embeddings": int(context)} if kind == "yarn" and context else {}
    elif kind not in ("none", "linear", "yarn"):
        raise ModelError("{name} {found!r} is not supported.", _OTHER_FILE, name=f"{key}type", found=kind)
    try:
        return ModelConfig.from_dict({**config.to_dict(), "rope_scaling": scaling})
    except ConfigError as exc:
        raise ModelError(
            "{name} cannot be right: {reason}.", _OTHER_FILE, name=file.path.name, reason=exc.sentence
        ) from exc


def _llama3(config: ModelConfig, tensor: GGUFTensor, context: int | None) -> dict[str, Any]:
    """Llama 3's scaling, found again from the factors per frequency that follow from it. Raises ModelError."""
    if tensor.shape != (config.head_dim // 2,) or tensor.kind is not GGMLQuantizationType.F32:
        raise ModelError(
            "{name} is {value}, a head has {size}.", _OTHER_FILE,
            name=ROPE_FACTORS, value=list(tensor.shape), size=config.head_dim,
        )  # fmt: skip
    factors = _read(tensor).double()
    scaling: dict[str, Any] = {"rope_type": "llama3", "factor": _single(float(factors.max())), **LLAMA3}
    if context:
        scaling["original_max_position_embeddings"] = context
    if not torch.allclose(llama3_factors(config, scaling), factors, rtol=1e-5):
        raise ModelError(
            "{name} is not Llama 3's scaling, which is the only one known.", _OTHER_FILE, name=ROPE_FACTORS
        )
    return scaling


def gguf_sampling(file: GGUFFile) -> SamplingConfig:
    """The sampling that a file asks for; ours where it asks for nothing. Raises ModelError."""
    found = {ours: number(file.metadata, f"general.sampling.{name}", kind=_single) for name, ours in SAMPLING.items()}
    values = {name: int(value) if name == "top_k" else value for name, value in found.items() if value is not None}
    try:
        return SamplingConfig.from_dict(values)
    except ConfigError as exc:
        raise ModelError(
            "{name} cannot be right: {reason}.", _OTHER_FILE, name=file.path.name, reason=exc.sentence
        ) from exc


def gguf_weights(config: ModelConfig, file: GGUFFile) -> dict[str, StoredTensor]:
    """The file's tensors under our names and in our order of rows. Raises ModelError for a type not known."""
    architecture = str(file.metadata.get("general.architecture"))
    found: dict[str, StoredTensor] = {}
    for theirs, tensor in file.tensors.items():
        if theirs == ROPE_FACTORS:
            continue
        if tensor.kind not in QUANTISED and tensor.kind not in FLOATS:
            raise ModelError(
                "{name} is of the type {found}, which cannot be read.", _OTHER_FILE,
                name=theirs, found=tensor.kind.name,
            )  # fmt: skip
        name = from_gguf_name(theirs)
        heads = rotated_heads(architecture, name, config.num_attention_heads, config.num_key_value_heads)
        read = partial(_read, tensor) if heads is None else partial(_read_rotated, tensor, heads)
        found[name] = StoredTensor(tensor.shape, FLOATS.get(tensor.kind, torch.float32), read)
    return found


def _read_rotated(tensor: GGUFTensor, num_heads: int) -> Tensor:
    return neighbours_to_halves(_read(tensor), num_heads)


def _read(tensor: GGUFTensor) -> Tensor:
    """The values: floats as they are mapped, blocks as fp32."""
    if tensor.kind in FLOATS:
        return torch.from_numpy(tensor.content).view(FLOATS[tensor.kind]).view(tensor.shape)
    rows, row_bytes = tensor.content.shape
    block, block_bytes = GGML_QUANT_SIZES[tensor.kind]
    columns = row_bytes // block_bytes * block
    values = torch.empty(rows, columns)
    step = max(CHUNK_VALUES // columns, 1)
    # Damaged scales overflow to infinity; what comes of that is seen and named where logits are made.
    with np.errstate(all="ignore"):
        for begin in range(0, rows, step):
            chunk = gguf.dequantize(tensor.content[begin : begin + step], tensor.kind)
            values[begin : begin + step] = torch.from_numpy(chunk)
    return values.view(tensor.shape)
