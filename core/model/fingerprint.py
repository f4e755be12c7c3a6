"""A short name for the exact model, for what is kept on disk and holds for no other."""

import hashlib
import json
from collections.abc import Mapping

from torch import Tensor

from core.model.transformer import Transformer

EDGE_VALUES = 64


def fingerprint(model: Transformer) -> str:
    """SHA-256 of the shape and of both ends of every tensor: it reads a few pages, not the weights."""
    shape = json.dumps(model.config.to_dict(), sort_keys=True)
    return hashlib.sha256(f"{shape} {fingerprint_of(model.state_dict())}".encode()).hexdigest()


def fingerprint_of(tensors: Mapping[str, Tensor]) -> str:
    """The same of tensors alone."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().reshape(-1)
        for edge in (flat[:EDGE_VALUES], flat[-EDGE_VALUES:]):
            digest.update(_bytes(edge))
    return digest.hexdigest()


def _bytes(values: Tensor) -> bytes:
    return values.double().cpu().numpy().tobytes()
