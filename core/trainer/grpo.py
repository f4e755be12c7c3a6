"""Group relative policy optimisation: a completion is measured against the others of its prompt, without a value model.

Source: Shao et al. 2024 (DeepSeekMath); what differs from it by option is named in `rl_losses`.
Legend: N tokens of completions, S completions, P prompts, G completions of one prompt.
"""

from typing import TYPE_CHECKING

from torch import Tensor

from core.trainer.experience import Experience, ExperienceBatch
from core.trainer.rl_losses import (
    aggregate,
    cispo_loss,
    clipped_policy_loss,
    group_advantages,
    kl_k3,
    sequence_log_ratio,
)
from core.trainer.rlhf import RLHFStrategy, policy_logprobs
from core.trainer.strategy import Loss
from core.trainer.tally import Mean

if TYPE_CHECKING:
    from core.trainer.train_context import TrainContext


class GRPOStrategy(RLHFStrategy):
    """See `Strategy`."""

    def _assess(self, context: "TrainContext", experience: Experience) -> None:
        """Old log-probabilities only where the policy moves before it has learnt from all; else the new ones are."""
        rewards = self._learnt_rewards(experience).view(-1, self.config.num_generations)  # (P, G)
        advantages = group_advantages(rewards, scale=self.config.scale_rewards)
        experience.tokens["advantages"] = advantages.flatten()[experience.sequence]
        self._fill_logprobs(context, experience, of_policy=not self._is_on_policy)

    def loss(self, context: "TrainContext", batch: ExperienceBatch) -> Loss:
        """The clipped loss and the divergence, summed as `grpo_aggregation` says."""
        config, rows = self.config, batch.rows
        logprobs, entropies = policy_logprobs(context.policy, rows, config.temperature)
        log_ratio = logprobs - batch.tokens.get("old", logprobs.detach())
        terms, is_clipped = self._policy_terms(log_ratio, logprobs, batch)
        count = len(logprobs)
        metrics = {
            **batch.metrics,
            "entropy": Mean(entropies.sum(), count),
            "ratio": Mean(log_ratio.exp().sum(), count),
            "clip_fraction": Mean(is_clipped.sum(), count),
        }
        if config.kl_coef:
            kl = kl_k3(logprobs, batch.tokens["reference"])
            terms = terms + config.kl_coef * kl
            metrics["kl"] = Mean(kl.sum(), count)
        total, weight = aggregate(
            terms,
            rows.sequence,
            batch.num_sequences,
            kind=config.grpo_aggregation,
            max_new_tokens=config.max_new_tokens,
        )
        return Loss(total, weight, metrics)

    def _policy_terms(self, log_ratio: Tensor, logprobs: Tensor, batch: ExperienceBatch) -> tuple[Tensor, Tensor]:
        """Each token's loss (N,) and whether it was clipped."""
        config, advantages = self.config, batch.tokens["advantages"]
        if config.policy_loss == "cispo":
            return cispo_loss(log_ratio, logprobs, advantages, config.cispo_max_ratio)
        if config.policy_loss == "gspo":
            log_ratio = sequence_log_ratio(log_ratio, batch.rows.sequence, batch.num_sequences)
        return clipped_policy_loss(log_ratio, advantages, config.clip_range)
