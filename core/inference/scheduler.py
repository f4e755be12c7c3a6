"""Continuous batching: which tokens of which requests make the next step.

Every step holds one token, and a draft, of each answer that is under way, and beside them parts of prompts.
A request joins as soon as a slot and blocks for its longest text are there, in the order of asking, unless
another one is just computing the beginning that both have; the parts are shared out so that a short prompt is
not kept waiting by a long one. A request leaves at the step after its
end or its cancellation, and what it computed stays as a prefix for later ones.
Sources: Yu et al. 2022 (iteration-level scheduling); Agrawal et al. 2023 (chunked prefills beside decodes).
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from core.errors import AssistantError, BusyError, GenerationError, ModelError
from core.inference.block_pool import BlockPool
from core.inference.prefix_cache import Match, PrefixCache
from core.inference.request import CANCELLED, Request, Running
from core.inference.runner import Runner, Segment, num_blocks_for

logger = logging.getLogger(__name__)

# A request waits for another one's prompt when that saves it at least so many tokens.
MIN_SHARED_TOKENS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """Bounds of an engine."""

    max_seq_len: int
    max_running: int = 8
    max_waiting: int = 64
    step_tokens: int = 256  # of prompts in one step; a step cannot be cancelled
    shared_step_tokens: int = 64  # the same while answers are under way, which wait for the step
    speculation: bool = True
    kv_cache: str = "fp16"  # or int8, of a runner on the CPU's kernels


@dataclass(frozen=True, slots=True)
class StepPart:
    """What a step did for one request, for a trace."""

    request: Request
    num_tokens: int
    num_logits: int


class Scheduler:
    """Holds the requests. It is driven step by step, by one thread."""

    def __init__(self, runner: Runner, config: EngineConfig) -> None:
        """Raises GenerationError when the runner has too few blocks for one text of max_seq_len."""
        needed = num_blocks_for(config.max_seq_len)
        if runner.num_blocks < needed:
            raise GenerationError(
                "A context of {size} tokens needs {needed} blocks, the model has {count}.",
                "Set max_seq_len lower.",
                size=config.max_seq_len,
                needed=needed,
                count=runner.num_blocks,
            )
        self.runner, self.config = runner, config
        self._forget()
        self.waiting: deque[Request] = deque()
        self.running: list[Running] = []
        self.trace: list[list[StepPart]] | None = None
        self._leaving: set[str] = set()
        self._gone: set[str] = set()

    @property
    def num_requests(self) -> int:
        """Requests that run or wait."""
        return len(self.waiting) + len(self.running)

    @property
    def has_work(self) -> bool:
        return self.num_requests > 0

    def step(self) -> None:
        """Let cancelled requests go, admit waiting ones, and compute one step of all that run."""
        self._drop_cancelled()
        self._refuse_gone()
        self._admit()
        parts = list(self._plan())
        if parts:
            self._compute(parts)
        self._let_go()

    def remove_adapter(self, key: str) -> None:
        """Forget an adapter as soon as no request that is here uses it; later ones that name it fail."""
        self._leaving.add(key)
        self._let_go()

    def _compute(self, parts: Sequence[tuple[Running, Segment]]) -> None:
        if self.trace is not None:
            self.trace.append([StepPart(one.request, len(part.ids), part.num_logits) for one, part in parts])
        try:
            logits = self.runner.forward([part for _, part in parts])
        except Exception as exc:
            logger.exception("a step of %d requests failed", len(parts))
            self._fail_running(exc)
            return
        row = 0
        for one, part in parts:
            self._take(one, part, logits[row : row + part.num_logits])
            row += part.num_logits

    @contextmanager
    def borrowed_blocks(self, num_tokens: int) -> Iterator[list[int]]:
        """Blocks for a text that is computed beside the requests. Raises BusyError while they are all taken."""
        count = num_blocks_for(num_tokens)
        if not self.prefixes.make_room(count):
            raise BusyError(
                "{needed} blocks are needed, {free} are free.",
                "Try again when fewer answers are under way.",
                needed=count,
                free=self.pool.num_free,
            )
        blocks = self.pool.take(count)
        try:
            yield blocks
        finally:
            self.pool.release(blocks)

    def cancel_all(self) -> None:
        """End every request, as if each had been cancelled."""
        for request in [*self.waiting, *(one.request for one in self.running)]:
            request.cancelled.set()
        self._drop_cancelled()

    def reset(self, error: Exception) -> None:
        """End every request with an error and forget all prefixes: begin anew after a failure of our own."""
        requests = [*(one.request for one in self.running), *self.waiting]
        self.running = []
        self.waiting.clear()
        self._forget()
        for request in requests:
            request.receiver.fail(_as_user_error(error))

    def _forget(self) -> None:
        self.pool = BlockPool(self.runner.num_blocks)
        self.prefixes = PrefixCache(self.pool)

    def _fail_running(self, error: Exception) -> None:
        """A step failed: nobody knows which of its keys and values are whole."""
        failed, self.running = self.running, []
        for one in failed:
            self.pool.release(one.blocks)
            one.request.receiver.fail(_as_user_error(error))

    def _drop_cancelled(self) -> None:
        for one in [one for one in self.running if one.request.cancelled.is_set()]:
            self._leave(one, CANCELLED)
        gone = [request for request in self.waiting if request.cancelled.is_set()]
        if gone:
            self.waiting = deque(request for request in self.waiting if request not in gone)
            for request in gone:
                _end(request, CANCELLED)

    def _let_go(self) -> None:
        if not self._leaving:
            return
        used = {request.adapter for request in [*self.waiting, *(one.request for one in self.running)]}
        for key in self._leaving - used:
            self._leaving.remove(key)
            self._gone.add(key)
            self.prefixes.forget(key)
            self.runner.remove_adapter(key)

    def _refuse_gone(self) -> None:
        for request in [request for request in self.waiting if request.adapter in self._gone]:
            self.waiting.remove(request)
            request.receiver.fail(GenerationError("The adapter was unloaded.", "Load it again."))

    def _admit(self) -> None:
        for request in list(self.waiting):
            if len(self.running) >= self.config.max_running:
                return
            if self._will_find_more(request):
                continue
            started = self._start(request)
            if started is None:
                return
            self.waiting.remove(request)
            self.running.append(started)

    def _will_find_more(self, request: Request) -> bool:
        """Whether a running request is about to compute much of this prompt's beginning, so that waiting saves it."""
        leaders = [one for one in self.running if one.num_pending > 1 and one.request.adapter == request.adapter]
        if not leaders:
            return False
        wanted = self.prefixes.match(request.prompt_ids[:-1], request.adapter).num_tokens + MIN_SHARED_TOKENS
        beginning = list(request.prompt_ids[:wanted])
        return len(beginning) == wanted and any(one.ids[:wanted] == beginning for one in leaders)

    def _start(self, request: Request) -> Running | None:
        """Give a request all blocks it can come to need, so that it never waits again; None while they lack."""
        limit = min(len(request.prompt_ids) + request.max_new_tokens, self.config.max_seq_len)
        match = self.prefixes.match(request.prompt_ids[:-1], request.adapter)  # the last token gives the first logits
        count = num_blocks_for(limit) - len(match.blocks)
        self.pool.share(match.all_blocks)
        if not self.prefixes.make_room(count) and match.source is not None:
            # The block to copy from can be the very one that lacks: do without those few tokens.
            self.pool.release([match.source])
            match = Match(match.blocks)
        if not self.prefixes.make_room(count):
            self.pool.release(match.all_blocks)
            return None
        own = self.pool.take(count)
        if match.source is not None:
            self.runner.copy_block(match.source, own[0])
            self.pool.release([match.source])
        blocks, speculates = [*match.blocks, *own], self.config.speculation
        return Running(request, blocks, match.num_tokens, limit=limit, speculates=speculates)

    def _plan(self) -> Iterable[tuple[Running, Segment]]:
        """One token and a draft for each answer, then parts of prompts, the shortest served first."""
        answering = [one for one in self.running if one.num_pending == 1]
        for one in answering:
            yield one, one.guess(len(answering))
        prompts = sorted((one for one in self.running if one.num_pending > 1), key=lambda one: one.num_pending)
        room = self.config.shared_step_tokens if answering else self.config.step_tokens
        for index, one in enumerate(prompts):
            share = -(-room // (len(prompts) - index))
            part = one.part(min(share, one.num_pending))
            if part.ids:
                room -= len(part.ids)
                yield one, part

    def _take(self, one: Running, part: Segment, logits: Tensor) -> None:
        """Tokens of one request. Its error is its own: the others go on."""
        is_first = part.num_logits > 0 and one.request.timings.completion_tokens == 0
        try:
            reason = one.take(part, logits)
        except Exception as exc:
            if not isinstance(exc, AssistantError):
                logger.exception("a request failed")
            self.running.remove(one)
            self.pool.release(one.blocks)
            one.request.receiver.fail(_as_user_error(exc))
            return
        if reason is not None:
            self._leave(one, reason)
        elif is_first:  # others that begin alike need not wait for the end
            self._keep(one)

    def _leave(self, one: Running, reason: str) -> None:
        self.running.remove(one)
        self._keep(one)
        self.pool.release(one.blocks)
        _end(one.request, reason)

    def _keep(self, one: Running) -> None:
        self.prefixes.insert(one.ids[: one.length], one.blocks, one.request.adapter)


def _end(request: Request, reason: str) -> None:
    """Tell a receiver that its request has ended, or if it fails at that, so much."""
    try:
        request.receiver.end(reason)
    except Exception as exc:
        logger.exception("the end of a request failed")
        request.receiver.fail(_as_user_error(exc))


def _as_user_error(error: Exception) -> AssistantError:
    """What a reader is told; each gets an error of its own, since threads raise it."""
    if isinstance(error, AssistantError):
        return type(error)(*error.sentences, **error.values)
    told = ModelError(
        "Computing the answer failed: {reason}.", "Ask again; the log tells more.", reason=type(error).__name__
    )
    told.__cause__ = error
    return told
