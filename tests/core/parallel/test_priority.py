"""Giving way to other programs."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from core.parallel.priority import BACKGROUND, NICE, OOM_SCORE, asks_for_background, is_lowered, lower_thread
from tests.conftest import ROOT

PROGRAM = """
import sys
from core.parallel.priority import lower_priority
lower_priority()
lower_priority()
print("lowered", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="the system has no such scheduler")
def test_a_process_goes_behind_all_others_and_ends_before_them_when_memory_does() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, cwd=ROOT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"lowered\n"
        assert psutil.Process(process.pid).nice() == max(NICE, os.getpriority(os.PRIO_PROCESS, 0))
        assert os.sched_getscheduler(process.pid) == os.SCHED_BATCH
        assert Path(f"/proc/{process.pid}/oom_score_adj").read_text().strip() == OOM_SCORE
        group = Path(f"/proc/{process.pid}/autogroup")
        assert not group.exists() or int(group.read_text().split()[-1]) == NICE
        process.stdin.close()


def test_the_environment_says_who_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BACKGROUND, raising=False)
    assert [asks_for_background("1"), asks_for_background("0")] == [True, False]
    monkeypatch.setenv(BACKGROUND, "0")
    assert not asks_for_background("1")
    monkeypatch.setenv(BACKGROUND, "1")
    assert asks_for_background("0")


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own here")
def test_one_thread_gives_way_and_the_others_do_not() -> None:
    seen: list[bool] = []

    def work() -> None:
        lower_thread()
        seen.append(is_lowered())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]
    assert not is_lowered()
