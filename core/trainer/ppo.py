"""Proximal policy optimisation: a value model says what was to be expected, the divergence is taken off the rewards.

Sources: Schulman et al. 2017; Ouyang et al. 2022 for the reward, which comes at a completion's last token.
Legend: N tokens of completions, S completions, T tokens of the longest.
"""

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from core.data.pairs import PairBatch
from core.model.checkpoint import find_model
from core.model.heads import RewardModel, load_reward_model
from core.trainer.experience import Experience, ExperienceBatch
from core.trainer.preference import answer_hidden
from core.trainer.rl_losses import (
    clipped_policy_loss,
    clipped_value_loss,
    explained_variance,
    gae,
    kl_k1,
    kl_k3,
    whiten,
)
from core.trainer.rlhf import RLHFStrategy, policy_logprobs
from core.trainer.strategy import Loss
from core.trainer.tally import Mean

if TYPE_CHECKING:
    from core.trainer.train_context import TrainContext


class PPOStrategy(RLHFStrategy):
    """See `Strategy`."""

    def prepare(self, context: "TrainContext") -> None:
        """A value model too, which begins as the reward model, or as the policy under a fresh head."""
        super().prepare(context)
        path = context.config.reward_model
        if path is None:
            policy = copy.deepcopy(context.policy)
            context.value = RewardModel.from_backbone(policy, context.config.seed)
        else:
            context.value = load_reward_model(find_model(path), device=context.device, dtype=torch.float32)
        context.value.train()

    def _assess(self, context: "TrainContext", experience: Experience) -> None:
        """Values, rewards of tokens, and from them advantages and what the values should have been."""
        config, value = self.config, _value_model(context)
        self._fill_logprobs(context, experience, of_policy=True)
        self._fill(context, experience, lambda rows: {"values": token_values(value, rows)})
        tokens = experience.tokens
        rewards = torch.zeros_like(tokens["old"])
        if config.kl_coef:
            rewards -= config.kl_coef * kl_k1(tokens["old"], tokens["reference"])
        rewards[experience.starts + experience.lengths - 1] += self._learnt_rewards(experience)
        longest = int(experience.lengths.max())
        is_token = torch.arange(longest, device=rewards.device) < experience.lengths[:, None]  # (S, T)
        padded_rewards, padded_values = (
            torch.zeros_like(is_token, dtype=values.dtype).masked_scatter(is_token, values)
            for values in (rewards, tokens["values"])
        )
        advantages = gae(padded_rewards, padded_values, gamma=config.gamma, lam=config.gae_lambda)[is_token]
        tokens["returns"] = advantages + tokens["values"]
        tokens["advantages"] = whiten(advantages, context.ranks.sum_)
        experience.metrics["explained_variance"] = Mean(explained_variance(tokens["values"], tokens["returns"]), 1)

    def loss(self, context: "TrainContext", batch: ExperienceBatch) -> Loss:
        """Policy and value loss, a term for each token."""
        config, tokens = self.config, batch.tokens
        logprobs, entropies = policy_logprobs(context.policy, batch.rows, config.temperature)
        log_ratio = logprobs - tokens["old"]
        policy_terms, is_clipped = clipped_policy_loss(log_ratio, tokens["advantages"], config.clip_range)
        values = token_values(_value_model(context), batch.rows)
        value_terms = clipped_value_loss(values, tokens["values"], tokens["returns"], config.value_clip_range)
        count = len(logprobs)
        metrics = {
            **batch.metrics,
            "entropy": Mean(entropies.sum(), count),
            "ratio": Mean(log_ratio.exp().sum(), count),
            "clip_fraction": Mean(is_clipped.sum(), count),
            "value_loss": Mean(value_terms.sum(), count),
        }
        if config.kl_coef:
            metrics["kl"] = Mean(kl_k3(logprobs, tokens["reference"]).sum(), count)
        return Loss((policy_terms + config.value_coef * value_terms).sum(), count, metrics)


def token_values(model: RewardModel, rows: PairBatch) -> Tensor:
    """What the model expects of a completion before each of its tokens, (N,)."""
    return model.scores(answer_hidden(model, rows)[rows.source])


def _value_model(context: "TrainContext") -> RewardModel:
    assert context.value is not None, "prepare made it"
    return context.value
