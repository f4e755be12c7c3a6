"""The library's long work: one thread does what it is given, in order, and tells how far it is or how it ended."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from core.errors import AssistantError
from core.parallel.priority import lower_thread

if TYPE_CHECKING:
    from rag.indexing import AddReport, Progress
    from rag.remarks import Remark

logger = logging.getLogger(__name__)

IDLE_EVERY_S = 30.0
KEPT_FAILURES = 20

Work = Callable[..., "AddReport | None"]


@dataclass(frozen=True, slots=True)
class Task:
    """Work that takes `on_progress` and `should_stop`, and tells of itself or gives a report.

    Of quiet work nobody hears unless it changed something.
    """

    work: Work
    is_quiet: bool = False


@dataclass(frozen=True, slots=True)
class VectorProgress:
    """How far the vectors of another embedder are, in passages. There is no total while it is being loaded."""

    embedder: str
    done: int = 0
    total: int | None = None
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Activity:
    """What is done, or how the last work ended. `failed` says why files could not be read.

    `embedder` is the name of one that answers since then.
    """

    is_running: bool = False
    progress: "Progress | VectorProgress | None" = None
    embedder: str = ""
    num_waiting: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    failed: "tuple[Remark, ...]" = ()
    was_stopped: bool = False
    elapsed_s: float = 0.0
    error: AssistantError | None = None


class Worker:
    """The thread, which is there once it is needed. Methods may be called from any thread."""

    def __init__(self, when_idle: Callable[[], Task | None]) -> None:
        """`when_idle` is asked now and then, while nothing else is to be done."""
        self._when_idle = when_idle
        self._changing = threading.Condition()
        self._tasks: deque[Task] = deque()
        self._activity = Activity()
        self._stops = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_busy = False

    @property
    def activity(self) -> Activity:
        return self._activity

    def start(self, task: Task) -> None:
        """Put work at the end of what is to be done."""
        with self._changing:
            self._tasks.append(task)
            self._stops.clear()
            self._activity = replace(self._activity, is_running=True, num_waiting=len(self._tasks))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="library", daemon=True)
                self._thread.start()
            self._changing.notify_all()

    def cancel(self) -> None:
        """Ask the work under way to end, and forget what waits."""
        with self._changing:
            self._tasks.clear()
            self._stops.set()
            if not self._is_busy:
                self._rest()

    def wait(self, timeout_s: float) -> bool:
        """Whether all work has ended within the time."""
        with self._changing:
            return self._changing.wait_for(lambda: not self._activity.is_running, timeout_s)

    def end(self, activity: Activity) -> None:
        """Say how work ended."""
        with self._changing:
            self._activity = replace(activity, is_running=True)  # until the next one is looked for

    def _run(self) -> None:
        lower_thread()  # the chat goes on meanwhile
        while True:
            task = self._next() or self._when_idle()
            if task is not None:
                self._do(task)

    def _next(self) -> Task | None:
        """What to do next; None after a while in which nothing was asked."""
        with self._changing:
            self._is_busy = False
            if not self._tasks:
                self._rest()
                self._changing.wait_for(lambda: bool(self._tasks), IDLE_EVERY_S)
            self._is_busy = True
            return self._tasks.popleft() if self._tasks else None

    def _rest(self) -> None:
        """Say that nothing is under way."""
        self._activity = replace(self._activity, is_running=False, progress=None, num_waiting=0)
        self._changing.notify_all()

    def _do(self, task: Task) -> None:
        try:
            report = task.work(on_progress=self._note, should_stop=self._stops.is_set)
        except AssistantError as exc:
            self.end(Activity(error=exc))
        except Exception:
            logger.exception("indexing")
            ended = AssistantError("An error in this program ended the work.", "See the log file, and report this.")
            self.end(Activity(error=ended))
        else:
            if report and (not task.is_quiet or set(report.counts) - {"unchanged", "failed"}):
                self.end(_activity_of(report))

    def _note(self, progress: "Progress | VectorProgress") -> None:
        with self._changing:
            waiting = len(self._tasks)
            self._activity = replace(self._activity, is_running=True, progress=progress, num_waiting=waiting)


def _activity_of(report: "AddReport") -> Activity:
    return Activity(
        counts=report.counts,
        failed=tuple(result.remark for result in report.failed[:KEPT_FAILURES] if result.remark),
        was_stopped=report.was_stopped,
        elapsed_s=report.elapsed_s,
    )
