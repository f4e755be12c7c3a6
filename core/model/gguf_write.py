"""A model as one GGUF file for llama.cpp and what is built on it, with tokenizer, chat template and sampling.

Tensors are read, reordered, quantised and written one by one, some rows at a time. Norms and biases stay fp32;
with q4_0 the embedding and the head are q8_0, as they weigh most on quality. Source: the GGUF specification.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from torch import Tensor

from core.config.model_config import ModelConfig, rope_type
from core.config.param_config import SamplingConfig
from core.data.gguf_tokenizer import tokenizer_to_gguf
from core.data.tokenizer import Tokenizer
from core.errors import ModelError
from core.files import write_atomic
from core.model.gguf_names import ARCHITECTURES, ROPE_FACTORS, rotated_heads, to_gguf_name
from core.model.gguf_read import CHUNK_VALUES, SAMPLING
from core.model.quantize import QuantizedEmbedding, QuantizedLinear
from core.model.rope import llama3_factors
from core.model.rope_layout import halves_to_neighbours
from core.model.transformer import Transformer
from core.model.weights import StoredTensor

F32, F16, Q8_0, Q4_0 = (getattr(GGMLQuantizationType, name) for name in ("F32", "F16", "Q8_0", "Q4_0"))
KINDS = {"f32": F32, "f16": F16, "q8_0": Q8_0, "q4_0": Q4_0}
FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0", "q4_0": "MOSTLY_Q4_0"}
PLAIN_YARN = {"rope_type", "type", "factor", "original_max_position_embeddings"}
SCALE_SUFFIX = "_scale"
# fp32 values of some rows of a matrix, or of some entries of a vector.
Rows = Callable[[slice], Tensor]
_NO_GGUF = "Export to hf instead."


@dataclass(frozen=True, slots=True)
class GGUFSource:
    """What goes into the file."""

    name: str
    model: Transformer  # its form; the weights are in `stored`
    stored: Mapping[str, StoredTensor]
    tokenizer: Tokenizer
    sampling: SamplingConfig

    @property
    def config(self) -> ModelConfig:
        return self.model.config


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tensor to write: its form there, and what opens its rows as fp32."""

    name: str
    kind: GGMLQuantizationType
    shape: tuple[int, ...]
    open: Callable[[], Rows]


def write_gguf(source: GGUFSource, target: Path, *, dtype: str) -> None:
    """Write a GGUF file with weights of `dtype`, one of KINDS.

    Raises: ModelError for a model that GGUF cannot describe, OSError for a place that cannot be written.
    """
    architecture = ARCHITECTURES.get(source.config.model_type)
    if architecture is None:
        raise ModelError(
            "{name} is of the family {family}, which no other program runs.",
            "Export to int8, or use it as it is.",
            name=source.name,
            family=source.config.model_type,
        )
    metadata = {**_shape(source.config, architecture), **_tokenizer(source), **_sampling(source.sampling)}
    metadata |= {"general.name": source.name, "general.file_type": int(gguf.LlamaFileType[FILE_TYPES[dtype]])}
    metadata["general.quantization_version"] = gguf.GGML_QUANT_VERSION
    entries = list(_entries(source, architecture, dtype))

    def write(temporary: Path) -> None:
        writer = gguf.GGUFWriter(temporary, architecture)
        try:
            for key, value in metadata.items():
                _add(writer, key, value)
            _write(writer, entries)
        finally:
            writer.close()

    write_atomic(target, write)


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_array(key, value)


def _write(writer: gguf.GGUFWriter, entries: list[_Entry]) -> None:
    for entry in entries:
        shape, dtype = _form(entry)
        writer.add_tensor_info(entry.name, shape, dtype, _size(shape, dtype), entry.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for entry in entries:
        writer.write_tensor_data(_content(entry))


def _form(entry: _Entry) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array that is written: blocks as bytes."""
    if entry.kind in (F32, F16):
        return entry.shape, np.dtype(np.float32 if entry.kind == F32 else np.float16)
    return gguf.quant_shape_to_byte_shape(entry.shape, entry.kind), np.dtype(np.uint8)


def _size(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return int(np.prod(shape)) * dtype.itemsize


def _content(entry: _Entry) -> np.ndarray[Any, Any]:
    """The array to write. Raises ModelError for values that the type cannot hold."""
    shape, dtype = _form(entry)
    rows = entry.open()
    content = np.empty(shape, dtype)
    limit = torch.finfo(torch.float32 if entry.kind == F32 else torch.float16).max
    step = max(CHUNK_VALUES // entry.shape[-1], 1)
    for begin in range(0, shape[0], step):
        part = rows(slice(begin, min(begin + step, shape[0])))
        if not bool((part.abs() <= limit).all()):
            raise ModelError(
                "{name} holds values beyond {most:.0f}, or some that are no numbers.", "Export it with f32.",
                name=entry.name, most=limit,
            )  # fmt: skip
        content[begin : begin + step] = gguf.quantize(part.numpy(), entry.kind)
    return content


def _entries(source: GGUFSource, architecture: str, dtype: str) -> Iterator[_Entry]:
    config = source.config
    if config.rope_scaling is not None and rope_type(config.rope_scaling) == "llama3":
        factors = llama3_factors(config, config.rope_scaling).float()
        yield _Entry(ROPE_FACTORS, F32, tuple(factors.shape), lambda: factors.__getitem__)
    for name, tensor in source.stored.items():
        if name.endswith(SCALE_SUFFIX):
            continue
        heads = rotated_heads(architecture, name, config.num_attention_heads, config.num_key_value_heads)
        module = source.model.get_submodule(name.rpartition(".")[0])
        if isinstance(module, QuantizedLinear | QuantizedEmbedding) and name.endswith(".weight"):
            shape: tuple[int, ...] = (module.outputs, module.inputs)
            opens = partial(_quantised_rows, module, tensor, source.stored[name + SCALE_SUFFIX], heads)
        else:
            shape, opens = tensor.shape, partial(_plain_rows, tensor, heads)
        yield _Entry(to_gguf_name(name), _kind(name, shape, KINDS[dtype]), shape, opens)


def _plain_rows(tensor: StoredTensor, num_heads: int | None) -> Rows:
    values = _ordered(tensor, num_heads)
    return lambda part: values[part].float()


def _quantised_rows(
    module: QuantizedLinear | QuantizedEmbedding, weight: StoredTensor, scale: StoredTensor, num_heads: int | None
) -> Rows:
    with torch.device("meta"):
        filled = QuantizedEmbedding(module.outputs, module.inputs, bits=module.bits, group_size=module.group_size)
    filled.weight, filled.weight_scale = _ordered(weight, num_heads), _ordered(scale, num_heads)
    return lambda part: filled.floats(torch.arange(part.start, part.stop))


def _ordered(tensor: StoredTensor, num_heads: int | None) -> Tensor:
    rows = tensor.read()
    return rows if num_heads is None else halves_to_neighbours(rows, num_heads)


def _kind(name: str, shape: tuple[int, ...], wanted: GGMLQuantizationType) -> GGMLQuantizationType:
    if len(shape) == 1:
        return F32
    if wanted == Q4_0 and name.startswith(("model.embed_tokens.", "lm_head.")):
        wanted = Q8_0
    return F16 if shape[-1] % GGML_QUANT_SIZES[wanted][0] else wanted


def _shape(config: ModelConfig, architecture: str) -> dict[str, Any]:
    """The metadata of the shape. Where a window is shorter than the context, the window is the context."""
    values = {
        "vocab_size": config.vocab_size,
        "context_length": min(config.max_position_embeddings, config.sliding_window or config.max_position_embeddings),
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.dimension_count": config.head_dim,
        "rope.freq_base": float(config.rope_theta),
        **_rope_scaling(config),
    }
    return {f"{architecture}.{key}": value for key, value in values.items()}


def _rope_scaling(config: ModelConfig) -> dict[str, Any]:
    """The metadata of `rope_scaling`. Raises ModelError for a YaRN that GGUF has no keys for."""
    scaling = config.rope_scaling or {}
    kind = rope_type(scaling)
    if kind == "default":
        return {}
    context = int(scaling.get("original_max_position_embeddings") or config.max_position_embeddings)
    if kind == "llama3":
        return {"rope.scaling.original_context_length": context}
    others = sorted(set(scaling) - PLAIN_YARN)
    if others:
        raise ModelError(
            "rope_scaling {found} with {names} has no form in GGUF.", _NO_GGUF, found=kind, names=", ".join(others)
        )
    values = {"rope.scaling.type": kind, "rope.scaling.factor": float(scaling["factor"])}
    return values | ({"rope.scaling.original_context_length": context} if kind == "yarn" else {})


def _tokenizer(source: GGUFSource) -> dict[str, Any]:
    tokenizer = source.tokenizer
    ids = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "padding": tokenizer.pad_id}
    named = {f"tokenizer.ggml.{name}_token_id": number for name, number in ids.items() if number is not None}
    return {
        **tokenizer_to_gguf(tokenizer.as_json(), source.config.vocab_size),
        **named,
        "tokenizer.ggml.add_bos_token": bool(tokenizer.start_ids),
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.chat_template": tokenizer.chat_template,
    }


def _sampling(sampling: SamplingConfig) -> dict[str, Any]:
    """What the model asks for beyond our own defaults."""
    ours = SamplingConfig()
    asked = {name: getattr(sampling, field) for name, field in SAMPLING.items()}
    return {
        f"general.sampling.{name}": value if name == "top_k" else float(value)
        for name, value in asked.items()
        if value != getattr(ours, SAMPLING[name])
    }
