"""A short name for the exact model, for what is kept on disk and holds for no other."""

import hashlib
import json

from torch import Tensor

from core.model.lora import Adapter
from core.model.transformer import Transformer

EDGE_VALUES = 64


def fingerprint(model: Transformer, adapter: Adapter | None = None) -> str:
    """SHA-256 of the shape and of both ends of every tensor: it reads a few pages, not the weights."""
    digest = hashlib.sha256(json.dumps(model.config.to_dict(), sort_keys=True).encode())
    halves = {f"{name}.{half}": getattr(low, half) for name, low in (adapter or {}).items() for half in "ab"}
    for name, tensor in sorted({**model.state_dict(), **halves}.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().reshape(-1)
        for edge in (flat[:EDGE_VALUES], flat[-EDGE_VALUES:]):
            digest.update(_bytes(edge))
    return digest.hexdigest()


def _bytes(values: Tensor) -> bytes:
    return values.double().cpu().numpy().tobytes()
