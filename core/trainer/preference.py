"""Learning from pairs of answers: a reward model (`rm`), and DPO with its family (`dpo`).

Both weigh pairs alike: a loss is a sum over pairs, whatever row or micro batch they are in. Legend: P pairs, S answers,
N predicted tokens, C hidden.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from core.config.preference_options import WITHOUT_REFERENCE
from core.config.train_config import TrainConfig
from core.data.formats import KINDS_OF_STAGE
from core.data.mmap_file import MmapFileHandler
from core.data.pairs import PairBatch, PairDataset
from core.data.tokenizer import Tokenizer
from core.model.heads import RewardModel
from core.model.transformer import Backbone, Transformer
from core.trainer import preference_losses as losses
from core.trainer.logprobs import token_logprobs
from core.trainer.reference import ReferenceCache, load_reference
from core.trainer.strategy import Loss, SupervisedStrategy
from core.trainer.tally import Mean

if TYPE_CHECKING:
    from core.trainer.train_context import TrainContext


def answer_logprobs(model: Transformer, batch: PairBatch) -> Tensor:
    """Log-probability (S,) of each whole answer after its prompt, in nats."""
    values = token_logprobs(answer_hidden(model, batch)[batch.source], model.lm_head.weight, batch.target)
    return values.new_zeros(len(batch.lengths)).index_add(0, batch.sequence, values)


def answer_hidden(model: Backbone, batch: PairBatch) -> Tensor:
    """Hidden states (B·T, C) of all rows."""
    return model.hidden(
        batch.input_ids,
        position_ids=batch.position_ids,
        document_ids=batch.document_ids,
        branch_ids=batch.branch_ids,
    ).flatten(0, 1)


class PairStrategy(SupervisedStrategy[PairBatch]):
    """What both stages share: rows of pairs."""

    dataset_kinds = KINDS_OF_STAGE["dpo"]
    with_mismatched = False

    def rows(self, handler: MmapFileHandler, split: str, *, tokenizer: Tokenizer, seed: int | None) -> PairDataset:
        return PairDataset(
            handler,
            split,
            max_seq_len=self.config.max_seq_len,
            stop_ids=tokenizer.stop_ids,
            seed=seed,
            with_mismatched=self.with_mismatched,
        )


class RMStrategy(PairStrategy):
    """A scalar score of each answer, read at its last token: Bradley-Terry between the two of a pair."""

    def loss(self, context: "TrainContext", batch: PairBatch) -> Loss:
        model, config = context.model, self.config
        assert isinstance(model, RewardModel)
        scores = model.scores(answer_hidden(model, batch)[batch.ends])  # (2P,)
        chosen, rejected = scores[0::2], scores[1::2]
        total = losses.bradley_terry(
            chosen, rejected, margin=config.reward_margin, centring=config.reward_centring
        ).sum()
        longer = batch.lengths[0::2] > batch.lengths[1::2]
        metrics = {**_compared(chosen, rejected, batch.differ), "chosen_is_longer": Mean(longer.sum(), batch.num_pairs)}
        return Loss(total, batch.num_pairs, metrics)


class DPOStrategy(PairStrategy):
    """The policy's own log-probabilities, against those of the model it began as, are the reward."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.with_mismatched = config.loss == "kto"
        self._datasets: list[PairDataset] = []
        self._kl = torch.zeros(())

    def rows(self, handler: MmapFileHandler, split: str, *, tokenizer: Tokenizer, seed: int | None) -> PairDataset:
        dataset = super().rows(handler, split, tokenizer=tokenizer, seed=seed)
        self._datasets.append(dataset)
        return dataset

    def prepare(self, context: "TrainContext") -> None:
        """Load the reference, or fill the rows with its log-probabilities and let it go."""
        if self.config.loss in WITHOUT_REFERENCE:
            return
        if not self.config.cache_reference:
            context.reference = load_reference(context)
            return
        for dataset in self._datasets:
            ReferenceCache(context, dataset).fill(answer_logprobs)
        context.reference = None

    def updates(self, context: "TrainContext", batches: Sequence[PairBatch]) -> Iterator[Sequence[PairBatch]]:
        if self.with_mismatched:
            with torch.no_grad():
                self._kl = context.parallel.run(self._reference_point, context, batches)
        yield batches

    def validate(self, context: "TrainContext", batches: Iterable[PairBatch]) -> dict[str, float]:
        batches = list(batches)
        if self.with_mismatched:
            self._kl = self._reference_point(context, batches)
        return super().validate(context, batches)

    def loss(self, context: "TrainContext", batch: PairBatch) -> Loss:
        config, lengths = self.config, batch.lengths
        policy = answer_logprobs(context.policy, batch)  # (2P,)
        if config.loss in WITHOUT_REFERENCE:
            relative = policy / lengths
        else:
            relative = policy - self._reference_logprobs(context, batch)
        chosen, rejected = relative[0::2], relative[1::2]
        terms = self._terms(chosen, rejected, lengths)
        if config.sft_weight:
            terms = terms * batch.differ - config.sft_weight * policy[0::2] / lengths[0::2]
        metrics = {
            **_compared(config.beta * chosen, config.beta * rejected, batch.differ),
            "chosen_logprob": Mean(policy[0::2].sum(), batch.num_pairs),
            "rejected_logprob": Mean(policy[1::2].sum(), batch.num_pairs),
        }
        if config.loss == "kto":
            return Loss(terms.sum(), 2 * batch.num_pairs, {**metrics, "kl": Mean(self._kl, 1)})
        return Loss(terms.sum(), batch.num_pairs, metrics)

    def _terms(self, chosen: Tensor, rejected: Tensor, lengths: Tensor) -> Tensor:
        """Losses (P,) of log-ratios, or for simpo and orpo of mean log-probabilities."""
        config, beta = self.config, self.config.beta
        match config.loss:
            case "robust":
                return losses.dpo_robust(chosen - rejected, beta=beta, label_smoothing=config.label_smoothing)
            case "hinge":
                return losses.dpo_hinge(chosen - rejected, beta=beta)
            case "ipo":
                return losses.ipo(chosen / lengths[0::2] - rejected / lengths[1::2], beta=beta)
            case "simpo":
                return losses.simpo(chosen, rejected, beta=beta, margin=config.simpo_margin)
            case "orpo":
                return losses.orpo(chosen, rejected, beta=beta)
            case "kto":
                weights = {
                    "chosen_weight": config.kto_chosen_weight,
                    "rejected_weight": config.kto_rejected_weight,
                }
                return losses.kto(chosen, rejected, self._kl, beta=beta, **weights)
            case _:
                return losses.dpo_sigmoid(chosen - rejected, beta=beta, label_smoothing=config.label_smoothing)

    @staticmethod
    def _reference_logprobs(context: "TrainContext", batch: PairBatch) -> Tensor:
        """(S,), without gradient."""
        if batch.reference is not None:
            return batch.reference
        # Not in inference mode: what a model keeps between passes must serve a pass with gradient too.
        with torch.no_grad(), context.as_reference() as reference:
            return answer_logprobs(reference, batch)

    def _reference_point(self, context: "TrainContext", batches: Sequence[PairBatch]) -> Tensor:
        """KTO's KL, (): mean log-ratio of answers to other prompts over all rows of the step and ranks, at least 0.

        Called without gradients.
        """
        sums = torch.zeros(2, device=context.device)
        for batch in batches:
            assert batch.mismatched is not None
            with context.autocast():
                policy = answer_logprobs(context.policy, batch.mismatched)
                ratios = policy - self._reference_logprobs(context, batch.mismatched)
            sums = sums + torch.stack((ratios.sum(), ratios.new_tensor(batch.num_pairs)))
        total, count = context.ranks.sum_(sums)
        return (total / count).clamp(min=0)


def _compared(chosen: Tensor, rejected: Tensor, differ: Tensor) -> dict[str, Mean]:
    """How often and by how much the chosen answers' rewards (P,) are higher, of pairs whose answers `differ` (P,)."""
    count = differ.sum()
    return {
        "accuracy": Mean(((chosen > rejected) & differ).sum(), count),
        "margin": Mean(((chosen - rejected) * differ).sum(), count),
        "chosen_reward": Mean((chosen * differ).sum(), count),
        "rejected_reward": Mean((rejected * differ).sum(), count),
    }
