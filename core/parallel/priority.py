"""Giving way to other programs: what a job does whose user goes on to chat."""

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psutil

# A launcher asks the processes that it starts for it by 1 in this variable; 0 there keeps the studio's jobs from it.
BACKGROUND = "ASTRAI_BACKGROUND"
# Of a process and of its session. Who computes on all cores beside it has 1.25 to the power of this times as much time:
# the chat keeps three quarters, and a run moves on meanwhile. At 19, the lowest, a run has 1.4 % and makes no step.
NICE = 5
LOWEST = 19  # of a thread, which works beside the chat in its own process
# Who is ended first where memory runs out: this rather than what answers the user. From -1000 to 1000.
OOM_SCORE = "300"


def lower_priority() -> None:
    """Let other programs have most of the time, in this process and those that it will start.

    Where Linux groups processes by session for its scheduler, a nice value counts only within the session: the
    session's own must be set too, and each session has another.
    """
    with suppress(OSError, psutil.Error):
        if sys.platform == "win32":
            psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
            return
        os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    lower_session(os.getpid())
    _write("oom_score_adj", os.getpid(), OOM_SCORE)


def lower_thread() -> None:
    """Let every other thread go first, where a thread has a priority of its own; the processes it starts inherit it."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)


def is_lowered() -> bool:
    """Whether the calling thread gives way to others."""
    return sys.platform == "linux" and os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) > 0


def asks_for_background(default: str) -> bool:
    """Whether the environment says so."""
    return os.environ.get(BACKGROUND, default) != "0"


def lower_session(pid: int) -> None:
    """The part of it that a process of ours in a session of its own cannot inherit."""
    _write("autogroup", pid, str(NICE))


def _write(name: str, pid: int, value: str) -> None:
    with suppress(OSError):
        Path(f"/proc/{pid}/{name}").write_text(value, encoding="ascii")
