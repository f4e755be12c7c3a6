"""Options of learning from rewards, the stages ppo and grpo."""

from dataclasses import dataclass

from core.config.run_options import RunOptions
from core.config.schema import option
from core.errors import Sentence

STAGES = ("ppo", "grpo")


@dataclass(frozen=True, kw_only=True)
class RLOptions(RunOptions):
    """How completions are drawn, rewarded and learnt from."""

    reward_model: str | None = option(
        None, "reward model's run or folder; without it train() is given a function", stages=STAGES
    )
    num_generations: int = option(8, "completions of each prompt", minimum=1, stages=STAGES)
    max_new_tokens: int = option(128, "most tokens of a completion", minimum=1, unit="tokens", stages=STAGES)
    temperature: float = option(
        1.0, "of the draws, and of the policy that is learnt", minimum=0.05, maximum=5, stages=STAGES
    )
    rollout_batch_size: int = option(
        256, "completions that are drawn at once; each needs memory for its keys and values", minimum=1, stages=STAGES
    )
    missing_eos_penalty: float = option(
        0.0, "taken off the reward of a completion that max_new_tokens cut", minimum=0, stages=STAGES
    )
    rollout_epochs: int = option(1, "passes over the completions of a step", minimum=1, stages=STAGES)
    num_minibatches: int = option(
        1, "updates of one such pass; each learns from an equal share of the prompts", minimum=1, stages=STAGES
    )
    kl_coef: float = option(
        0.04, "weight of the divergence from the reference: ppo takes it off the rewards, grpo adds it to the loss",
        minimum=0, stages=STAGES,
    )  # fmt: skip
    clip_range: float = option(
        0.2, "how far from 1 the ratio of new to old probability is followed", minimum=0, stages=STAGES
    )

    gamma: float = option(1.0, "discount of a later reward", minimum=0, maximum=1, stages=("ppo",))
    gae_lambda: float = option(
        0.95, "1 takes the rewards that came, 0 what the value model expects", minimum=0, maximum=1, stages=("ppo",)
    )
    value_coef: float = option(0.5, "weight of the value model's loss", minimum=0, stages=("ppo",))
    value_clip_range: float = option(
        0.2, "how far a value is followed from what it was at the draw", minimum=0, stages=("ppo",)
    )

    policy_loss: str = option(
        "clip",
        "clip each token's ratio, gspo clips the whole completion's, cispo bounds its weight and keeps the gradient",
        choices=("clip", "gspo", "cispo"),
        stages=("grpo",),
    )
    cispo_max_ratio: float = option(5.0, "bound of cispo", minimum=1, stages=("grpo",))
    grpo_aggregation: str = option(
        "grpo",
        "grpo weighs completions alike, bnpo tokens, dr_grpo tokens over max_new_tokens",
        choices=("grpo", "bnpo", "dr_grpo"),
        stages=("grpo",),
    )
    scale_rewards: bool = option(
        True, "advantages in standard deviations of a prompt's rewards; off keeps their scale", stages=("grpo",)
    )

    def conflicts(self) -> list[str]:
        """Checks across fields."""
        if self.stage not in STAGES:
            return []
        problems: list[str] = []
        if self.max_new_tokens >= self.max_seq_len:
            problems.append(
                Sentence(
                    "max_new_tokens {new} leaves no room for a prompt in max_seq_len {length}",
                    new=self.max_new_tokens,
                    length=self.max_seq_len,
                )
            )
        if self.global_batch_size % self.num_minibatches:
            problems.append(
                Sentence(
                    "num_minibatches {count} does not divide global_batch_size {size}",
                    count=self.num_minibatches,
                    size=self.global_batch_size,
                )
            )
        if self.policy_loss != "cispo" and self.cispo_max_ratio != RLOptions.cispo_max_ratio:
            problems.append(
                Sentence(
                    "cispo_max_ratio {value} is for cispo, policy_loss is {loss}",
                    value=self.cispo_max_ratio,
                    loss=self.policy_loss,
                )
            )
        if self.policy_loss == "cispo" and self.clip_range != RLOptions.clip_range:
            problems.append(
                Sentence(
                    "clip_range {value} does nothing with policy_loss cispo: set cispo_max_ratio", value=self.clip_range
                )
            )
        if self.stage == "grpo" and self.num_generations < 2:
            problems.append(
                Sentence(
                    "num_generations {count} is no group: stage grpo compares at least 2", count=self.num_generations
                )
            )
        return problems
