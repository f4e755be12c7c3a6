"""How far an adapter prefers the better answers, on the model as it is served: quantised, the adapter beside it.

The measure is DPO's own: the implicit reward of an answer y to x is β (log π(y|x) - log π_ref(y|x)), where π_ref is the
model without the adapter. Training may know other arithmetic than serving; what counts is what is served.
Source: Rafailov et al. 2023, section 4.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from core.data.formats import Messages, Preference
from core.errors import DataError
from core.evaluation.intervals import share_interval
from core.evaluation.rewards import points
from core.evaluation.text import window_nats
from core.inference.generator import LanguageModel


@dataclass(frozen=True, slots=True)
class PreferenceMargin:
    """Over pairs: how often the chosen answer's implicit reward is higher, and by how much in the mean."""

    num_pairs: int
    accuracy: float
    interval: tuple[float, float]
    margin: float
    chosen_reward: float
    rejected_reward: float
    num_left_out: int  # longer than the model's context

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def preference_margin(
    model: LanguageModel, pairs: Sequence[Preference], *, adapter: str, beta: float = 0.1
) -> PreferenceMargin:
    """Compare a loaded adapter with its base on pairs. Raises: DataError when none fits the model's context."""
    rewards = []
    for pair in pairs:
        answers = [_answer(model, pair.messages, text) for text in (pair.chosen, pair.rejected)]
        if all(len(ids) <= model.max_seq_len for ids, _ in answers):
            rewards.append([beta * _log_ratio(model, ids, first, adapter) for ids, first in answers])
    if not rewards:
        raise DataError(
            "None of {count} pairs fits {most} tokens.", "Give shorter pairs.", count=len(pairs), most=model.max_seq_len
        )
    count = len(rewards)
    hits = sum(points(chosen, rejected) for chosen, rejected in rewards)
    chosen_reward, rejected_reward = (sum(row[side] for row in rewards) / count for side in (0, 1))
    return PreferenceMargin(
        num_pairs=count,
        accuracy=hits / count,
        interval=share_interval(hits, count),
        margin=chosen_reward - rejected_reward,
        chosen_reward=chosen_reward,
        rejected_reward=rejected_reward,
        num_left_out=len(pairs) - count,
    )


def _log_ratio(model: LanguageModel, ids: list[int], first: int, adapter: str) -> float:
    """log π(y|x) - log π_ref(y|x) of ids[first:], in nats."""
    return window_nats(model, ids, first) - window_nats(model, ids, first, adapter=adapter)


def _answer(model: LanguageModel, messages: Messages, text: str) -> tuple[list[int], int]:
    """Ids of a conversation up to the token that ends the answer's turn, and where the answer begins."""
    template = model.chat_template
    first = len(template.encode(messages, add_generation_prompt=True))
    ids, _ = template.encode_with_mask([*messages, {"role": "assistant", "content": text}])
    stops = template.tokenizer.stop_ids
    end = next((place + 1 for place in range(first, len(ids)) if ids[place] in stops), len(ids))
    return ids[:end], first
