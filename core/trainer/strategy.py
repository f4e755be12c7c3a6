"""What a stage learns: a strategy reads rows and gives the sum of their losses.

The Trainer divides the gradient once by the weight of a whole update, over all micro batches and ranks, so the result
does not depend on how the rows were split.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from core.config.train_config import TrainConfig
from core.data.dataset import Batch, PackedDataset, Rows
from core.data.formats import KINDS_OF_STAGE
from core.data.mmap_file import MmapFileHandler
from core.data.tokenizer import Tokenizer
from core.trainer.losses import cross_entropy_sum
from core.trainer.tally import Mean, Tally

if TYPE_CHECKING:
    from core.trainer.train_context import TrainContext


class TrainBatch(Protocol):
    """What is common to the batches of all stages."""

    @property
    def num_tokens(self) -> int:
        """Tokens that the model reads, without padding."""

    def to(self, device: torch.device) -> Self: ...

    def pin_memory(self) -> Self:
        """In memory that a GPU reads by itself."""


B = TypeVar("B", bound=TrainBatch)


@dataclass(frozen=True, slots=True)
class Loss:
    """One micro batch's: `total` is the sum of `weight` terms, with its graph; metrics are detached."""

    total: Tensor
    weight: Tensor | float
    metrics: Mapping[str, Mean] = field(default_factory=dict)


class Strategy(Protocol[B]):
    """One stage of training."""

    dataset_kinds: tuple[str, ...]
    """Kinds of data sets that it reads, as MmapFileHandler names them."""

    def __init__(self, config: TrainConfig) -> None: ...

    def rows(self, handler: MmapFileHandler, split: str, *, tokenizer: Tokenizer, seed: int | None) -> Rows[B]:
        """A split as rows; without a seed in the order on disk."""

    def prepare(self, context: "TrainContext") -> None:
        """What is needed before the first step, of a resumed run too: reference log-probabilities, a reward model."""

    def updates(self, context: "TrainContext", batches: Sequence[B]) -> Iterator[Sequence[Any]]:
        """The micro batches of each update that a step makes of its rows: one update, or several in RL."""

    def loss(self, context: "TrainContext", batch: Any) -> Loss:
        """Sum of the losses of a micro batch; what is minimised is this over the weight of the update."""

    def validate(self, context: "TrainContext", batches: Iterable[B]) -> dict[str, float]:
        """Means over held-out rows by name, `loss` among them; empty without anything to learn from."""

    def score(self, validation: Mapping[str, float]) -> float:
        """What the best checkpoint is chosen by, from `validation_NAME` values; lower is better."""


class SupervisedStrategy(ABC, Generic[B]):
    """The part that stages share whose rows are learnt from as they are."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config

    def prepare(self, context: "TrainContext") -> None:
        """Nothing is needed."""

    def updates(self, context: "TrainContext", batches: Sequence[B]) -> Iterator[Sequence[B]]:
        yield batches

    @abstractmethod
    def loss(self, context: "TrainContext", batch: B) -> Loss:
        """See `Strategy`."""

    def validate(self, context: "TrainContext", batches: Iterable[B]) -> dict[str, float]:
        tally = Tally()
        for batch in batches:
            with context.autocast():
                loss = self.loss(context, batch)
            tally.add({"loss": Mean(loss.total, loss.weight), **loss.metrics})
        return tally.means(context.ranks)

    def score(self, validation: Mapping[str, float]) -> float:
        return validation["validation_loss"]


class PTStrategy(SupervisedStrategy[Batch]):
    """Causal language modelling: every token of a document is predicted from those before it."""

    dataset_kinds = KINDS_OF_STAGE["pt"]

    def rows(self, handler: MmapFileHandler, split: str, *, tokenizer: Tokenizer, seed: int | None) -> Rows[Batch]:
        return PackedDataset(
            handler, split, max_seq_len=self.config.max_seq_len, start_id=tokenizer.start_id, seed=seed
        )

    def loss(self, context: "TrainContext", batch: Batch) -> Loss:
        model = context.policy
        hidden = model.hidden(
            batch.input_ids, position_ids=batch.position_ids, document_ids=batch.document_ids
        )  # (B, T, C)
        total = cross_entropy_sum(
            hidden.flatten(0, 1), model.lm_head.weight, batch.labels.flatten(), compiles=model.compiles_blocks
        )
        return Loss(total, batch.num_loss_tokens)


class SFTStrategy(PTStrategy):
    """The same loss, on the assistant's tokens alone: the batch's labels say which."""

    dataset_kinds = KINDS_OF_STAGE["sft"]
