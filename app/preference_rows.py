"""What the store of preferences gives and takes: answers, ratings, pairs, votes."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

from core.errors import DataError

ROLES = ("system", "user", "assistant")
MIN_VOTES = 20  # fewer are too few to tell
MAX_RANKED = 6


class Source(StrEnum):
    """How a pair came to be."""

    EDIT = "edit"  # an answer was corrected
    VERSION = "version"  # the better of several versions was picked
    RATING = "rating"  # two answers to one question, thumbs up and down
    RANKING = "ranking"
    AB = "ab"  # a blind comparison of two versions of a model
    IMPORT = "import"


class Review(StrEnum):
    """What the user has decided about a pair. Kept and edited ones are trained on."""

    NEW = "new"
    KEPT = "kept"
    EDITED = "edited"
    REJECTED = "rejected"


ACCEPTED = (Review.KEPT, Review.EDITED)


@dataclass(frozen=True, slots=True)
class Origin:
    """Which model said an answer and how; empty where a person did, or where nobody knows."""

    model: str = ""
    fingerprint: str = ""
    quantization: str = ""
    version: str = ""  # the adapter beside the model
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Of what a file or a browser holds, the parts that are what they should be."""
        given = values if isinstance(values, dict) else {}
        types = {one.name: dict if one.name == "sampling" else str for one in fields(cls)}
        return cls(**{name: given[name] for name, kind in types.items() if isinstance(given.get(name), kind)})


@dataclass(frozen=True, slots=True)
class Answer:
    """A text that answers a conversation."""

    text: str
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one conversation, the better one known."""

    id: int
    messages: list[dict[str, str]]
    chosen: Answer
    rejected: Answer
    source: Source
    review: Review
    time: float  # of its making, seconds since 1970

    @property
    def question(self) -> str:
        return self.messages[-1]["content"]


@dataclass(frozen=True, slots=True)
class Counts:
    """What was collected. A thumb without a rival of the other kind makes no pair."""

    by_review: Mapping[Review, int]
    by_source: Mapping[Source, int]
    num_up: int
    num_down: int
    num_up_alone: int
    num_down_alone: int
    num_prompts_accepted: int  # different questions among the accepted pairs

    @property
    def num_pairs(self) -> int:
        return sum(self.by_review.values())

    @property
    def num_accepted(self) -> int:
        return sum(self.by_review[state] for state in ACCEPTED)


@dataclass(frozen=True, slots=True)
class Tally:
    """Votes between two versions of a model."""

    num_new: int = 0
    num_old: int = 0
    num_ties: int = 0

    @property
    def num_votes(self) -> int:
        return self.num_new + self.num_old + self.num_ties

    @property
    def share(self) -> float:
        """The new version's share, a tie half a win. Not defined without votes."""
        return (self.num_new + self.num_ties / 2) / self.num_votes

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share. Not defined without votes."""
        from core.evaluation.intervals import share_interval

        return share_interval(self.num_new + self.num_ties / 2, self.num_votes)

    @property
    def is_telling(self) -> bool:
        return self.num_votes >= MIN_VOTES

    @property
    def winner(self) -> str | None:
        """`new` or `old` where enough votes leave no doubt, else None."""
        if not self.is_telling:
            return None
        low, high = self.interval
        return "new" if low > 0.5 else "old" if high < 0.5 else None


def conversation(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The turns that an answer was wanted to, as role and text. Raises DataError where no question ends them."""
    turns = [{"role": str(turn["role"]), "content": str(turn["content"])} for turn in messages]
    if not turns or turns[-1]["role"] != "user" or any(turn["role"] not in ROLES for turn in turns):
        raise DataError("This is no conversation that ends with a question.", "Rate the answer to a question.")
    return turns


def prompt_hash(messages: Sequence[Mapping[str, str]]) -> str:
    """The name of a conversation."""
    return hashlib.sha256(json.dumps(messages, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
