"""Whether a model fits this machine, and how fast it will answer, before it is loaded. Pure functions of its shape.

Decoding one token reads every matrix once, so on a processor it is bound by memory:

    seconds per token = bytes read / (read bandwidth × DECODE_EFFICIENCY) + TOKEN_S

with bytes read = matrices of the blocks and of the head as they lie in memory, and the keys and values of CONTEXT
tokens. A prompt is bound by products: 2 operations per weight of the blocks and token, at a multiple of the machine's
fp32 speed that the form of the weights decides. Both speeds are this machine's own (`app.machine_speed`).

The constants come from the measurements in docs/lab_notebook.md, 2026-11-26: a 1.1 B Llama shape decodes 53.2 tokens/s
in int4 and 29.2 in int8 where memory is read at 35.4 GB/s, the starter 1,480; prompts of 512 tokens run at 157.4 and
95.3 tokens/s where fp32 products reach 159 GFLOP/s. A 1.05 B model in int4 takes 1,345 MB with all libraries, 1,946 MB
at most while it loads. tests/app/test_model_fit.py holds the formula against each of them.
"""

from dataclasses import dataclass
from enum import StrEnum

from core.config.model_config import ModelConfig
from core.config.param_config import DEFAULT_MAX_SEQ_LEN, auto_quantization

CONTEXT = 128  # tokens that an answer in the middle of its way has behind it
DECODE_EFFICIENCY = 0.88  # of the bandwidth that a plain sum reaches
TOKEN_S = 0.00045  # sampling, scheduling and the walk through the layers
LAYER_S_UNQUANTISED = 0.0008  # torch's overhead for a layer, where no kernel of ours runs
PROMPT_FACTOR = {"int4": 2.0, "int8": 1.22, "none": 0.6}  # of fp32 products
BLOCK_BITS = {"int4": 4.25, "int8": 8.0, "none": 32.0}  # int4: a scale of 16 bits for 64 weights
HEAD_BITS = {"int4": 8.0, "int8": 8.0, "none": 32.0}
KEY_BYTES = {"int4": 2, "int8": 2, "none": 4}  # of one number in the cache
LIBRARIES_BYTES = 640_000_000  # Python, torch, the page
TIGHT_SHARE = 0.9


class Verdict(StrEnum):
    FITS = "fits"
    TIGHT = "tight"  # other programs may have to give way
    TOO_LARGE = "too_large"


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """Memory of a model in bytes: while it answers with a full context, and the most while it loads."""

    weight_bytes: int
    cache_bytes: int
    loading_bytes: int

    @property
    def running_bytes(self) -> int:
        return self.weight_bytes + self.cache_bytes

    @property
    def most_bytes(self) -> int:
        return max(self.running_bytes, self.weight_bytes + self.loading_bytes)


def quantization_on_load(config: ModelConfig, stored: str | None) -> str:
    """The form in memory: how it is stored where that is ours, else what `auto` makes of it."""
    return stored if stored in ("int4", "int8") else auto_quantization(config.num_parameters)


def need(config: ModelConfig, quantization: str) -> Need:
    """What a model takes in memory. `quantization` is int4, int8 or none."""
    embedding = config.vocab_size * config.hidden_size
    blocks = _block_weights(config) * BLOCK_BITS[quantization] / 8
    tables = embedding * (1 if config.tie_word_embeddings else 2) * HEAD_BITS[quantization] / 8
    context = min(config.max_position_embeddings, DEFAULT_MAX_SEQ_LEN)
    largest = max(embedding, config.hidden_size * config.intermediate_size)
    return Need(
        weight_bytes=int(blocks + tables),
        cache_bytes=_cache_bytes(config, quantization, context),
        # What is quantised passes through memory as one matrix in fp32.
        loading_bytes=0 if quantization == "none" else 4 * largest,
    )


def bytes_per_token(config: ModelConfig, quantization: str) -> int:
    """What decoding one token reads."""
    head = config.vocab_size * config.hidden_size * HEAD_BITS[quantization] / 8
    blocks = _block_weights(config) * BLOCK_BITS[quantization] / 8
    return int(blocks + head) + _cache_bytes(config, quantization, CONTEXT)


def tokens_per_s(config: ModelConfig, quantization: str, *, read_gb_per_s: float) -> float:
    """How fast an answer comes."""
    fixed_s = TOKEN_S if quantization != "none" else LAYER_S_UNQUANTISED * config.num_hidden_layers
    reading_s = bytes_per_token(config, quantization) / (read_gb_per_s * 1e9 * DECODE_EFFICIENCY)
    return 1 / (reading_s + fixed_s)


def prompt_tokens_per_s(config: ModelConfig, quantization: str, *, fp32_gflop_per_s: float) -> float:
    """How fast a prompt is read."""
    return fp32_gflop_per_s * 1e9 * PROMPT_FACTOR[quantization] / (2 * _block_weights(config))


def verdict(needed: Need, free_bytes: int, *, is_running: bool) -> Verdict:
    """Whether that much memory is free. Where no model was loaded yet the libraries still have to be."""
    most = needed.most_bytes + (0 if is_running else LIBRARIES_BYTES)
    if most > free_bytes:
        return Verdict.TOO_LARGE
    return Verdict.FITS if most <= TIGHT_SHARE * free_bytes else Verdict.TIGHT


def _block_weights(config: ModelConfig) -> int:
    embeddings = config.vocab_size * config.hidden_size * (1 if config.tie_word_embeddings else 2)
    return config.num_parameters - embeddings


def _cache_bytes(config: ModelConfig, quantization: str, num_tokens: int) -> int:
    width = config.num_key_value_heads * config.head_dim
    return 2 * config.num_hidden_layers * width * num_tokens * KEY_BYTES[quantization]
