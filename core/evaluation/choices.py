"""Multiple choice by likelihood: the option is chosen whose text the model expects most behind the question.

`accuracy` compares the options' whole log-probabilities, `normalised_accuracy` those per byte, which does
not favour short options. The question is computed once: its keys and values stay in the engine's cache
while the options follow one after the other.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from core.data.streams import InputFile, input_files
from core.errors import DataError, ModelError
from core.evaluation.choice_files import Question, read_questions
from core.evaluation.intervals import share_interval
from core.evaluation.text import CHUNK_TOKENS
from core.inference.generator import LanguageModel
from core.inference.runner import Segment
from core.inference.scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class ChoiceScore:
    """Scores of one file. `chance` is what guessing gives, `num_cut` counts questions that lost their beginning."""

    file: str
    num_questions: int
    accuracy: float
    interval: tuple[float, float]
    normalised_accuracy: float
    normalised_interval: tuple[float, float]
    chance: float
    num_cut: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def evaluate_choices(
    model: LanguageModel, files: Sequence[str | Path], *, max_questions: int | None = None
) -> list[ChoiceScore]:
    """Score files of multiple-choice questions, or `max_questions` spread over each. Raises DataError for bad rows."""
    found = input_files([Path(file) for file in files])
    return [_score_file(model, file, max_questions) for file in found if not file.name.endswith(".lst")]


def _score_file(model: LanguageModel, file: InputFile, max_questions: int | None) -> ChoiceScore:
    questions = list(read_questions(file))
    limit = min(max_questions or len(questions), len(questions))
    questions = [questions[number * len(questions) // limit] for number in range(limit)]
    hits = normalised_hits = num_cut = 0
    for question in questions:
        nats, is_cut = option_nats(model, question)
        per_byte = [loss / len(option.encode()) for loss, option in zip(nats, question.options, strict=True)]
        hits += min(range(len(nats)), key=nats.__getitem__) == question.answer
        normalised_hits += min(range(len(nats)), key=per_byte.__getitem__) == question.answer
        num_cut += is_cut
    count = len(questions)
    return ChoiceScore(
        file=file.name,
        num_questions=count,
        accuracy=hits / count,
        interval=share_interval(hits, count),
        normalised_accuracy=normalised_hits / count,
        normalised_interval=share_interval(normalised_hits, count),
        chance=sum(1 / len(question.options) for question in questions) / count,
        num_cut=num_cut,
    )


def option_nats(model: LanguageModel, question: Question) -> tuple[list[float], bool]:
    """-log p of each option behind the question, and whether the question was cut to the model's context.

    A question's last letters and an option's first may be one token: what all of them share is the question.
    """
    start, encode = model.tokenizer.start_id, model.tokenizer.encode
    prompt = [start, *encode(question.text)]
    wholes = [[start, *encode(question.text + option)] for option in question.options]
    shared = min(_common_length(prompt, whole) for whole in wholes)
    shared = min(shared, min(map(len, wholes)) - 1)
    options = [whole[shared:] for whole in wholes]
    room = model.max_seq_len - max(map(len, options))
    if room < 1:
        raise DataError(
            "An option of {count} tokens exceeds the context of {most}.",
            "Leave the question out, or load the model with a larger context.",
            count=max(map(len, options)),
            most=model.max_seq_len,
        )
    kept = wholes[0][:shared][-room:]
    nats = model.engine.call(partial(_option_nats, kept, options))
    if not all(map(math.isfinite, nats)):
        raise ModelError(
            "The loss of {name} on an option is not finite: its weights are damaged.",
            "Download the model again, or go back to an earlier checkpoint.",
            name=model.name,
        )
    return nats, len(kept) < shared


def _common_length(left: Sequence[int], right: Sequence[int]) -> int:
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


@torch.inference_mode()
def _option_nats(prompt: list[int], options: list[list[int]], scheduler: Scheduler) -> list[float]:
    """On the engine's thread; each option is written over the one before it."""
    losses = []
    with scheduler.borrowed_blocks(len(prompt) + max(map(len, options))) as blocks:
        for start, part in _chunks(prompt[:-1]):
            scheduler.runner.forward([Segment(part, start, blocks, 0)])
        for option in options:
            ids = [prompt[-1], *option[:-1]]
            logits = scheduler.runner.forward([Segment(ids, len(prompt) - 1, blocks, len(ids))])  # (len(ids), V)
            losses.append(F.cross_entropy(logits, torch.tensor(option, device=logits.device), reduction="sum").item())
    return losses


def _chunks(ids: list[int]) -> Iterator[tuple[int, list[int]]]:
    return ((start, ids[start : start + CHUNK_TOKENS]) for start in range(0, len(ids), CHUNK_TOKENS))
