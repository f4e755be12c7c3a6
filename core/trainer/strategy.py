"""What a stage learns: a strategy gives the weight of a batch and the sum of its losses.

The Trainer divides once by the weight of the whole optimiser step, so the result does not depend on
how the batch was split. It asks for the weights first: each backward pass needs their total.
"""

from typing import Protocol

from torch import Tensor

from core.data.dataset import Batch
from core.model.transformer import Transformer
from core.trainer.losses import cross_entropy_sum


class Strategy(Protocol):
    """One stage of training."""

    dataset_kind: str

    def weight(self, batch: Batch) -> int:
        """How many terms `loss` sums: the tokens that are learnt from."""

    def loss(self, model: Transformer, batch: Batch) -> Tensor:
        """Sum of the losses of a batch, in nats; what is minimised is this over the weight."""


class PTStrategy:
    """Causal language modelling: every token of a document is predicted from those before it."""

    dataset_kind = "pt"

    def weight(self, batch: Batch) -> int:
        return batch.num_loss_tokens

    def loss(self, model: Transformer, batch: Batch) -> Tensor:
        hidden = model.hidden(
            batch.input_ids, position_ids=batch.position_ids, document_ids=batch.document_ids
        )  # (B, T, C)
        return cross_entropy_sum(hidden.flatten(0, 1), model.lm_head.weight, batch.labels.flatten())


class SFTStrategy(PTStrategy):
    """The same loss, on the assistant's tokens alone: the batch's labels say which."""

    dataset_kind = "sft"


STRATEGIES: dict[str, type[Strategy]] = {"pt": PTStrategy, "sft": SFTStrategy}
