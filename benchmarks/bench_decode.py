"""Tokens per second of decoding and of reading a prompt, unquantised and int8 alternated in one run.

The ceiling of decoding is memory: every token reads all weights but the embedding's other rows once. The
table gives the bandwidth that the measured speed needs beside the one that this machine reads with.
"""

import statistics
import time
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from app.commands.model_option import add_model_option

if TYPE_CHECKING:
    from core.inference.generator import LanguageModel

FORMS = ("none", "int8")


def add_arguments(parser: ArgumentParser) -> None:
    add_model_option(parser)
    parser.add_argument("--tokens", type=int, default=128, help="tokens to decode in one repeat (default 128)")
    parser.add_argument("--prompt-tokens", type=int, default=512, help="tokens of the prompt (default 512)")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of each form (default 5)")


def run(arguments: Namespace) -> dict[str, Any]:
    import core
    from app.machine import measure

    loaded = [core.load(arguments.model, quantization=form) for form in FORMS]
    models = {model.quantization: model for model in loaded}  # a folder of int8 weights has no other form
    decode: dict[str, list[float]] = {form: [] for form in models}
    prefill: dict[str, list[float]] = {form: [] for form in models}
    for repeat in range(arguments.repeats + 1):  # the first warms up and is left out
        for form, model in models.items():
            decode_rate = decode_tokens_per_s(model, arguments.tokens, seed=repeat)
            prefill_rate = prefill_tokens_per_s(model, arguments.prompt_tokens, seed=repeat)
            if repeat:
                decode[form].append(decode_rate)
                prefill[form].append(prefill_rate)
    figures: dict[str, Any] = {"model": loaded[0].name, "num_parameters": loaded[0].num_parameters}
    for form, model in models.items():
        rate = statistics.median(decode[form])
        figures |= {
            f"{form}_decode_tokens_per_s": round(rate, 1),
            f"{form}_decode_spread_tokens_per_s": round(max(decode[form]) - min(decode[form]), 1),
            f"{form}_prompt_tokens_per_s": round(statistics.median(prefill[form]), 1),
            f"{form}_read_gb_per_s": round(rate * weight_bytes(model) / 1e9, 2),
        }
    return figures | {"limit_read_gb_per_s": measure()["read_gb_per_s"], "repeats": arguments.repeats}


def decode_tokens_per_s(model: "LanguageModel", num_tokens: int, *, seed: int) -> float:
    """Speed after the first token. Many short streams, since a small model may end its text early."""
    tokens, seconds = 0, 0.0
    while tokens < num_tokens:
        stream = model.stream("The", max_new_tokens=num_tokens, temperature=1.0, seed=seed)
        stream.read()
        stats = stream.stats
        if stats.tokens_per_s:
            tokens += stats.completion_tokens - 1
            seconds += (stats.completion_tokens - 1) / stats.tokens_per_s
        seed += 1000
    return tokens / seconds


def prefill_tokens_per_s(model: "LanguageModel", num_tokens: int, *, seed: int) -> float:
    """Prompt tokens over the time to the first token; each prompt begins differently, so nothing is reused."""
    text = f"{seed} " + "The river runs through the old town and under the bridge. " * num_tokens
    prompt_ids = model.tokenizer.encode(text)[: min(num_tokens, model.max_seq_len - 1)]
    prompt = model.tokenizer.decode(prompt_ids)
    started = time.perf_counter()
    stream = model.stream(prompt, max_new_tokens=1, temperature=0)
    stream.read()
    return stream.stats.prompt_tokens / (time.perf_counter() - started)


def weight_bytes(model: "LanguageModel") -> int:
    """Bytes of weights that one token reads."""
    tensors = {tensor.data_ptr(): tensor for tensor in model.model.state_dict().values()}
    return sum(tensor.nbytes for tensor in tensors.values())
