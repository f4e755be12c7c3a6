"""Why a job failed: its kind, one sentence, and the next thing to try.

The trainer says its kind itself (`core.errors`, `core.parallel.failure`). What a process could not say, because it was
killed or is another program, is read from its exit code and the end of its stderr.
"""

import re
import signal
from dataclasses import dataclass
from typing import Any, Self

from core.errors import OUT_OF_MEMORY, AssistantError, Sentence, packed, unpacked

KINDS = ("oom", "nan", "data", "peer_lost", "disk_full", "killed", "config", "other")
MAX_SENTENCE_CHARS = 600

REMEDIES = {
    "oom": "Lower micro_batch_size or max_seq_len, or close other programs; then resume.",
    "nan": "Lower learning_rate or use precision fp32, then resume.",
    "data": "Mend or remove that file, then start again.",
    "peer_lost": "Resume: it goes on from the newest checkpoint.",
    "disk_full": "Free some space, then resume: checkpoints are untouched.",
    "killed": "Resume: it goes on from the newest checkpoint.",
    "config": "Correct the settings and start again.",
    "other": "Look at the end of the log.",
}
# Words of torch, of Python and of systems for what ends programs that do not tell a kind.
SIGNS = {
    "oom": OUT_OF_MEMORY.pattern,
    "disk_full": r"No space left on device|Disk quota exceeded|File too large|ENOSPC|not enough space on the disk",
    "peer_lost": r"Connection (closed by|reset by) peer|NCCL.*(timed? ?out|remote|abort)|lost .*rank|rendezvous",
    "data": r"DataError|JSONDecodeError|ArrowInvalid",
    "config": r"ConfigError|error: (unrecognized|argument)|ModuleNotFoundError|No module named",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """`kind` is one of KINDS, whose name the page has in each language."""

    kind: str
    sentence: str
    remedy: str

    @classmethod
    def from_dict(cls, values: Any) -> Self | None:
        """What `to_dict` or a rank's cause gave, or None for anything else."""
        try:
            sentence, remedy = unpacked(values["sentence"]), unpacked(values.get("remedy"))
        except (AttributeError, LookupError, TypeError, ValueError):
            return None
        if not isinstance(sentence, str):
            return None
        kind = values.get("kind")
        kind = kind if kind in KINDS else "other"
        return cls(kind, _bounded(sentence), remedy if remedy and isinstance(remedy, str) else REMEDIES[kind])

    @classmethod
    def of(cls, error: AssistantError) -> Self:
        """What an error of this program says."""
        return cls(error.kind, _bounded(error.whole), error.advice)

    def to_dict(self) -> dict[str, Any]:
        """As JSON that keeps the values of the sentences."""
        return {"kind": self.kind, "sentence": packed(self.sentence), "remedy": packed(self.remedy)}


def failure_of_kind(kind: str, sentence: str) -> Failure:
    """A failure with the remedy that all of its kind have."""
    return Failure(kind, _bounded(sentence), REMEDIES[kind])


def _bounded(sentence: str) -> str:
    """Of a very long one the beginning, as it was said."""
    return sentence if len(sentence) <= MAX_SENTENCE_CHARS else sentence[:MAX_SENTENCE_CHARS]


def failure_of_exit(code: int | None, stderr_tail: str, *, ran_out_of_memory: bool = False) -> Failure:
    """Why a process ended that left no word. `code` is None where only its end was seen, -N for a signal."""
    if code is not None and code < 0:
        return _killed(-code, ran_out_of_memory=ran_out_of_memory)
    line = last_line(stderr_tail)
    kind = next((kind for kind, signs in SIGNS.items() if re.search(signs, stderr_tail, re.IGNORECASE)), None)
    if code is None:
        return failure_of_kind(kind or "killed", line if kind else Sentence("The process is gone and left no word."))
    return failure_of_kind(
        kind or "other", line or Sentence("The process ended with exit code {code} and left no word.", code=code)
    )


def _killed(number: int, *, ran_out_of_memory: bool) -> Failure:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number == getattr(signal, "SIGKILL", 9) and ran_out_of_memory:
        told = Sentence("The process was killed by {name} while this machine had run out of memory.", name=name)
        return failure_of_kind("oom", told)
    return failure_of_kind("killed", Sentence("The process was killed by {name}.", name=name))


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "")
