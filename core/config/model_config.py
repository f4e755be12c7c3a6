"""The shape of a model, in the names of Hugging Face's `config.json`.

`ModelConfig.from_hf` reads the config of Llama, Mistral, Qwen2 and Qwen3 folders; `to_hf` writes one
that transformers, vLLM and llama.cpp's tools load. The model_type `astrai` is ours: Llama with AstrAI's own
options, which no other program runs. `PRESETS` are the shapes this product trains.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.config.schema import Config, option
from core.errors import ConfigError, ModelError

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "astrai": "AstrAIForCausalLM",
}
MODEL_TYPES = tuple(ARCHITECTURES)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig(Config):
    """Shape of a decoder-only Transformer."""

    model_type: str = option("llama", "family that decides biases, q/k norm and the file layout", choices=MODEL_TYPES)
    vocab_size: int = option(8192, "rows of the embedding", minimum=2, maximum=2**24, unit="tokens")
    hidden_size: int = option(256, "width of the residual stream", minimum=1, maximum=2**17)
    intermediate_size: int = option(704, "width inside the SwiGLU feed-forward", minimum=1, maximum=2**19)
    num_hidden_layers: int = option(8, "decoder blocks", minimum=1, maximum=1024)
    num_attention_heads: int = option(8, "query heads", minimum=1, maximum=1024)
    num_key_value_heads: int = option(4, "key and value heads; fewer than query heads is GQA", minimum=1, maximum=1024)
    head_dim: int = option(32, "width of one head", minimum=2, maximum=1024)
    max_position_embeddings: int = option(1024, "longest context", minimum=1, maximum=2**27, unit="tokens")
    rms_norm_eps: float = option(1e-5, "added to the mean square before the root", minimum=0)
    rope_theta: float = option(10000.0, "base of the rotary frequencies", minimum=2)
    rope_scaling: dict[str, Any] | None = option(None, "rope_type linear, llama3 or yarn with its parameters")
    sliding_window: int | None = option(None, "attend to this many last tokens only", minimum=1, unit="tokens")
    attention_bias: bool = option(False, "biases on q, k and v")
    attention_out_bias: bool = option(False, "bias on the attention's output projection")
    mlp_bias: bool = option(False, "biases in the feed-forward")
    qk_norm: bool = option(False, "RMSNorm on each query and key head before RoPE")
    qk_norm_after_rope: bool = option(False, "q/k norm comes after RoPE (AstrAI)")
    gated_attention: bool = option(False, "the attention's output is multiplied by a sigmoid gate (AstrAI)")
    tie_word_embeddings: bool = option(True, "the head shares the embedding's weights")
    initializer_range: float = option(0.02, "standard deviation of fresh weights", minimum=0)
    bos_token_id: int | None = option(None, "id that starts a text", minimum=0)
    eos_token_id: int | None = option(None, "id that ends a text", minimum=0)
    pad_token_id: int | None = option(None, "id that fills a batch", minimum=0)

    def conflicts(self) -> list[str]:
        problems = []
        if self.num_attention_heads % self.num_key_value_heads:
            problems.append(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of"
                f" num_key_value_heads {self.num_key_value_heads}"
            )
        if self.head_dim % 2:
            problems.append(f"head_dim {self.head_dim} is odd, RoPE rotates pairs")
        if self.qk_norm_after_rope and not self.qk_norm:
            problems.append("qk_norm_after_rope is true, and qk_norm is false")
        if self.model_type != "astrai" and (self.qk_norm_after_rope or self.gated_attention):
            problems.append(
                f"qk_norm_after_rope and gated_attention are of astrai, and model_type is {self.model_type}"
            )
        return problems + _rope_problems(self.rope_scaling or {})

    @property
    def num_parameters(self) -> int:
        """Number of distinct weights; a tied head counts once."""
        q, kv = self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        attention = self.hidden_size * (2 * q + 2 * kv)
        attention += (q + 2 * kv) * self.attention_bias + self.hidden_size * self.attention_out_bias
        attention += 2 * self.head_dim * self.qk_norm + self.hidden_size * q * self.gated_attention
        mlp = 3 * self.hidden_size * self.intermediate_size
        mlp += (2 * self.intermediate_size + self.hidden_size) * self.mlp_bias
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)
        return self.num_hidden_layers * (attention + mlp + 2 * self.hidden_size) + embeddings + self.hidden_size

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> "ModelConfig":
        """Read a Hugging Face `config.json`. Raises ModelError for a shape that we do not run."""
        family = values.get("model_type")
        if family not in MODEL_TYPES:
            brings_code = bool(values.get("auto_map"))
            raise ModelError(
                "model_type {found} is not supported and brings its own code (auto_map), which is never run."
                if brings_code
                else "model_type {found} is not supported.",
                "Use a model of one of: {names}.",
                found=repr(family),
                names=", ".join(MODEL_TYPES),
            )
        for key, only in (("hidden_act", "silu"), ("rope_interleaved", False)):
            if values.get(key) not in (None, only):
                raise ModelError(
                    "{name} {found} is not supported.", "Only {known} is.",
                    name=key, found=repr(values[key]), known=str(only).lower(),
                )  # fmt: skip
        names = {field.name for field in dataclasses.fields(cls)}
        known = {"rms_norm_eps": _HF_RMS_NORM_EPS}
        known |= {key: value for key, value in values.items() if key in names}
        bad = [key for key in _HF_REQUIRED if type(values.get(key)) is not int or values[key] < 1]
        if bad:
            found = ", ".join(f"{key} is {values.get(key, 'missing')!r}" for key in bad)
            raise ModelError("config.json needs positive numbers: {found}.", _AGAIN, found=found)
        try:
            return cls.from_dict({**known, **_family_fields(family, values)})
        except ConfigError as exc:
            raise ModelError("config.json cannot be right: {reason}.", _AGAIN, reason=exc.sentence) from exc

    def to_hf(self) -> dict[str, Any]:
        """The `config.json` of this shape."""
        ours = {"qk_norm", "attention_out_bias", "attention_bias", "mlp_bias"} | set(_ASTRAI_OPTIONS)
        values = {key: value for key, value in self.to_dict().items() if key not in ours and value is not None}
        values |= {"architectures": [ARCHITECTURES[self.model_type]], "hidden_act": "silu"}
        if self.model_type == "llama":
            values |= {"attention_bias": self.attention_bias, "mlp_bias": self.mlp_bias}
        if self.model_type == "qwen3":
            values["attention_bias"] = self.attention_bias
        if self.model_type == "astrai":
            values |= {name: getattr(self, name) for name in _ASTRAI_OPTIONS}
        if self.model_type == "mistral":
            values["sliding_window"] = self.sliding_window  # null is said: silence means 4096 there
        if self.model_type.startswith("qwen"):
            values["use_sliding_window"] = self.sliding_window is not None
            values["max_window_layers"] = 0 if self.sliding_window else self.num_hidden_layers
        return values


_ASTRAI_OPTIONS = ("qk_norm", "qk_norm_after_rope", "gated_attention")
_HF_REQUIRED = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)
# What transformers takes where config.json is silent.
_HF_RMS_NORM_EPS = 1e-6
_HF_QWEN3_HEAD_DIM = 128
_HF_MAX_WINDOW_LAYERS = 28
_AGAIN = "Download the model folder again."
_HF_WINDOW = 4096
_ROPE_NUMBERS = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor",),
}
_ROPE_OPTIONAL_NUMBERS = ("original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor", "mscale")


def rope_type(rope_scaling: Mapping[str, Any]) -> str:
    """`rope_type` in today's files, `type` in older ones."""
    return str(rope_scaling.get("rope_type", rope_scaling.get("type", "default")))


def _rope_problems(scaling: Mapping[str, Any]) -> list[str]:
    """What a `rope_scaling` lacks."""
    kind = rope_type(scaling)
    if kind not in _ROPE_NUMBERS:
        return [f"rope_scaling {kind!r} is not one of {', '.join(_ROPE_NUMBERS)}"]
    numbers = {name: scaling.get(name) for name in _ROPE_NUMBERS[kind]}
    numbers |= {name: scaling[name] for name in _ROPE_OPTIONAL_NUMBERS if scaling.get(name) is not None}
    return [
        f"rope_scaling {kind} needs a positive {name}, not {value!r}"
        for name, value in numbers.items()
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf
    ]


def _family_fields(family: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a family fixes or spells in its own way."""
    heads = values["num_attention_heads"]
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise ModelError("rope_scaling is {found}, not an object.", _AGAIN, found=repr(rope))
    theta = rope.get("rope_theta") or values.get("rope_theta") or 10000.0
    rope = {key: value for key, value in rope.items() if key != "rope_theta"}
    eos, pad = values.get("eos_token_id"), values.get("pad_token_id")
    bias = {"qwen2": True, "mistral": False, "astrai": False}.get(family, bool(values.get("attention_bias", False)))
    head_dim = _HF_QWEN3_HEAD_DIM if family == "qwen3" else values["hidden_size"] // heads
    return {
        "num_key_value_heads": values.get("num_key_value_heads") or heads,
        "head_dim": values.get("head_dim") or head_dim,
        "rope_theta": theta,
        "rope_scaling": rope if rope and rope_type(rope) != "default" else None,
        "sliding_window": _sliding_window(family, values),
        "attention_bias": bias,
        "attention_out_bias": bias and family in ("llama", "qwen3"),
        "mlp_bias": bool(values.get("mlp_bias", False)) if family == "llama" else False,
        "qk_norm": family == "qwen3",
        "qk_norm_after_rope": False,
        "gated_attention": False,
        **{name: values[name] for name in _ASTRAI_OPTIONS if family == "astrai" and name in values},
        "tie_word_embeddings": bool(values.get("tie_word_embeddings", False)),
        "eos_token_id": eos[0] if isinstance(eos, list) and eos else eos,
        "pad_token_id": None if pad == -1 else pad,  # how the first Llama files say "none"
    }


def _sliding_window(family: str, values: Mapping[str, Any]) -> Any:
    """The window of every layer, None for full attention. Raises ModelError where layers differ."""
    layers = values["num_hidden_layers"]
    types = values.get("layer_types")
    if not isinstance(types, list):
        num_full = values.get("max_window_layers", _HF_MAX_WINDOW_LAYERS) if family.startswith("qwen") else 0
        slides = family == "mistral" or (family.startswith("qwen") and values.get("use_sliding_window") is True)
        types = [
            "full_attention" if not slides or i < num_full else "sliding_attention" for i in range(min(layers, 1024))
        ]
    if len(set(map(str, types))) > 1:
        raise ModelError(
            "{count} of {layers} layers have full attention, the others a sliding window.",
            "Use a model whose layers are alike, or set use_sliding_window to false in its config.json.",
            count=types.count("full_attention"),
            layers=layers,
        )
    return values.get("sliding_window", _HF_WINDOW) if "sliding_attention" in types else None


def _preset(hidden: int, ffn: int, layers: int, heads: tuple[int, int, int], **other: Any) -> ModelConfig:
    query, key_value, head_dim = heads
    return ModelConfig(
        hidden_size=hidden,
        intermediate_size=ffn,
        num_hidden_layers=layers,
        num_attention_heads=query,
        num_key_value_heads=key_value,
        head_dim=head_dim,
        **other,
    )


PRESETS: dict[str, ModelConfig] = {
    "tiny": _preset(64, 176, 2, (4, 2, 16), max_position_embeddings=256),
    "starter": _preset(256, 704, 6, (4, 2, 64)),
    "25m": _preset(384, 1024, 12, (6, 2, 64), vocab_size=16384),
    "100m": _preset(768, 2048, 12, (12, 4, 64), vocab_size=32768, max_position_embeddings=2048),
    "350m": _preset(1024, 2816, 24, (16, 4, 64), vocab_size=65536, max_position_embeddings=2048),
    "1b": _preset(1536, 6912, 24, (24, 4, 64), vocab_size=100_000, max_position_embeddings=2048),
}
