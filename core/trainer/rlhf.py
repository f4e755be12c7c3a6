"""Learning from rewards: a step draws completions with our own engine, scores them and updates the policy on them.

What is common to PPO and GRPO: prompts, rollout, old and reference log-probabilities, the split into updates,
validation. Log-probabilities are always those of a training forward pass, not the engine's.
Legend: B rows, T time, C hidden, N tokens of completions, S completions, P prompts, G completions of one prompt.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from core.config.train_config import TrainConfig
from core.data.dataset import Rows, shuffled
from core.data.formats import KINDS_OF_STAGE
from core.data.mmap_file import MmapFileHandler
from core.data.pairs import PairBatch
from core.data.prompts import PromptBatch, PromptRows
from core.data.tokenizer import Tokenizer
from core.model.transformer import Transformer
from core.trainer.experience import Experience, ExperienceBatch, Group
from core.trainer.logprobs import logprobs_and_entropies
from core.trainer.preference import answer_hidden
from core.trainer.reference import load_reference
from core.trainer.rewards import Reward, build_reward
from core.trainer.rl_losses import kl_k3
from core.trainer.rollout import Draw, RolloutConfig, complete
from core.trainer.strategy import Loss
from core.trainer.tally import Mean, Tally

if TYPE_CHECKING:
    from core.trainer.train_context import TrainContext

# First part of the keys of draws, which tells training from validation.
TRAINING, VALIDATION = 0, 1


def policy_logprobs(model: Transformer, rows: PairBatch, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy (N,) in nats of each token of the completions, by the policy that draws them."""
    hidden = answer_hidden(model, rows)[rows.source]  # (N, C)
    return logprobs_and_entropies(hidden / temperature, model.lm_head.weight, rows.target)


class RLHFStrategy(ABC):
    """The part that PPO and GRPO share; see `Strategy`."""

    dataset_kinds = KINDS_OF_STAGE["ppo"]

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self._reward: Reward | None = None

    def rows(
        self, handler: MmapFileHandler, split: str, *, tokenizer: Tokenizer, seed: int | None
    ) -> Rows[PromptBatch]:
        longest = self.config.max_seq_len - self.config.max_new_tokens
        return PromptRows(handler, split, max_prompt_tokens=longest, seed=seed)

    def prepare(self, context: "TrainContext") -> None:
        """Load the reference and what rewards."""
        self._reward = build_reward(context)
        context.reference = load_reference(context)

    def updates(self, context: "TrainContext", batches: Sequence[PromptBatch]) -> Iterator[Sequence[ExperienceBatch]]:
        """Roll out, then `num_minibatches` updates in each of `rollout_epochs` passes."""
        config = self.config
        with torch.no_grad():
            experience = self._roll_out(context, batches)
            self._assess(context, experience)
        for number in range(config.rollout_epochs):
            order = shuffled(len(experience.groups), config.seed, context.step, number)
            for part in np.array_split(order, config.num_minibatches):
                yield self._batches(experience, [experience.groups[index] for index in sorted(part)])

    @abstractmethod
    def _assess(self, context: "TrainContext", experience: Experience) -> None:
        """Add what the loss needs to know of each token, advantages above all."""

    @abstractmethod
    def loss(self, context: "TrainContext", batch: ExperienceBatch) -> Loss:
        """See `Strategy`."""

    def validate(self, context: "TrainContext", batches: Iterable[PromptBatch]) -> dict[str, float]:
        """What `held_out` gave, and how far the policy is from the reference there."""
        experience, tally = self.held_out(context, batches), Tally()
        for batch in self._batches(experience, experience.groups):
            with context.autocast():
                logprobs, entropies = policy_logprobs(context.policy, batch.rows, self.config.temperature)
                with context.as_reference() as reference:
                    expected, _ = policy_logprobs(reference, batch.rows, self.config.temperature)
            count = len(logprobs)
            kl = Mean(kl_k3(logprobs, expected).sum(), count)
            tally.add({**batch.metrics, "kl": kl, "entropy": Mean(entropies.sum(), count)})
        return tally.means(context.ranks)

    def held_out(self, context: "TrainContext", batches: Iterable[PromptBatch]) -> Experience:
        """One completion of each prompt, drawn at the training's temperature with seeds that never change."""
        prompts = [pair for batch in batches for pair in zip(batch.prompts, batch.places, strict=True)]
        draws = [Draw(prompt, (self.config.seed, VALIDATION, *place)) for prompt, place in prompts]
        return self._complete(context, draws, [[number] for number in range(len(draws))])

    def score(self, means: Mapping[str, float]) -> float:
        """A higher reward is the better validation."""
        return -means["validation_reward"]

    def _learnt_rewards(self, experience: Experience) -> Tensor:
        """Rewards (S,) with the penalty of completions that were cut."""
        return experience.rewards - self.config.missing_eos_penalty * experience.is_cut

    @property
    def _is_on_policy(self) -> bool:
        """Whether a step makes a single update, so that the policy that learns is the one that drew."""
        return self.config.rollout_epochs * self.config.num_minibatches == 1

    def _roll_out(self, context: "TrainContext", batches: Sequence[PromptBatch]) -> Experience:
        """`num_generations` completions of each prompt."""
        count = self.config.num_generations
        draws: list[Draw] = []
        groups: list[list[int]] = []
        for batch in batches:
            for prompt, place in zip(batch.prompts, batch.places, strict=True):
                groups.append(list(range(len(draws), len(draws) + count)))
                key = (self.config.seed, TRAINING, context.step, *place)
                draws += [Draw(prompt, (*key, sample)) for sample in range(count)]
        return self._complete(context, draws, groups)

    def _complete(self, context: "TrainContext", draws: Sequence[Draw], numbers: list[list[int]]) -> Experience:
        """Draw and score; `numbers` are the draws of each prompt."""
        config = self.config
        rollout = RolloutConfig(
            stop_ids=context.tokenizer.stop_ids,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            max_running=config.rollout_batch_size,
        )
        with context.autocast():
            completions = complete(context.policy, draws, rollout)
        groups = [
            Group(draws[group[0]].prompt_ids, {number: completions[number].ids for number in group})
            for group in numbers
        ]
        assert self._reward is not None, "prepare comes first"
        return Experience(
            groups,
            lengths=torch.tensor([len(completion.ids) for completion in completions], device=context.device),
            rewards=self._reward(groups).to(context.device),
            is_cut=torch.tensor([completion.is_cut for completion in completions], device=context.device),
        )

    def _fill(
        self,
        context: "TrainContext",
        experience: Experience,
        compute: Callable[[PairBatch], Mapping[str, Tensor]],
    ) -> None:
        """Add what a forward pass tells of each token (N,), by name."""
        for batch in self._batches(experience, experience.groups):
            with context.autocast():
                found = compute(batch.rows)
            for name, values in found.items():
                whole = values.new_zeros(int(experience.lengths.sum()))
                experience.tokens.setdefault(name, whole)[batch.places] = values

    def _fill_logprobs(self, context: "TrainContext", experience: Experience, *, of_policy: bool) -> None:
        """Add `reference` log-probabilities where there is a divergence to weigh, and `old` ones of the policy."""

        def compute(rows: PairBatch) -> dict[str, Tensor]:
            found = {}
            if of_policy:
                found["old"], _ = policy_logprobs(context.policy, rows, self.config.temperature)
            if self.config.kl_coef:
                with context.as_reference() as reference:
                    found["reference"], _ = policy_logprobs(reference, rows, self.config.temperature)
            return found

        self._fill(context, experience, compute)

    def _batches(self, experience: Experience, groups: Sequence[Group]) -> list[ExperienceBatch]:
        return experience.batches(groups, row_tokens=self.config.max_seq_len, num_rows=self.config.micro_batch_size)
