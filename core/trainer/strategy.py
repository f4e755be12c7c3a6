"""What a stage learns: a strategy turns a batch into a loss sum, its weight and metrics.

The Trainer divides once by the weight of the whole optimiser step, so the result does not depend on
how the batch was split.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from core.data.dataset import Batch
from core.model.transformer import Transformer
from core.trainer.losses import cross_entropy_sum


@dataclass(frozen=True, slots=True)
class StrategyLoss:
    """`loss_sum` is over `weight` units (tokens); its quotient is what is minimised."""

    loss_sum: Tensor
    weight: int


class Strategy(Protocol):
    """One stage of training."""

    dataset_kind: str

    def loss(self, model: Transformer, batch: Batch) -> StrategyLoss: ...


class PTStrategy:
    """Causal language modelling: every token of a document is predicted from those before it."""

    dataset_kind = "pt"

    def loss(self, model: Transformer, batch: Batch) -> StrategyLoss:
        hidden = model.hidden(
            batch.input_ids, position_ids=batch.position_ids, document_ids=batch.document_ids
        )  # (B, T, C)
        loss_sum = cross_entropy_sum(hidden.flatten(0, 1), model.lm_head.weight, batch.labels.flatten())
        return StrategyLoss(loss_sum, batch.num_loss_tokens)


class SFTStrategy(PTStrategy):
    """The same loss, on the assistant's tokens alone: the batch's labels say which."""

    dataset_kind = "sft"


STRATEGIES: dict[str, type[Strategy]] = {"pt": PTStrategy, "sft": SFTStrategy}
