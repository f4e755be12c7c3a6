"""Texts that a model writes while it trains, so that one sees what the loss does not say: `samples.jsonl`."""

from pathlib import Path
from typing import Any

import torch

from core.inference.generator import LanguageModel
from core.trainer.callbacks import ProgressReporter, StepResult
from core.trainer.metrics import append_row
from core.trainer.train_context import TrainContext

MAX_NEW_TOKENS = 64


class SamplesCallback:
    """Lets the model answer the config's prompts every `sample_interval` steps and at the end, greedily.

    A model in pre-training continues the prompts, later ones answer them.
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
        for prompt, text in zip(prompts, sample(context, prompts), strict=True):
            row = {"attempt": context.attempt, "step": context.step, "prompt": prompt, "text": text}
            append_row(self._path, row)
            if self._report:
                self._report({"step": context.step, "sample": row})


@torch.no_grad()
def sample(context: TrainContext, prompts: list[str]) -> list[str]:
    """Greedy continuations or answers of at most MAX_NEW_TOKENS tokens, from the weights as they are."""
    context.model.eval()
    speaker = LanguageModel(
        context.policy,
        context.tokenizer,
        name=context.run.root.name,
        quantization="none",
        max_seq_len=context.policy.config.max_position_embeddings,
        max_running=1,
    )
    options: dict[str, Any] = {"temperature": 0, "max_new_tokens": MAX_NEW_TOKENS}
    try:
        if context.config.stage == "pt":
            return speaker.generate(prompts, **options)
        return ["".join(speaker.chat([{"role": "user", "content": prompt}], **options)) for prompt in prompts]
    finally:
        speaker.close()
        context.model.train()
