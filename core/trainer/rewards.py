"""What a completion is worth: by a trained reward model, or by a Python function of the texts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from core.data.tokenizer import Tokenizer
from core.errors import ConfigError, ModelError, TrainingError
from core.model.checkpoint import find_model
from core.model.heads import RewardModel, load_reward_model
from core.trainer.experience import Group, completion_batches
from core.trainer.preference import answer_hidden
from core.trainer.train_context import RewardFunction, TrainContext


class Reward(Protocol):
    """Scores the completions of one rollout."""

    def __call__(self, groups: Sequence[Group]) -> Tensor:
        """Rewards (S,) in fp32 on the CPU, by the completions' numbers. Raises TrainingError for what is no number."""


def build_reward(context: TrainContext) -> Reward:
    """The function that was given, or the reward model of the config.

    Raises: ConfigError when there is none or both, ModelError for a model that cannot score this policy's tokens.
    """
    path = context.config.reward_model
    if (path is None) == (context.reward is None):
        raise ConfigError(
            "There is no reward." if path is None else "There is reward_model {path} and a reward function too.",
            "Set reward_model, or call train(config, reward=function).",
            path=path,
        )
    if context.reward is not None:
        return FunctionReward(context.reward, context.tokenizer)
    folder = find_model(str(path))
    tokenizer = Tokenizer.load(folder)
    if tokenizer.fingerprint != context.tokenizer.fingerprint:
        raise ModelError(
            "The reward model {path} has another tokenizer ({ids:,} ids) than the policy ({own:,} ids).",
            "Train a reward model from the policy, with --stage rm.",
            path=folder,
            ids=tokenizer.vocab_size,
            own=context.tokenizer.vocab_size,
        )
    model = load_reward_model(folder, device=context.device, dtype=torch.float32)
    context_tokens = model.config.max_position_embeddings
    if context_tokens < context.config.max_seq_len:
        raise ModelError(
            "The reward model {path} reads {most} tokens, max_seq_len is {size}.",
            "Set max_seq_len to {most} or less.",
            path=folder,
            most=context_tokens,
            size=context.config.max_seq_len,
        )
    return ModelReward(context, model.requires_grad_(False))


@dataclass(frozen=True, slots=True)
class FunctionReward:
    """A function of prompts and completions as texts, without control tokens."""

    function: RewardFunction
    tokenizer: Tokenizer

    def __call__(self, groups: Sequence[Group]) -> Tensor:
        """See `Reward`."""
        texts = _texts(groups, self.tokenizer)
        rewards = list(self.function([prompt for prompt, _ in texts], [completion for _, completion in texts]))
        if len(rewards) != len(texts):
            raise TrainingError(
                "The reward function gave {count} rewards for {wanted} completions.",
                "Return one number for each completion, in order.",
                count=len(rewards),
                wanted=len(texts),
            )
        return _finite(torch.tensor([float(reward) for reward in rewards]), texts)


@dataclass(frozen=True, slots=True)
class ModelReward:
    """The score of a reward model at the last token of each completion, where it has learnt to give it."""

    context: TrainContext
    model: RewardModel

    def __call__(self, groups: Sequence[Group]) -> Tensor:
        """See `Reward`."""
        context, config = self.context, self.context.config
        rewards = torch.zeros(sum(len(group.completions) for group in groups))
        for batch in completion_batches(groups, row_tokens=config.max_seq_len, num_rows=config.micro_batch_size):
            rows = batch.rows.to(context.device)
            with context.autocast():
                scores = self.model.scores(answer_hidden(self.model, rows)[rows.ends])
            rewards[batch.numbers] = scores.float().cpu()
        return _finite(rewards, _texts(groups, context.tokenizer))


def _texts(groups: Sequence[Group], tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """Prompt and completion of each row."""
    return [
        (tokenizer.decode(group.prompt_ids), tokenizer.decode(ids))
        for group in groups
        for ids in group.completions.values()
    ]


def _finite(rewards: Tensor, texts: Sequence[tuple[str, str]]) -> Tensor:
    """The rewards. Raises TrainingError naming the first row whose reward is no number."""
    for row, value in enumerate(rewards.tolist()):
        if not math.isfinite(value):
            prompt, completion = texts[row]
            raise TrainingError(
                "The reward of row {row} is {value}, of the completion {completion!r:.200} to {prompt!r:.200}.",
                "The reward must be a finite number for every text, an empty one too.",
                row=row,
                value=value,
                completion=completion,
                prompt=prompt,
            )
    return rewards
