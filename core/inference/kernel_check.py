"""A tiny model on the CPU's kernels beside the same on torch: are the kernels right on this processor?"""

import dataclasses

import torch

from core.config.model_config import PRESETS
from core.inference.kernel_runner import KernelRunner
from core.inference.runner import Segment
from core.model.quantize import Scheme, quantize_
from core.model.transformer import Transformer

CONFIG = dataclasses.replace(
    PRESETS["tiny"], vocab_size=48, num_hidden_layers=1, attention_bias=True, initializer_range=0.2
)
PROMPT_TOKENS, TOKENS = 37, 41


@torch.inference_mode()
def largest_error() -> float:
    """The distance of the logits, as a share of their norm, over int8 and int4, prompts and single tokens."""
    ids = [(7 * place) % CONFIG.vocab_size for place in range(TOKENS)]
    errors = [
        _error(Scheme(bits=bits, group_size=32, head_bits=bits), ids, kv_bits) for bits, kv_bits in ((8, 16), (4, 8))
    ]
    return max(errors)


def _error(scheme: Scheme, ids: list[int], kv_bits: int) -> float:
    model = Transformer(CONFIG).eval()
    model.init_weights(seed=0)
    quantize_(model, scheme)
    expected = model(torch.tensor([ids]))[0]  # (T, V)
    runner = KernelRunner(model, num_blocks=2, num_threads=1, kv_bits=kv_bits)
    parts = [Segment(ids[:PROMPT_TOKENS], 0, [1, 0], PROMPT_TOKENS)]
    parts += [Segment([ids[place]], place, [1, 0], 1) for place in range(PROMPT_TOKENS, TOKENS)]
    logits = torch.cat([runner.forward([part]) for part in parts])
    return float((logits - expected).norm() / expected.norm())
