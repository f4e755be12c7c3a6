"""Trains the table: token vectors whose sum puts a question near its passage, in either language.

The English rows start as the teacher's vectors of the pieces (as model2vec does), the Chinese ones as the mean of
their translations. Then one contrastive loss, InfoNCE with in-batch negatives, on three kinds of pairs: question
and passage, parallel rows, instruction and answer. Each token's weight is its vector's length, learned with it.
Sources: van den Oord et al. 2018 (InfoNCE); Henderson et al. 2017 (in-batch negatives).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from rag.embedding.static import weigh
from recipes.embedder.batches import Ids, Sampler

Pairs = list[tuple[Ids, Ids]]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Batch sizes in pairs, rates of Adagrad."""

    minutes: float = 8.0
    batch: int = 768
    parallel_batch: int = 256
    question_batch: int = 64
    parallel_weight: float = 0.5
    question_weight: float = 0.25
    temperature: float = 0.05
    learning_rate: float = 0.015
    weight_learning_rate: float = 0.1
    max_tokens: int = 96


def start_table(
    num_tokens: NDArray[np.int64],
    teacher: NDArray[np.float32] | None,
    lexicon: dict[int, Ids],
    dim: int,
    generator: Generator,
) -> Tensor:
    """Vectors (V, dim) to start from: the teacher's where there are any, else their translations' mean, else noise.

    `num_tokens` counts each token in the corpus; a frequent one starts short: length a / (a + p), Arora et al. 2017.
    """
    table = generator.standard_normal((len(num_tokens), dim)).astype(np.float32)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    if teacher is not None:
        known = np.linalg.norm(teacher, axis=1) > 0
        centred = teacher - teacher[known].mean(axis=0)
        centred /= np.linalg.norm(centred, axis=1, keepdims=True) + 1e-9
        table[known] = 0.8 * centred[known] + 0.6 * table[known]
        for token, others in lexicon.items():
            if not known[token] and known[others].any():
                mean = table[others[known[others]]].mean(axis=0)
                table[token] = 0.8 * mean / (np.linalg.norm(mean) + 1e-9) + 0.6 * table[token]
    share = num_tokens / max(1, num_tokens.sum())
    return torch.from_numpy(table * (1e-3 / (1e-3 + share))[:, None].astype(np.float32))


class Table(nn.Module):
    """Sums of token vectors as `rag.embedding` makes them; a token's weight is learned apart, at a rate of its own."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag.from_pretrained(rows, freeze=False, mode="sum")
        self.log_weights = nn.Parameter(torch.zeros(len(rows)))

    def forward(self, texts: list[Ids]) -> Tensor:
        """(len(texts), dim)."""
        weighed = [weigh(ids) for ids in texts]
        lengths = [len(tokens) for tokens, _ in weighed]
        offsets = torch.from_numpy(np.cumsum([0, *lengths[:-1]]))
        tokens, counts = (torch.from_numpy(np.concatenate(part)) for part in zip(*weighed, strict=True))
        return F.normalize(self.bag(tokens, offsets, counts * self.log_weights.exp()[tokens]), dim=-1)

    def rows(self) -> NDArray[np.float32]:
        """The weighted vectors (V, dim)."""
        rows: NDArray[np.float32] = (self.bag.weight * self.log_weights.exp()[:, None]).detach().numpy()
        return rows


def info_nce(left: Tensor, right: Tensor, temperature: float) -> Tensor:
    """Mean of both directions' cross-entropy over in-batch negatives; rows of left and right (B, D) belong together."""
    logits = left @ right.T / temperature
    target = torch.arange(len(left))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def train(
    table: Table,
    sampler: Sampler,
    pairs: tuple[Pairs, Pairs],
    schedule: Schedule,
    generator: Generator,
    report: Say,
) -> int:
    """Train for `minutes`; returns the steps. `pairs` are the parallel rows and the instructions with answers."""
    # Adam's momentum would go on moving a rare token's row for steps after its one gradient.
    rates = {table.bag.weight: schedule.learning_rate, table.log_weights: schedule.weight_learning_rate}
    optimizer = torch.optim.Adagrad([{"params": [part], "lr": rate} for part, rate in rates.items()])
    started, step, past = time.perf_counter(), 0, 0.0
    while past < 1:
        for group, rate in zip(optimizer.param_groups, rates.values(), strict=True):
            group["lr"] = rate * min(1.0, (step + 1) / 30) * (0.5 + 0.5 * math.cos(math.pi * past))
        queries, passages = sampler.batch(schedule.batch)
        losses = {"retrieval": info_nce(table(queries), table(passages), schedule.temperature)}
        for name, rows, size in zip(
            ("parallel", "questions"), pairs, (schedule.parallel_batch, schedule.question_batch), strict=True
        ):
            left, right = _drawn(rows, size, schedule.max_tokens, generator)
            losses[name] = info_nce(table(left), table(right), schedule.temperature)
        weights = {"retrieval": 1.0, "parallel": schedule.parallel_weight, "questions": schedule.question_weight}
        loss = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        step += 1
        past = (time.perf_counter() - started) / 60 / schedule.minutes
        if step % 25 == 0:
            report(f"step {step} " + " ".join(f"{name} {value.item():.3f}" for name, value in losses.items()))
    return step


def _drawn(rows: Pairs, size: int, max_tokens: int, generator: Generator) -> tuple[list[Ids], list[Ids]]:
    chosen = [rows[index] for index in generator.integers(len(rows), size=size)]
    return [left[:max_tokens] for left, _ in chosen], [right[:max_tokens] for _, right in chosen]
