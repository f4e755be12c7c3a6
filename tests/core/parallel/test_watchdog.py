"""The watchdog: an end of any kind is noticed and named, a pause of ours is not mistaken for one."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import torch.distributed as dist

from core.errors import TrainingError
from core.parallel.failure import Cause
from core.parallel.watchdog import Process, Watchdog, is_lost_connection

SILENCE_S = 0.9


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Watchdog, Watchdog]]:
    """The watchdogs of two ranks, before they start."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    yield Watchdog(0, 2, silence_s=SILENCE_S), Watchdog(1, 2, silence_s=SILENCE_S)
    del store


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Another process of this machine."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"]) as process:
        yield process
        process.kill()


def meet(first: Watchdog, second: Watchdog) -> None:
    """Let both know each other without their threads."""
    for watchdog, other in ((first, second), (second, first)):
        watchdog._processes = {other._rank: other._process}


def look_for(watchdog: Watchdog, seconds: float) -> Cause | None:
    """What a watchdog sees when it looks often for so long."""
    end = time.monotonic() + seconds
    cause = None
    while cause is None and time.monotonic() < end:
        time.sleep(0.1)
        cause = watchdog._look()
    return cause


def test_ranks_that_both_beat_are_well(pair: tuple[Watchdog, Watchdog]) -> None:
    first, second = pair
    meet(first, second)
    for _ in range(15):
        assert look_for(first, 0.1) is None
        assert look_for(second, 0.1) is None


def test_the_error_of_a_rank_is_the_cause_for_all(pair: tuple[Watchdog, Watchdog]) -> None:
    first, second = pair
    meet(first, second)
    told = second.explain(TrainingError("The disk is full.", "Free some space."))
    assert first._look() == told
    assert told == Cause("Rank 1: The disk is full.", is_root=True, remedy="Free some space.")
    assert first.explain(RuntimeError("[/gloo/pair.cc] Connection closed by peer")) == told


def test_of_two_errors_the_first_one_stands(pair: tuple[Watchdog, Watchdog]) -> None:
    first, second = pair
    second.explain(ValueError("first\nand more"))
    first.explain(ValueError("second"))
    assert first._look() == second._look() == Cause("Rank 1: ValueError: first", is_root=True)


def test_a_process_that_is_gone_is_named_at_once(
    pair: tuple[Watchdog, Watchdog], sleeper: subprocess.Popen[bytes]
) -> None:
    first, _ = pair
    here = Process.this()
    first._processes = {1: Process(here.host, here.space, sleeper.pid)}
    assert first._look() is None
    sleeper.kill()
    while not Process(here.host, here.space, sleeper.pid).is_gone:
        time.sleep(0.01)
    cause = first._look()
    sentence = f"Rank 1 (process {sleeper.pid} on {here.host}) ended without a word."
    assert cause == Cause(sentence, is_root=False, kind="peer_lost")


def test_a_rank_that_has_said_it_is_done_may_go(
    pair: tuple[Watchdog, Watchdog], sleeper: subprocess.Popen[bytes]
) -> None:
    first, second = pair
    here = Process.this()
    first._processes = {1: Process(here.host, here.space, sleeper.pid)}
    second.stop()
    sleeper.kill()
    sleeper.wait()
    assert look_for(first, 2 * SILENCE_S) is None


def test_a_silent_rank_of_this_machine_is_named_and_killed(
    pair: tuple[Watchdog, Watchdog], sleeper: subprocess.Popen[bytes]
) -> None:
    first, _ = pair
    here = Process.this()
    first._processes = {1: Process(here.host, here.space, sleeper.pid)}
    cause = look_for(first, 5 * SILENCE_S)
    assert cause is not None
    assert cause.is_root
    assert f"Rank 1 (process {sleeper.pid} on {here.host}) has not answered for 1 s" in cause.sentence
    assert sleeper.wait(timeout=10) == -signal.SIGKILL


def test_a_silent_rank_of_another_machine_is_named(pair: tuple[Watchdog, Watchdog]) -> None:
    first, _ = pair
    first._processes = {1: Process("elsewhere", "", 1)}
    cause = look_for(first, 5 * SILENCE_S)
    assert cause is not None
    assert "Rank 1 (process 1 on elsewhere) has not answered" in cause.sentence


def test_a_pause_of_the_whole_machine_is_no_silence_of_others(pair: tuple[Watchdog, Watchdog]) -> None:
    first, _ = pair
    first._processes = {1: Process("elsewhere", "", 1)}
    assert first._look() is None
    time.sleep(1.5 * SILENCE_S)
    assert first._look() is None


def test_the_end_of_the_launcher_is_named(pair: tuple[Watchdog, Watchdog]) -> None:
    first, _ = pair
    first._launcher = 1234567
    cause = first._look()
    assert cause is not None
    assert cause.sentence == "Rank 0 lost its launcher (process 1234567), which ended."


def test_the_end_of_the_store_is_named(pair: tuple[Watchdog, Watchdog], monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = pair

    def refuse(*_: object) -> None:
        raise dist.DistNetworkError("Connection reset by peer")

    monkeypatch.setattr(first, "_store", type("Store", (), {"set": refuse}))
    cause = first._look()
    assert cause is not None
    assert "Rank 0 lost the launcher, which held the store at 127.0.0.1:" in cause.sentence


def test_the_thread_ends_this_process_with_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    ends: list[Cause] = []
    first, second = Watchdog(0, 2, end=ends.append), Watchdog(1, 2)
    first.start()
    second.explain(ValueError("no"))
    first._thread.join(timeout=30)
    assert ends == [Cause("Rank 1: ValueError: no", is_root=True)]
    first.stop()


@pytest.mark.parametrize(
    ("exc", "is_lost"),
    [
        (RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer"), True),
        (dist.DistBackendError("NCCL error"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (TrainingError("a", "b"), False),
    ],
)
def test_a_failed_collective_is_told_from_an_own_failure(exc: BaseException, is_lost: bool) -> None:
    assert is_lost_connection(exc) is is_lost
