"""What a supervisor does with a job that does not do as it is asked."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from core.config.train_config import TrainConfig
from core.files import write_json
from studio import JobSpec, JobState, JobStore, processes, supervisor
from studio.child import MAX_LOG_BYTES, Rows, bound_log
from studio.identity import ProcessIdentity
from studio.job_folder import Attempt, End, JobFolder
from studio.supervisor import Supervisor
from tests.studio.conftest import wait_for, wait_for_step

Supervise = Callable[..., tuple[JobFolder, threading.Thread]]


@pytest.fixture
def supervise(store: JobStore) -> Supervise:
    """Runs a supervisor of little patience in a thread, for a run of tests/studio/trainer.py."""

    def supervise(*, patience_s: float, **options: object) -> tuple[JobFolder, threading.Thread]:
        spec = JobSpec("train", "test", 1.0, module="tests.studio.trainer", metadata=options)
        config = TrainConfig.from_dict({"data": "none", "output": "of the job"})
        attempt = Attempt(1, "starting", 1.0, supervisor=ProcessIdentity.this())
        folder = store.add("run", spec, lambda made: write_json(made.config, config.to_dict()))
        folder.write_attempt(attempt)
        thread = threading.Thread(target=Supervisor(folder, attempt, patience_s=patience_s).run)
        thread.start()
        return folder, thread

    return supervise


def end_of(folder: JobFolder, thread: threading.Thread) -> End:
    thread.join(60)
    end = folder.read_end(1)
    assert end is not None
    return end


def test_a_job_that_does_not_hear_is_ended_after_the_patience(store: JobStore, supervise: Supervise) -> None:
    folder, thread = supervise(patience_s=0.5, num_steps=9, is_deaf=True, hangs_at=3)
    wait_for_step(store, "run", 2)
    folder.stop.touch()
    end = end_of(folder, thread)
    assert (end.state, end.code, end.failure) == (JobState.STOPPED, -9, None)
    assert not folder.stop.exists()


@pytest.mark.slow
def test_a_checkpoint_that_is_being_written_is_never_cut_off(store: JobStore, supervise: Supervise) -> None:
    folder, thread = supervise(patience_s=1.0, num_steps=10_000, step_s=0.02, save_parts=8, save_s=0.5)
    wait_for_step(store, "run", 2)
    folder.stop.touch()
    end = end_of(folder, thread)
    assert (end.state, end.code) == (JobState.STOPPED, 0)
    assert (folder.root / f"checkpoints/step-{end.step:08d}/model.safetensors").stat().st_size == 8 * len("weights")


def test_a_stop_before_the_first_step_ends_at_once(store: JobStore, supervise: Supervise) -> None:
    folder, thread = supervise(patience_s=60, num_steps=10_000)
    folder.stop.touch()
    assert end_of(folder, thread).state is JobState.STOPPED


def test_the_end_is_written_when_a_full_disk_has_room_again(
    store: JobStore, supervise: Supervise, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_end = JobFolder.write_end

    def refuse(folder: JobFolder, attempt: int, end: End) -> None:
        if folder.reserve.exists():
            raise OSError(28, "No space left on device")
        write_end(folder, attempt, end)

    monkeypatch.setattr(JobFolder, "write_end", refuse)
    monkeypatch.setattr(supervisor, "RETRY_S", 0.01)
    folder, thread = supervise(patience_s=60, num_steps=2)
    assert end_of(folder, thread).state is JobState.FINISHED


def test_rows_are_read_as_they_become_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    rows = Rows(path)
    assert rows.poll() == []
    with path.open("ab", buffering=0) as file:
        file.write(b'{"step": 1}\nno row\n{"step"')
        assert rows.poll() == [{"step": 1}]
        file.write(b": 2}\n[3]\n{broken\n")
        assert rows.poll() == [{"step": 2}]
        file.truncate(0)
        file.write(b'{"step": 9}\n')
        assert rows.poll() == [{"step": 9}]


def test_a_long_log_keeps_its_last_lines_and_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("ab", buffering=0) as file:
        for number in range(MAX_LOG_BYTES // 100 + 2):
            file.write(f"{number:99}\n".encode())
        assert bound_log(path)
        file.write(b"after\n")
        lines = path.read_text().splitlines()
        assert lines[-2:] == [f"{MAX_LOG_BYTES // 100 + 1:99}", "after"]
        assert {len(line) for line in lines[:-1]} == {99}
        assert not bound_log(path)


def test_processes_are_ended_until_none_is_left(store: JobStore, supervise: Supervise) -> None:
    folder, thread = supervise(patience_s=60, num_steps=10_000, step_s=0.02, with_rank=True)
    wait_for((folder.root / "port").exists)
    assert len(processes.processes_of(folder.root)) == 2
    folder.kill.touch()
    assert end_of(folder, thread).state is JobState.STOPPED
    assert processes.processes_of(folder.root) == []
