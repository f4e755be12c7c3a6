"""The frozen model that a policy began as, and its log-probabilities of the answers of a data set, kept on disk.

    DATA/reference/train-0123456789abcdef.safetensors    answers (pairs, 2) and for KTO mismatched (pairs,), fp32

The name is a hash of everything that the numbers hang on: the reference's weights, the data, how pairs are cut and
the arithmetic. Where the data's folder cannot be written the file is in the run's.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.data.mmap_file import MANIFEST
from core.data.pairs import PairBatch, PairDataset
from core.errors import TrainingError
from core.files import sha256_file, write_atomic
from core.model.checkpoint import find_model
from core.model.transformer import Transformer
from core.trainer.parameters import load_floats

if TYPE_CHECKING:
    from core.trainer.train_context import TrainContext

logger = logging.getLogger(__name__)

Logprobs = Callable[[Transformer, PairBatch], Tensor]
FOLDER = "reference"


def load_reference(context: "TrainContext") -> Transformer | None:
    """The base of a run, frozen, in the policy's arithmetic so that both begin equal.

    None where adapters are trained: the policy without them is the reference, and no second model is held.
    """
    if context.model.adapter_base is not None:
        return None
    assert context.config.base is not None, "the config asks for it"
    return load_floats(find_model(context.config.base), device=context.device).requires_grad_(False)


@dataclass(frozen=True, slots=True)
class ReferenceCache:
    """The reference's log-probabilities of one split."""

    context: "TrainContext"
    dataset: PairDataset

    def fill(self, logprobs: Logprobs) -> None:
        """Give the rows their numbers, from disk or computed now. Raises TrainingError when they cannot be kept."""
        tensors = self._read()
        if tensors is None:
            tensors = self._compute(logprobs)
            self._write(tensors)
        self.dataset.reference = tensors["answers"]
        self.dataset.reference_mismatched = tensors.get("mismatched")

    def places(self) -> list[Path]:
        """Where the file may be: beside the data, else in the run."""
        dataset, context = self.dataset, self.context
        values = {
            "weights": context.parent_hash,
            "data": sha256_file(dataset.handler.folder / MANIFEST),
            "max_seq_len": dataset.max_seq_len,
            "stop_ids": sorted(context.tokenizer.stop_ids),
            "with_mismatched": dataset.with_mismatched,
            "dtype": str(context.dtype),
            "base_quantization": context.config.base_quantization,
        }
        key = hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
        roots = (dataset.handler.folder, context.run.root)
        return [root / FOLDER / f"{dataset.split}-{key}.safetensors" for root in roots]

    def _read(self) -> dict[str, Tensor] | None:
        """What an earlier run kept, where every rank finds it."""
        tensors = None
        for path in self.places():
            try:
                tensors = tensors or (load_file(path) if path.exists() else None)
            except (OSError, SafetensorError) as exc:
                logger.warning("%s is not whole and made again: %s", path, exc)
        return None if self.context.ranks.any_true(tensors is None) else tensors

    def _compute(self, logprobs: Logprobs) -> dict[str, Tensor]:
        """One pass over the split in batches as in training; ranks share the rows."""
        context, dataset = self.context, self.dataset
        context.reference = context.reference or load_reference(context)
        answers = torch.zeros(dataset.num_pairs, 2, device=context.device)
        mismatched = torch.zeros(dataset.num_pairs, device=context.device)
        places = [(0, index) for index in range(dataset.num_rows(0))]
        size = context.config.micro_batch_size
        starts = range(context.ranks.rank * size, len(places), size * context.ranks.world_size)
        logger.info("the reference reads %d rows of the %s split once", len(places), dataset.split)
        with torch.no_grad(), context.as_reference() as reference, context.autocast():
            for start in starts:
                batch = dataset.batch(places[start : start + size]).to(context.device)
                answers[batch.pairs] = logprobs(reference, batch).view(-1, 2).to(answers.dtype)
                if batch.mismatched is not None:
                    mismatched[batch.pairs] = logprobs(reference, batch.mismatched).to(answers.dtype)
        tensors = {"answers": context.ranks.sum_(answers).cpu()}
        if dataset.with_mismatched:
            tensors["mismatched"] = context.ranks.sum_(mismatched).cpu()
        return tensors

    def _write(self, tensors: dict[str, Tensor]) -> None:
        if not self.context.ranks.is_first:
            return
        problems: list[Exception] = []
        for path in self.places():
            try:
                write_atomic(path, lambda temporary: save_file(tensors, temporary))
            except (OSError, SafetensorError) as exc:
                problems.append(exc)
            else:
                return
        raise TrainingError(
            "The reference's log-probabilities could not be written beside the data or in the run: {reason}.",
            "Free some space, or train without cache_reference.",
            reason=problems[-1],
        ) from problems[-1]
