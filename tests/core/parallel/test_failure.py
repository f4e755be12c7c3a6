"""The cause of a failed job: which of many ranks' ends was the first."""

import json
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from core.errors import DataError
from core.parallel.failure import ERROR_FILE, Cause, cause_of_failure, first_cause, own_cause, record_cause


def failure(rank: int, exit_code: int, file: Path | None = None) -> ProcessFailure:
    return ProcessFailure(rank, 100 + rank, exit_code, str(file or "none"))


def left(folder: Path, rank: int, cause: Cause, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which a rank leaves its cause."""
    path = folder / f"error-{rank}.json"
    monkeypatch.setenv(ERROR_FILE, str(path))
    record_cause(cause)
    return path


def test_an_own_error_comes_before_the_signals_that_follow_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = left(tmp_path, 1, own_cause(1, DataError("Row 3 is bad.", "Mend it.")), monkeypatch)
    error = ChildFailedError("job", {0: failure(0, -9), 1: failure(1, 1, file)})
    assert cause_of_failure(error) == Cause("Rank 1: Row 3 is bad.", is_root=True, kind="data", remedy="Mend it.")


def test_a_signal_from_outside_comes_before_what_the_others_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = left(tmp_path, 0, Cause("Rank 1 ended without a word.", is_root=False), monkeypatch)
    error = ChildFailedError("job", {0: failure(0, 13, file), 1: failure(1, -9), 2: failure(2, -15)})
    cause = cause_of_failure(error)
    assert cause.kind == "killed"
    assert str(cause) == (
        "Rank 1 (process 101) was killed by SIGKILL. If its machine was short of memory, lower micro_batch_size."
    )


def test_what_was_seen_of_another_machine_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = left(tmp_path, 0, Cause("Rank 1 lost the connection.", is_root=False), monkeypatch)
    cause = cause_of_failure(ChildFailedError("job", {0: failure(0, 13, file)}))
    assert cause == Cause("Rank 1 lost the connection.", is_root=False)


def test_a_silent_end_is_told_by_its_exit_code() -> None:
    error = ChildFailedError("job", {3: failure(3, 7)})
    assert str(cause_of_failure(error)) == "Rank 3 (process 103) ended with exit code 7 and left no cause."


def test_a_process_keeps_its_first_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = left(tmp_path, 0, Cause("first", is_root=True), monkeypatch)
    record_cause(Cause("second", is_root=True))
    assert json.loads(file.read_text())["message"] == "first"


def test_without_a_launcher_the_cause_goes_to_the_user(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ERROR_FILE, raising=False)
    record_cause(Cause("The disk is full.", is_root=True))
    assert capsys.readouterr().err == "The disk is full.\n"


def test_a_launcher_that_failed_itself_finds_what_its_ranks_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert first_cause(tmp_path) is None
    for rank, cause in enumerate((Cause("seen", is_root=False), Cause("first", is_root=True))):
        (tmp_path / str(rank)).mkdir()
        monkeypatch.setenv(ERROR_FILE, str(tmp_path / str(rank) / "error.json"))
        record_cause(cause)
    assert first_cause(tmp_path) == Cause("first", is_root=True)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_memory_that_was_not_there_is_told_whoever_says_it(error: Exception) -> None:
    assert own_cause(0, error).kind == "oom"
    outer = ValueError("the step failed")
    outer.__cause__ = error
    assert own_cause(0, outer).kind == "oom"
    assert own_cause(0, ValueError("a bad row")).kind == "other"
