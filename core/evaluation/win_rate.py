"""Which of two models answers better, by a reward model: both get the same prompts, settings and seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.data.formats import Messages, prompt_of
from core.data.pairs import Group
from core.data.streams import input_files
from core.errors import DataError
from core.evaluation.intervals import share_interval
from core.evaluation.reading import recognised
from core.evaluation.rewards import RewardScorer
from core.inference.generator import LanguageModel

# Answers under way at once: the engine computes them together.
ANSWERS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often a model's answer has the higher reward than the other's; a tie is half a win."""

    num_prompts: int
    wins: int
    ties: int
    losses: int
    win_rate: float
    interval: tuple[float, float]
    reward: float  # means over the prompts
    other_reward: float
    answer_tokens: float
    other_answer_tokens: float
    num_left_out: int  # prompts that leave no room for an answer

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def win_rate(
    model: LanguageModel,
    other: LanguageModel,
    scorer: RewardScorer,
    files: Sequence[str | Path],
    *,
    max_new_tokens: int = 128,
    **sampling: Any,
) -> WinRate:
    """Compare answers to the prompts of files: conversations, whose last answer is left out, or rows with `prompt`.

    `sampling` are options of `SamplingConfig`. Raises DataError for other rows, or when no prompt fits.
    """
    found = input_files([Path(file) for file in files])
    prompts = [prompt for file in found for prompt in recognised(file, prompt_of)]
    room = min(model.max_seq_len, other.max_seq_len, scorer.max_seq_len) - max_new_tokens
    fitting = [prompt for prompt in prompts if len(scorer.group(prompt, ()).prompt) < room]
    if not fitting:
        raise DataError(
            "None of {count} prompts leaves room for {most} tokens.",
            "Give prompts, or fewer max_new_tokens.",
            count=len(prompts),
            most=max_new_tokens,
        )
    sampling["max_new_tokens"] = max_new_tokens
    answers = zip(_answers(model, fitting, sampling), _answers(other, fitting, sampling), strict=True)
    groups = [scorer.group(prompt, pair) for prompt, pair in zip(fitting, answers, strict=True)]
    return _compared(groups, np.array(scorer.rewards(groups)), len(prompts) - len(fitting))


def _compared(groups: Sequence[Group], rewards: NDArray[np.float64], num_left_out: int) -> WinRate:
    """Of rewards (prompts, 2). Equal answers tie, whatever rounding makes of their rewards."""
    is_same = np.array([np.array_equal(group.answers[0], group.answers[1]) for group in groups])
    left, right = rewards[:, 0], np.where(is_same, rewards[:, 0], rewards[:, 1])
    count = len(rewards)
    wins, losses = int((left > right).sum()), int((left < right).sum())
    points = wins + (count - wins - losses) / 2
    lengths = np.array([[len(answer) for answer in group.answers] for group in groups])
    return WinRate(
        num_prompts=count,
        wins=wins,
        ties=count - wins - losses,
        losses=losses,
        win_rate=points / count,
        interval=share_interval(points, count),
        reward=float(left.mean()),
        other_reward=float(right.mean()),
        answer_tokens=float(lengths[:, 0].mean()),
        other_answer_tokens=float(lengths[:, 1].mean()),
        num_left_out=num_left_out,
    )


def _answers(model: LanguageModel, prompts: Sequence[Messages], sampling: dict[str, Any]) -> Iterator[str]:
    """The seed of each is its number, so that both models draw alike."""
    for first in range(0, len(prompts), ANSWERS_AT_ONCE):
        some = prompts[first : first + ANSWERS_AT_ONCE]
        streams = [model.chat(prompt, **{"seed": first + i, **sampling}) for i, prompt in enumerate(some)]
        yield from (stream.read() for stream in streams)
