"""Completions of many prompts at once by our own engine, drawn from the very weights that are being trained.

The scheduler runs in the caller's thread over a TorchRunner on the live policy: no weight is copied, and keys and
values live as long as one call, since the next step's weights give others. Completions of one prompt share its
keys and values. What is drawn is a pure function of weights, requests and seeds; the neighbours in a batch matter
only by the rounding of the batched products.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from core.config.param_config import SamplingConfig
from core.errors import AssistantError, TrainingError
from core.inference.request import LENGTH, Request
from core.inference.runner import num_blocks_for
from core.inference.sampling import Choice, Sampler
from core.inference.scheduler import EngineConfig, Scheduler
from core.inference.torch_runner import TorchRunner
from core.model.transformer import Transformer

# Of prompts in one step: nobody waits for a first word here, and large products are the fast ones.
STEP_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class Draw:
    """One completion to make: `sample` tells those of one prompt apart, the seed follows from all of `key`."""

    prompt_ids: Sequence[int]
    key: tuple[int, ...]

    @property
    def seed(self) -> int:
        return int(np.random.SeedSequence(self.key).generate_state(1, np.uint64)[0] >> np.uint64(1))


@dataclass(slots=True)
class Completion:
    """What was drawn, with the token that ended it; `is_cut` where max_new_tokens did. A Receiver."""

    stop_ids: frozenset[int]
    ids: list[int] = field(default_factory=list)
    is_cut: bool = False

    def push(self, choice: Choice) -> bool:
        """Keep the token, unlike an answer's reader: its log-probability is learnt from too."""
        self.ids.append(choice.token)
        return choice.token in self.stop_ids

    def end(self, reason: str) -> None:
        """See `Receiver`."""
        self.is_cut = reason == LENGTH

    def fail(self, error: BaseException) -> None:
        """See `Receiver`. The scheduler runs in the caller's own thread, so what went wrong is raised through it."""
        if not isinstance(error.__cause__, AssistantError | None):
            raise error.__cause__  # as it was: the Trainer knows what to say when memory is out
        raise TrainingError(
            "The policy cannot generate: {reason}",
            "Lower learning_rate or raise kl_coef, then --resume.",
            reason=error.whole if isinstance(error, AssistantError) else str(error),
        ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutConfig:
    """How completions are drawn: at most max_new_tokens of softmax(logits / temperature), 0 being greedy.

    `max_running` completions are under way at once; all their blocks are there from the beginning, whatever the
    memory that happens to be free, so that a draw never depends on it.
    """

    stop_ids: frozenset[int]
    max_new_tokens: int
    temperature: float
    max_running: int


def complete(model: Transformer, draws: Sequence[Draw], rollout: RolloutConfig) -> list[Completion]:
    """Complete each prompt; draws of one prompt stand together. Raises TrainingError when logits are not numbers."""
    max_seq_len = max(len(draw.prompt_ids) for draw in draws) + rollout.max_new_tokens
    max_running = min(rollout.max_running, len(draws))
    config = EngineConfig(
        max_seq_len=max_seq_len,
        max_running=max_running,
        step_tokens=STEP_TOKENS,
        shared_step_tokens=STEP_TOKENS,
        speculation=False,
    )
    scheduler = Scheduler(TorchRunner(model, max_running * num_blocks_for(max_seq_len)), config)
    completions = [Completion(rollout.stop_ids) for _ in draws]
    requests = [
        Request(draw.prompt_ids, _sampler(model, draw, rollout.temperature), completion, rollout.max_new_tokens)
        for draw, completion in zip(draws, completions, strict=True)
    ]
    was_training = model.training
    model.eval()
    try:
        _run(scheduler, requests)
    finally:
        model.train(was_training)
    return completions


def _sampler(model: Transformer, draw: Draw, temperature: float) -> Sampler:
    sampling = SamplingConfig(temperature=temperature, top_p=1.0, seed=draw.seed)
    return Sampler(sampling, draw.prompt_ids, vocab_size=model.config.vocab_size)


def _run(scheduler: Scheduler, requests: Sequence[Request]) -> None:
    """The first draw of each prompt goes a step ahead, so that the others find the prompt computed."""
    seen: list[Sequence[int]] = []
    later: list[Request] = []
    for request in requests:
        is_first = not seen or request.prompt_ids != seen[-1]
        seen.append(request.prompt_ids)
        (scheduler.waiting if is_first else later).append(request)
    scheduler.step()
    scheduler.waiting.extend(later)
    while scheduler.has_work:
        scheduler.step()
