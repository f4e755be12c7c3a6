"""Prefixes that outlive the process: the blocks of a text, a system prompt for instance, in a safetensors file.

A file holds whole blocks only: what lies behind a text in its last block may be of another conversation. It is
good for one model and one layout of blocks; any other file is passed over, since all it saves is time.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.files import write_atomic
from core.inference.runner import BLOCK_TOKENS, Runner, num_blocks_for
from core.inference.scheduler import Scheduler

logger = logging.getLogger(__name__)

FORMAT = "astrai prefix 1"


def layout_of(runner: Runner, fingerprint: str) -> str:
    """What a file must have been written for: the model, what computes it, and the form of its blocks."""
    return json.dumps([FORMAT, fingerprint, runner.name, BLOCK_TOKENS, runner.block_bytes])


def read_blocks(scheduler: Scheduler, ids: Sequence[int]) -> Tensor | None:
    """The blocks (n, block_bytes) of ids that fill n of them; None if they are not in the cache. Pins them."""
    blocks = scheduler.prefixes.match(ids, None).blocks
    if len(blocks) * BLOCK_TOKENS < len(ids):
        return None
    _pin(scheduler, ids)
    return torch.stack([scheduler.runner.read_block(block) for block in blocks])


def write_blocks(scheduler: Scheduler, ids: Sequence[int], content: Tensor) -> bool:
    """Put blocks back and pin them; whether there was room beside a text of full length."""
    if not scheduler.prefixes.make_room(len(content)):
        return False
    blocks = scheduler.pool.take(len(content))
    try:
        for block, part in zip(blocks, content, strict=True):
            scheduler.runner.write_block(block, part)
        scheduler.prefixes.insert(ids, blocks, None)
    finally:
        scheduler.pool.release(blocks)
    return _pin(scheduler, ids)


def save(path: Path, ids: Sequence[int], content: Tensor, layout: str) -> None:
    """Write blocks to a file that only its owner may read. Raises: OSError."""
    metadata = {"layout": layout, "sha256": _digest(ids, content)}
    tensors = {"ids": torch.tensor(ids, dtype=torch.int32), "blocks": content}
    write_atomic(path, lambda temporary: save_file(tensors, temporary, metadata=metadata), is_private=True)


def load(path: Path, layout: str) -> tuple[list[int], Tensor] | None:
    """Ids and blocks of a file. None, and one line in the log, if it is damaged or of another model."""
    try:
        return _read(path, layout)
    except (OSError, SafetensorError, _UnusableError) as exc:
        logger.warning("the prefix %s is not used: %s", path, exc)
        return None


class _UnusableError(Exception):
    """A file that is whole, but not for here."""


def _read(path: Path, layout: str) -> tuple[list[int], Tensor]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("layout") != layout:
            raise _UnusableError("it was written for another model or machine")
        ids, content = file.get_tensor("ids"), file.get_tensor("blocks")
    *_, block_bytes = json.loads(layout)
    has_types = ids.dtype == torch.int32 and content.dtype == torch.uint8
    is_whole = content.shape[1:] == (block_bytes,) and ids.shape == (len(content) * BLOCK_TOKENS,) and len(ids) > 0
    if not (has_types and is_whole) or metadata.get("sha256") != _digest(ids.tolist(), content):
        raise _UnusableError("its content has changed")
    return ids.tolist(), content


def _pin(scheduler: Scheduler, ids: Sequence[int]) -> bool:
    """Keep the text for good if that leaves room for one of full length."""
    room = scheduler.pool.num_blocks - num_blocks_for(scheduler.config.max_seq_len)
    if scheduler.prefixes.num_pinned + len(ids) // BLOCK_TOKENS > room:
        logger.warning("a prefix of %d tokens is not pinned: %d blocks are left beside a full text", len(ids), room)
        return False
    scheduler.prefixes.pin(ids, None)
    return True


def _digest(ids: Sequence[int], content: Tensor) -> str:
    digest = hashlib.sha256(json.dumps(list(ids)).encode())
    digest.update(content.contiguous().numpy().tobytes())
    return digest.hexdigest()
