"""From the user's preferences to runs: a reward model, reinforcement learning with it, or DPO of the model in chat.

Each starts from the model itself and not from an earlier version of it, with every pair that was accepted so far: a
version never drifts from one before it. The adapter is trained beside the base in the very form that chat serves it
in, so that what is learnt is what is served (docs/decisions/0013). Data and settings follow from the pairs alone.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.train_config import TrainConfig
from core.data.chat_template import ChatTemplate
from core.data.tokenizer import Tokenizer
from core.errors import DataError
from core.files import read_json_object, write_bytes
from core.model.folder import ADAPTER_CONFIG, CONFIG, find_model
from studio.job_folder import Job, JobState
from studio.job_store import JobStore
from studio.runner import start

PAIRS = "pairs.jsonl"
# Fewer pairs than these teach next to nothing that is seen on others; a run is started all the same.
ENOUGH_PAIRS = {"dpo": 40, "rm": 200, "grpo": 40}
HELD_OUT_SHARE = 0.15
SERVED_FORMS = ("int8", "int4")  # that an adapter can be trained beside
LENGTH_STEP, MAX_LENGTH = 64, 2048
# Pairs that a run sees in all: a few are seen up to MAX_EPOCHS times.
PAIRS_SEEN, MAX_EPOCHS = 300, 3
GENTLE = {"weight_decay": 0.0, "schedule": {"kind": "linear", "warmup_ratio": 0.1, "min_ratio": 0.1}}
ADAPTER = {"adapter": "lora", "lora_rank": 16, "lora_alpha": 32.0}

# Of adapters of a model this wide; wider ones take smaller steps, in proportion: 1.2e-4 for 2048.
LEARNING_RATE, WIDTH, USUAL_WIDTH = 1e-3, 256, 2048

Row = Mapping[str, Any]  # messages, chosen, rejected
Conversation = Mapping[str, Any]  # messages, the last of them an answer worth keeping


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether there are pairs enough for a stage."""

    num_pairs: int
    enough: int

    @property
    def num_missing(self) -> int:
        return max(self.enough - self.num_pairs, 0)


@dataclass(frozen=True, slots=True)
class Subject:
    """The model that is improved: its folder or file, and the form that chat serves it in."""

    path: Path
    quantization: str

    @property
    def base_quantization(self) -> str:
        return self.quantization if self.quantization in SERVED_FORMS else "none"


def readiness(stage: str, num_pairs: int) -> Readiness:
    """How many pairs a stage has and wants: `dpo`, `rm` or `grpo`."""
    return Readiness(num_pairs, ENOUGH_PAIRS[stage])


def improve(
    store: JobStore,
    subject: Subject,
    rows: Sequence[Row],
    *,
    replay: Sequence[Conversation] = (),
    name: str = "",
    queued: bool = False,
) -> Job:
    """DPO of an adapter beside the model. Conversations of `replay` are learnt as they are, one for each pair at most.

    Raises: DataError without pairs, and as `studio.start` does.
    """
    length = longest_tokens(subject.path, rows)
    num_epochs = epochs(len(rows))
    values = {
        **ADAPTER,
        "stage": "dpo",
        "base_quantization": subject.base_quantization,
        "beta": 0.1,
        "sft_weight": 1.0,
        "learning_rate": learning_rate(subject.path),
        "epochs": float(num_epochs),
        "cache_reference": num_epochs > 1,
        **rows_per_step(len(rows)),
    }
    kept = replay[: len(rows)]
    return _start(store, subject, [*rows, *kept], values, length=length, name=name, queued=queued)


def train_reward_model(
    store: JobStore, subject: Subject, rows: Sequence[Row], *, name: str = "", queued: bool = False
) -> Job:
    """A reward model of all weights, as such a model has a head that no adapter holds. Raises as `improve` does."""
    values = {
        "stage": "rm",
        "learning_rate": learning_rate(subject.path) / 10,  # of all weights
        "epochs": float(epochs(len(rows))),
        "reward_centring": 0.01,
        **rows_per_step(len(rows)),
    }
    length = longest_tokens(subject.path, rows)
    return _start(store, subject, rows, values, length=length, name=name, queued=queued)


def reinforce(  # noqa: PLR0913 - what is learnt from by position, the rest by keyword
    store: JobStore,
    subject: Subject,
    rows: Sequence[Row],
    *,
    reward_model: Path,
    name: str = "",
    queued: bool = False,
    max_new_tokens: int = 128,
) -> Job:
    """GRPO of an adapter: the model answers the questions of the pairs, a reward model scores. Raises as `improve`."""
    values = {
        **ADAPTER,
        "stage": "grpo",
        "base_quantization": subject.base_quantization,
        "reward_model": str(reward_model),
        "learning_rate": learning_rate(subject.path) / 2,
        "max_new_tokens": max_new_tokens,
        "micro_batch_size": 1,
        "global_batch_size": 4,
        "epochs": 1.0,
    }
    length = longest_tokens(subject.path, rows) + max_new_tokens
    return _start(store, subject, rows, values, length=length, name=name, queued=queued)


def epochs(num_pairs: int) -> int:
    """Passes over the pairs."""
    return max(1, min(MAX_EPOCHS, PAIRS_SEEN // max(num_pairs, 1)))


def learning_rate(model: Path) -> float:
    """The peak for adapters of a model, by its width."""
    return LEARNING_RATE * WIDTH / width(model)


def num_threads(model: Path) -> int:
    """One for a model so small that waking a second thread costs more than it saves, else all."""
    return 1 if width(model) <= WIDTH else 0


def width(model: Path) -> int:
    """The size of a model's hidden states; that of a GGUF file is taken for USUAL_WIDTH."""
    return _shape(model, "hidden_size", USUAL_WIDTH)


def rows_per_step(num_pairs: int) -> dict[str, int]:
    """Rows of a step: a row holds two pairs or more, and a run wants some dozens of steps."""
    return {"micro_batch_size": 1, "global_batch_size": 1 if num_pairs < 400 else 4}


def longest_tokens(model: Path, rows: Iterable[Row]) -> int:
    """Tokens of the longest conversation with either answer, rounded up, within MAX_LENGTH: longer ones are cut.

    Raises: DataError without a pair, ModelError without a tokenizer.
    """
    template = ChatTemplate(Tokenizer.load(find_model(model)))
    lengths = [
        len(template.encode([*row["messages"], _answer(row[side])], add_generation_prompt=False))
        for row in rows
        for side in ("chosen", "rejected")
    ]
    if not lengths:
        raise DataError("No pair was accepted yet.", "Rate or correct answers in chat, then keep the pairs here.")
    return min(-(-(max(lengths) + 1) // LENGTH_STEP) * LENGTH_STEP, MAX_LENGTH)


def versions(store: JobStore, model: Path) -> list[Job]:
    """The finished runs that made an adapter of a model, newest first."""
    return [
        job
        for job in store.jobs()
        if job.state is JobState.FINISHED
        and job.spec.metadata.get("improves") == str(model)
        and (job.folder / "model" / ADAPTER_CONFIG).exists()
    ]


def reward_models(store: JobStore, model: Path) -> list[Job]:
    """The finished reward models that were trained from a model, newest first."""
    return [
        job for job in store.jobs() if job.state is JobState.FINISHED and job.spec.metadata.get("judges") == str(model)
    ]


def _shape(model: Path, name: str, otherwise: int) -> int:
    """A number of a model's config, where it has one."""
    config = find_model(model) / CONFIG
    found = read_json_object(config).get(name) if config.exists() else None
    return found if isinstance(found, int) and found > 0 else otherwise


def _answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _start(  # noqa: PLR0913 - all by keyword
    store: JobStore,
    subject: Subject,
    rows: Sequence[Row],
    values: dict[str, Any],
    *,
    length: int,
    name: str,
    queued: bool,
) -> Job:
    length = min(length, _shape(subject.path, "max_position_embeddings", MAX_LENGTH))
    places = {"base": str(subject.path), "data": "of the run", "output": "of the run"}
    config = TrainConfig.from_dict(
        {**GENTLE, **values, **places, "max_seq_len": length, "num_threads": num_threads(subject.path)}
    )
    folder = store.root / "preferences" / store.new_id(config.stage)
    write_bytes(folder / PAIRS, "".join(json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows).encode())
    prepare = {
        "paths": [str(folder / PAIRS)],
        "kind": "preference",
        "validation_ratio": HELD_OUT_SHARE,
        "drop_duplicates": False,  # a ranking's pairs share their answers
        "min_chars": 2,
        "replay": True,
        "workers": 1,
    }
    metadata = {
        "judges" if config.stage == "rm" else "improves": str(subject.path),
        "num_pairs": sum("rejected" in row for row in rows),
    }
    return start(store, config, name=name, prepare=prepare, queued=queued, metadata=metadata)
