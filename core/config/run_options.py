"""What every run has: its stage, data and model, how long it is, where it runs, what it writes down."""

from dataclasses import dataclass
from typing import Any

from core.config.model_config import PRESETS
from core.config.schema import REQUIRED, option

SAMPLE_PROMPTS = ["The", "今天"]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The stage, and what all stages share."""

    stage: str = option(
        "pt",
        "pt learns from text, sft from conversations, rm (a reward model) and dpo from pairs of answers, ppo and grpo"
        " from rewards of what the model answers",
        choices=("pt", "sft", "rm", "dpo", "ppo", "grpo"),
    )
    data: str = option(REQUIRED, "folder that `prepare` wrote")
    mixture: dict[str, Any] = option(
        {},
        'further data sets and their shares of the rows, as {"runs/chat": 0.2}; data gives the rest',
        stages=("pt", "sft"),
    )
    output: str = option(REQUIRED, "run folder to make")
    base: str | None = option(None, "run or model folder to start from; without it the weights are fresh")
    preset: str = option("starter", "shape of a fresh model", choices=tuple(PRESETS))
    model: dict[str, Any] = option({}, 'fields of the shape that differ from the preset, as {"num_hidden_layers": 4}')

    max_steps: int | None = option(None, "optimiser steps; without it they follow from epochs", minimum=1, unit="steps")
    epochs: float = option(1.0, "passes over the data when max_steps is not given", minimum=0, maximum=10_000)
    max_seq_len: int = option(
        512, "length of one packed row; rm and dpo: longest prompt with its answer", minimum=8, unit="tokens"
    )
    micro_batch_size: int = option(8, "rows in one forward pass", minimum=1, unit="rows")
    global_batch_size: int = option(32, "rows in one optimiser step", minimum=1, unit="rows")

    precision: str = option(
        "auto",
        "arithmetic of the forward pass; weights stay fp32. auto takes bf16 where it is faster",
        choices=("auto", "fp32", "bf16"),
    )
    device: str = option(
        "auto", "where to train; auto takes a GPU when there is one", choices=("auto", "cpu", "cuda", "mps")
    )
    num_threads: int = option(0, "CPU threads; 0 is one per physical core that may be used", minimum=0, maximum=1024)
    compile: str = option(
        "auto",
        "translate the model's blocks by torch.compile, which needs a C compiler: auto does on a GPU, for models that"
        " are large enough",
        choices=("auto", "on", "off"),
    )
    seed: int = option(1, "seed of the weights and of the order of the data", minimum=0, maximum=2**31 - 1)

    checkpoint_interval_s: float = option(
        300.0, "time between checkpoints; 0 saves after every step", minimum=0, unit="s"
    )
    keep_checkpoints: int = option(2, "newest checkpoints to keep", minimum=1)
    keep_best: bool = option(False, "keep the checkpoint of the best validation too, and end with its weights")
    early_stopping: int = option(
        0, "end after so many validations that are no better than the best; 0 goes through all steps", minimum=0
    )
    validation_interval: int = option(200, "steps between validations; 0 is only at the end", minimum=0)
    validation_tokens: int = option(100_000, "most tokens of one validation", minimum=1, unit="tokens")
    log_interval: int = option(10, "steps between metric rows", minimum=1)
    sample_interval: int = option(
        0,
        "steps between texts that the model writes for you to read; 0 is never",
        minimum=0,
        stages=("pt", "sft", "dpo", "ppo", "grpo"),
    )
    sample_prompts: list[str] = option(SAMPLE_PROMPTS, "what those texts answer, or in stage pt continue")
    tensorboard: bool = option(False, "write the metrics as TensorBoard files too")
