"""Rewards of answers, and a reward model's accuracy on pairs of them.

An answer is scored as in training: the prompt by the chat template, the score at the token that ends the turn.
Legend: A answers.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from core.data.chat_template import ChatTemplate
from core.data.formats import Messages, Preference, UnrecognisedError, recognise
from core.data.pairs import Group, collate
from core.data.streams import InputFile, input_files
from core.data.tokenizer import Tokenizer
from core.errors import DataError, ModelError
from core.evaluation.intervals import share_interval
from core.evaluation.reading import recognised
from core.model.checkpoint import find_model
from core.model.device import resolve_device
from core.model.heads import RewardModel, load_reward_model

PROMPTS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class PairScore:
    """Accuracy of a reward model on a file of pairs, beside that of always taking the longer answer."""

    file: str
    num_pairs: int
    accuracy: float
    interval: tuple[float, float]
    longer_wins: float
    num_left_out: int  # longer than the reward model's context

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class RewardScorer:
    """Rewards of answers to conversations."""

    def __init__(self, model: RewardModel, tokenizer: Tokenizer) -> None:
        self._model, self._template = model, ChatTemplate(tokenizer)
        self.device = model.score.weight.device
        self.max_seq_len = model.config.max_position_embeddings

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto") -> Self:
        """Open a reward model's run or folder, in fp32. Raises ConfigError for a device that is not here."""
        folder = find_model(path)
        model = load_reward_model(folder, device=resolve_device(device), dtype=torch.float32)
        return cls(model, Tokenizer.load(folder))

    def group(self, messages: Messages, answers: Sequence[str]) -> Group:
        """A conversation and answers to it, as ids."""
        prompt = self._template.encode(messages, add_generation_prompt=True)
        return Group(np.array(prompt), [self._answer(messages, len(prompt), answer) for answer in answers])

    def fits(self, group: Group) -> bool:
        return len(group.prompt) + max(map(len, group.answers)) <= self.max_seq_len

    @torch.inference_mode()
    def rewards(self, groups: Sequence[Group]) -> list[list[float]]:
        """One for each answer of each group; all groups have the same number of answers."""
        rewards: list[list[float]] = [[] for _ in groups]
        by_length = sorted(range(len(groups)), key=lambda place: groups[place].num_tokens)  # rows of a batch alike
        for first in range(0, len(groups), PROMPTS_AT_ONCE):
            places = by_length[first : first + PROMPTS_AT_ONCE]
            batch = collate([[groups[place]] for place in places], torch.tensor(places)).to(self.device)
            hidden = self._model.hidden(
                batch.input_ids,
                position_ids=batch.position_ids,
                document_ids=batch.document_ids,
                branch_ids=batch.branch_ids,
            )
            scores = self._model.scores(hidden.flatten(0, 1)[batch.ends])  # (A,)
            if not scores.isfinite().all():
                raise ModelError("A reward is not finite: the reward model's weights are damaged.", "Train it again.")
            for place, row in zip(places, scores.view(len(places), -1).tolist(), strict=True):
                rewards[place] = row
        return rewards

    def _answer(self, messages: Messages, prompt_length: int, answer: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Ids up to the token that ends the turn."""
        ids, _ = self._template.encode_with_mask([*messages, {"role": "assistant", "content": answer}])
        said, stops = ids[prompt_length:], self._template.tokenizer.stop_ids
        end = next((place + 1 for place, token in enumerate(said) if token in stops), len(said))
        return np.array(said[:end])


def _pair(value: str | dict[str, Any]) -> Preference:
    example = recognise(value)
    if not isinstance(example, Preference):
        raise UnrecognisedError("{kind} data among pairs", kind=example.kind)
    return example


def evaluate_pairs(scorer: RewardScorer, files: Sequence[str | Path]) -> list[PairScore]:
    """Accuracy on files of preference pairs. Raises DataError for rows that are none."""
    return [_score_pairs(scorer, file) for file in input_files([Path(file) for file in files])]


def _score_pairs(scorer: RewardScorer, file: InputFile) -> PairScore:
    groups = [scorer.group(pair.messages, (pair.chosen, pair.rejected)) for pair in recognised(file, _pair)]
    fitting = [group for group in groups if scorer.fits(group)]
    if not fitting:
        raise DataError(
            "{path} holds no pair that fits {most} tokens.",
            "Give preference pairs.",
            path=file.path,
            most=scorer.max_seq_len,
        )
    hits = sum(points(chosen, rejected) for chosen, rejected in scorer.rewards(fitting))
    longer = sum(points(len(group.answers[0]), len(group.answers[1])) for group in fitting)
    return PairScore(
        file=file.name,
        num_pairs=len(fitting),
        accuracy=hits / len(fitting),
        interval=share_interval(hits, len(fitting)),
        longer_wins=longer / len(fitting),
        num_left_out=len(groups) - len(fitting),
    )


def points(left: float, right: float) -> float:
    """1 for a win of the left, half for a tie."""
    return 1.0 if left > right else 0.5 if left == right else 0.0
