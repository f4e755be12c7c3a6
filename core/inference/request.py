"""What is asked of the engine, and a request's state while it runs."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from core.inference.runner import Segment
from core.inference.sampling import Choice
from core.inference.speculation import DraftLength, PromptLookup

STOP, LENGTH, CANCELLED = "stop", "length", "cancelled"


@dataclass(slots=True)
class Timings:
    """What one request cost. `reused_tokens` of the prompt were in the cache already."""

    prompt_tokens: int
    reused_tokens: int = 0
    completion_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    time_to_first_token_s: float = 0.0
    decode_s: float = 0.0


class NextToken(Protocol):
    """Chooses the tokens of one request; `Sampler` is one."""

    def next(self, logits: Tensor) -> Choice:
        """The next token from logits (V,)."""


class Receiver(Protocol):
    """Takes what a request gives, on the engine's thread: exactly one `end` or `fail` comes last."""

    def push(self, choice: Choice) -> bool:
        """One more token; true when the text ends with it."""

    def end(self, reason: str) -> None:
        """Nothing more comes: STOP, LENGTH or CANCELLED."""

    def fail(self, error: BaseException) -> None:
        """Nothing more comes, because of this."""


@dataclass(slots=True, eq=False)
class Request:
    """A prompt, how it goes on, and who takes it."""

    prompt_ids: Sequence[int]
    sampler: NextToken
    receiver: Receiver
    max_new_tokens: int
    stop_ids: frozenset[int] = frozenset()
    adapter: str | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    timings: Timings = field(init=False)
    asked_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.timings = Timings(len(self.prompt_ids))
        self.asked_at = time.perf_counter()


class Running:
    """A request that has blocks: its text so far, and how much of that is computed."""

    def __init__(self, request: Request, blocks: list[int], length: int, *, limit: int, speculates: bool) -> None:
        """`length` tokens are in the blocks; the text may grow to `limit` tokens."""
        self.request, self.blocks, self.length, self.limit = request, blocks, length, limit
        self.ids = list(request.prompt_ids)
        self._lookup = PromptLookup(self.ids) if speculates else None
        self._draft_length = DraftLength()
        self._first_at = 0.0
        request.timings.reused_tokens = length

    @property
    def num_pending(self) -> int:
        """Tokens that are not computed; one while answering, more inside the prompt."""
        return len(self.ids) - self.length

    def part(self, num_tokens: int) -> Segment:
        """The next tokens of an unfinished prompt."""
        ids = self.ids[self.length : self.length + num_tokens]
        is_last = len(ids) == self.num_pending
        return Segment(ids, self.length, self.blocks, int(is_last), self.request.adapter)

    def guess(self, num_sequences: int) -> Segment:
        """The last token and a draft of the next ones."""
        assert self.num_pending == 1
        room = self.limit - len(self.ids) - 1
        draft: list[int] = []
        if self._lookup is not None:
            draft = self._lookup.draft(min(self._draft_length.wanted(num_sequences), room))
        return Segment([self.ids[-1], *draft], self.length, self.blocks, 1 + len(draft), self.request.adapter)

    def take(self, segment: Segment, logits: Tensor) -> str | None:
        """Choose tokens from a segment's logits (num_logits, V) while they confirm its draft; why it ends, if so."""
        num_drafted = max(segment.num_logits - 1, 0)
        self.length += len(segment.ids) - num_drafted
        draft = segment.ids[len(segment.ids) - num_drafted :]
        reason, num_accepted = None, 0
        for index, row in enumerate(logits):
            choice = self.request.sampler.next(row)
            reason = self._append(choice)
            if reason is not None or index == num_drafted or choice.token != draft[index]:
                break
            num_accepted += 1
        self.length += num_accepted
        if num_drafted:
            self._draft_length.judge(num_drafted, num_accepted)
            self.request.timings.drafted_tokens += num_drafted
            self.request.timings.accepted_tokens += num_accepted
        return reason

    def _append(self, choice: Choice) -> str | None:
        request = self.request
        if choice.token in request.stop_ids:
            return STOP
        self.ids.append(choice.token)
        if self._lookup is not None:
            self._lookup.add(choice.token)
        self._note_time()
        if request.receiver.push(choice):
            return STOP
        return LENGTH if len(self.ids) >= self.limit else None

    def _note_time(self) -> None:
        timings, now = self.request.timings, time.perf_counter()
        timings.completion_tokens += 1
        if timings.completion_tokens == 1:
            self._first_at = now
            timings.time_to_first_token_s = now - self.request.asked_at
        timings.decode_s = now - self._first_at
