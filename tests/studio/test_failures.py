"""Kinds of failures."""

import signal

import pytest

from core.errors import ConfigError, DataError, TrainingError
from core.parallel.failure import own_cause
from studio.failures import KINDS, MAX_SENTENCE_CHARS, REMEDIES, Failure, failure_of_exit


@pytest.mark.parametrize(
    ("code", "stderr", "kind", "sentence"),
    [
        (1, "Traceback …\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n", "oom", "torch.Out"),
        (
            1,
            "RuntimeError: [enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory",
            "oom",
            "Runtime",
        ),
        (1, "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate", "oom", "RuntimeError"),
        (1, "OSError: [Errno 28] No space left on device\n\n", "disk_full", "OSError"),
        (1, "RuntimeError: [gloo/pair.cc] Connection closed by peer", "peer_lost", "RuntimeError"),
        (1, "core.errors.DataError: a.jsonl line 3 is no JSON", "data", "core.errors.DataError"),
        (2, "error: unrecognized arguments: --x", "config", "error:"),
        (7, "", "other", "The process ended with exit code 7 and left no word."),
        (None, "a warning", "killed", "The process is gone and left no word."),
        (-signal.SIGKILL, "a warning", "killed", "The process was killed by SIGKILL."),
        (-signal.SIGSEGV, "", "killed", "The process was killed by SIGSEGV."),
        (-77, "", "killed", "The process was killed by signal 77."),
    ],
)
def test_an_end_without_a_word_is_told_by_its_code_and_its_last_lines(
    code: int | None, stderr: str, kind: str, sentence: str
) -> None:
    failure = failure_of_exit(code, stderr)
    assert failure.kind == kind
    assert failure.sentence.startswith(sentence)
    assert failure.remedy == REMEDIES[kind]


def test_a_kill_while_memory_ran_out_is_that() -> None:
    failure = failure_of_exit(-signal.SIGKILL, "", ran_out_of_memory=True)
    assert (failure.kind, failure.sentence) == (
        "oom",
        "The process was killed by SIGKILL while this machine had run out of memory.",
    )
    assert failure_of_exit(-signal.SIGTERM, "", ran_out_of_memory=True).kind == "killed"


def test_every_kind_has_a_remedy() -> None:
    assert set(REMEDIES) == set(KINDS)


@pytest.mark.parametrize(
    "values",
    [
        *(None, 3, {}, {"sentence": 3}),
        *({"sentence": {"template": told, "values": {"a": "x"}}} for told in ("{}", "{b}", "{a:,}", "{a.b}")),
    ],
)
def test_what_is_no_failure_is_none(values: object) -> None:
    assert Failure.from_dict(values) is None


def test_an_unknown_kind_is_other_and_a_long_sentence_is_cut() -> None:
    failure = Failure.from_dict({"kind": "of a later version", "sentence": "x" * 10_000})
    assert failure == Failure("other", "x" * MAX_SENTENCE_CHARS, REMEDIES["other"])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConfigError("a", "b"), "config"),
        (DataError("a", "b"), "data"),
        (TrainingError("a", "b"), "other"),
        (TrainingError("a", "b", kind="nan"), "nan"),
        (MemoryError(), "oom"),
        (OSError(28, "No space left on device"), "disk_full"),
        (ValueError("a"), "other"),
    ],
)
def test_the_trainer_tells_the_kind_of_its_errors(error: Exception, kind: str) -> None:
    assert own_cause(0, error).kind == kind
