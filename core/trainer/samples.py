"""Texts that a model writes while it trains, so that one sees what the loss does not say: `samples.jsonl`."""

import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import torch

from core.data.chat_template import ChatTemplate
from core.errors import AssistantError, is_out_of_memory
from core.inference.generator import LanguageModel
from core.trainer.callbacks import ProgressReporter, StepResult
from core.trainer.memory import wanted_memory
from core.trainer.metrics import append_row
from core.trainer.train_context import TrainContext

logger = logging.getLogger(__name__)

MAX_NEW_TOKENS = 64


class SamplesCallback:
    """Lets the model answer the config's prompts every `sample_interval` steps and at the end, greedily.

    A model in pre-training continues the prompts, later ones answer them. Where memory is short the texts are left
    out, and the run goes on.
    """

    def __init__(self, path: Path, report: ProgressReporter | None) -> None:
        self._path, self._report = path, report
        self._sampled_step = -1

    def after_step(self, context: TrainContext, result: StepResult) -> None:
        if context.step % context.config.sample_interval == 0:
            self._sample(context)

    def at_end(self, context: TrainContext) -> None:
        if context.step != self._sampled_step:
            self._sample(context)

    def _sample(self, context: TrainContext) -> None:
        self._sampled_step = context.step
        prompts = context.config.sample_prompts
        try:
            texts = sample(context, prompts)
        except (AssistantError, RuntimeError, MemoryError) as exc:
            if not is_out_of_memory(exc):
                raise
            logger.warning(
                "Step %d found no memory%s to write samples and goes on without: lower micro_batch_size (now %d), give"
                " shorter sample_prompts, or set sample_interval to 0.",
                context.step,
                f" for {wanted}" if (wanted := wanted_memory(exc)) else "",
                context.config.micro_batch_size,
            )
            return
        for prompt, text in zip(prompts, texts, strict=True):
            row = {"attempt": context.attempt, "step": context.step, "prompt": prompt, "text": text}
            append_row(self._path, row)
            if self._report:
                self._report({"step": context.step, "sample": row})


@torch.no_grad()
def sample(context: TrainContext, prompts: Sequence[str]) -> list[str]:
    """Greedy continuations or answers of at most MAX_NEW_TOKENS tokens, from the weights as they are.

    The cache has room for the longest of them, not for the whole context.
    """
    prompt_ids = [_prompt_ids(context, prompt) for prompt in prompts]
    needed = max(map(len, prompt_ids), default=0) + MAX_NEW_TOKENS
    context.model.eval()
    try:
        speaker = LanguageModel(
            context.policy,
            context.tokenizer,
            name=context.run.root.name,
            quantization="none",
            max_seq_len=min(needed, context.policy.config.max_position_embeddings),
            max_running=1,
        )
        with closing(speaker):
            return [speaker.stream(ids, temperature=0, max_new_tokens=MAX_NEW_TOKENS).read() for ids in prompt_ids]
    finally:
        context.model.train()


def _prompt_ids(context: TrainContext, prompt: str) -> list[int]:
    """The beginning of a text, or a question with the tokens that open its answer."""
    tokenizer = context.tokenizer
    if context.config.stage == "pt":
        return [*tokenizer.start_ids, *tokenizer.encode(prompt)]
    messages = [{"role": "user", "content": prompt}]
    return ChatTemplate(tokenizer).encode(messages, add_generation_prompt=True)
