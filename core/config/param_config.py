"""How a model is opened, written, and how a reply is drawn from it: `LoadConfig`, `ExportConfig`, `SamplingConfig`."""

import re
from dataclasses import dataclass
from typing import Any

from core.config.schema import Config, option

# OpenAI takes 4 stop strings and biases of this size; the counts bound the work for each token.
MAX_STOPS, MAX_STOP_CHARS = 16, 256
MAX_BIASES, MAX_BIAS = 1024, 100
# Forms of a model for export, and the types that each can have, the usual one first.
# Parameters from which `auto` quantises on a CPU.
AUTO_INT8_PARAMETERS, AUTO_INT4_PARAMETERS = 200_000_000, 700_000_000
DEFAULT_MAX_SEQ_LEN = 4096  # tokens of context where the model has more
EXPORT_DTYPES: dict[str, tuple[str, ...]] = {
    "hf": ("float32", "bfloat16", "float16"),
    "gguf": ("f16", "f32", "q8_0", "q4_0"),
    "int8": (),
    "int4": (),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadConfig(Config):
    """How a model is opened."""

    device: str = option(
        "auto", "where to run; auto takes a GPU when there is one", choices=("auto", "cpu", "cuda", "mps")
    )
    quantization: str = option(
        "auto",
        "weights in memory: none is fp32 on a CPU and bf16 on a GPU; auto takes int8 or int4 for large models on a CPU;"
        " on a GPU int8 and int4 are bitsandbytes'",
        choices=("auto", "none", "int8", "int4"),
    )
    max_seq_len: int | None = option(
        None, "longest context; without it the model's own, at most 4096", minimum=1, unit="tokens"
    )
    max_running: int = option(8, "answers that are generated at the same time; others wait", minimum=1, maximum=256)
    kv_cache: str = option("fp16", "keys and values in the CPU's kernels; int8 halves them", choices=("fp16", "int8"))
    num_threads: int = option(
        0, "CPU threads; 0 is one per physical core that may be used, one for a tiny model", minimum=0, maximum=1024
    )
    speculation: bool = option(True, "draft tokens that the text has had before; faster, and the text is the same")


def auto_quantization(num_parameters: int) -> str:
    """What `auto` makes of float weights on a CPU: a small model is fast enough as it is, and loses most by it."""
    if num_parameters < AUTO_INT8_PARAMETERS:
        return "none"
    return "int4" if num_parameters >= AUTO_INT4_PARAMETERS else "int8"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig(Config):
    """Which copy of a model to write."""

    to: str = option(
        "hf",
        "hf is for transformers and vLLM, gguf for llama.cpp, int8 a quarter of the size, int4 about an eighth",
        choices=tuple(EXPORT_DTYPES),
    )
    dtype: str | None = option(
        None,
        "type of the weights: of hf float32 (without it), bfloat16, float16; of gguf f16 (without it), f32, q8_0, q4_0",
        choices=tuple(name for names in EXPORT_DTYPES.values() for name in names),
    )

    def conflicts(self) -> list[str]:
        of_form = EXPORT_DTYPES[self.to]
        if self.dtype is None or self.dtype in of_form:
            return []
        form = next(name for name, names in EXPORT_DTYPES.items() if self.dtype in names)
        remedy = f"take one of {', '.join(of_form)}" if of_form else "leave one of them out"
        return [f"dtype {self.dtype} is for {form} form, and to is {self.to}: {remedy}"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig(Config):
    """Parameters of one generation. Temperature 0 is greedy and ignores the filters; penalties and bias still count."""

    max_new_tokens: int = option(256, "most tokens to generate", minimum=1, unit="tokens")
    temperature: float = option(0.7, "0 takes the likeliest token; higher is more varied", minimum=0, maximum=5)
    top_k: int = option(0, "keep the k likeliest tokens; 0 keeps all", minimum=0)
    top_p: float = option(0.95, "keep the smallest set with this total probability", minimum=0, maximum=1)
    min_p: float = option(0.0, "drop tokens below this share of the likeliest one", minimum=0, maximum=1)
    repetition_penalty: float = option(
        1.0, "divide positive and multiply negative logits of tokens seen before", minimum=0.1, maximum=10
    )
    presence_penalty: float = option(
        0.0, "lower the logit of every token that is in the answer already", minimum=-2, maximum=2
    )
    frequency_penalty: float = option(
        0.0, "lower a token's logit for each time it is in the answer already", minimum=-2, maximum=2
    )
    logit_bias: dict[str, float] = option({}, "added to the logits of token ids: {id: -100 … 100}")
    seed: int | None = option(
        None, "same seed, same reply; without it every reply is another", minimum=0, maximum=2**63 - 1
    )
    stop: list[str] = option([], "stop before any of these strings")
    stop_ids: list[int] = option([], "stop before any of these token ids, beside the model's own")
    logprobs: int | None = option(
        None, "give log-probabilities: of the chosen token and of so many likeliest ones", minimum=0, maximum=20
    )
    json_schema: dict[str, Any] | None = option(
        None, 'the answer is JSON that this schema allows; {"type": "object"} allows any object'
    )

    def conflicts(self) -> list[str]:
        return [*self._stop_problems(), *self._bias_problems()]

    def _stop_problems(self) -> list[str]:
        bad = [text for text in self.stop if not isinstance(text, str) or not 0 < len(text) <= MAX_STOP_CHARS]
        problems = (
            [f"stop holds {bad[0]!r:.80}, it must hold strings of 1 … {MAX_STOP_CHARS} characters"] if bad else []
        )
        bad_ids = [token for token in self.stop_ids if not _is_id(token)]
        problems += [f"stop_ids holds {bad_ids[0]!r:.80}, it must hold token ids"] if bad_ids else []
        for name, entries in (("stop", self.stop), ("stop_ids", self.stop_ids)):
            if len(entries) > MAX_STOPS:
                problems.append(f"{name} has {len(entries)} entries, the maximum is {MAX_STOPS}")
        return problems

    def _bias_problems(self) -> list[str]:
        if len(self.logit_bias) > MAX_BIASES:
            return [f"logit_bias has {len(self.logit_bias)} entries, the maximum is {MAX_BIASES}"]
        bad_ids = [token for token in self.logit_bias if not _is_id_text(token)]
        if bad_ids:
            return [f"logit_bias names {bad_ids[0]!r:.80}, its keys must be token ids as strings of digits"]
        bad = [(token, bias) for token, bias in self.logit_bias.items() if not _is_bias(bias)]
        return [f"logit_bias of {bad[0][0]} is {bad[0][1]!r:.80}, it must be in -100 … 100"] if bad else []


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_id_text(value: object) -> bool:
    """Decimal digits, without the leading zero that would let two keys name one id."""
    return isinstance(value, str) and re.fullmatch(r"0|[1-9][0-9]{0,8}", value) is not None


def _is_bias(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_BIAS
