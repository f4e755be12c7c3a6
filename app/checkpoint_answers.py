"""One prompt, one seed, every checkpoint of a run: how the answer changes while a model learns.

A child process opens the checkpoints one after the other, the newest first: no model of a run is ever in the memory of
the page. A question that was asked stays asked: checkpoints that come later are answered when the page looks again. A
new question or a stop ends the child, and so does an answer that takes too long.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from core.errors import AssistantError
from core.files import read_json_object, write_json

ROOT = Path(__file__).resolve().parents[1]
MAX_NEW_TOKENS = 96
MAX_QUESTIONS = 16  # runs whose answers are remembered
ANSWER_TIMEOUT_S = 180.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Answer:
    """What the checkpoint of a step answered, or why it did not."""

    step: int
    text: str
    is_error: bool = False


@dataclass(slots=True)
class _Question:
    prompt: str
    seed: int
    answers: dict[int, Answer] = field(default_factory=dict)
    is_over: bool = False  # stopped, or another one came


class CheckpointAnswers:
    """Remembers the last question to each run. Methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._questions: dict[Path, _Question] = {}
        self._busy: Path | None = None

    def ask(self, run: Path, prompt: str, seed: int) -> None:
        """Put a question to every checkpoint of a run, in place of the one before."""
        with self._lock:
            if before := self._questions.pop(run, None):
                before.is_over = True
            self._questions[run] = _Question(prompt, seed)
            while len(self._questions) > MAX_QUESTIONS:
                self._questions.pop(next(iter(self._questions)))
        self.look(run)

    def look(self, run: Path) -> tuple[list[Answer], int]:
        """The answers so far, by step, and how many checkpoints have not answered yet."""
        with self._lock:
            question = self._questions.get(run)
            if question is None:
                return [], 0
            is_wanted = not question.is_over
            missing = [path for path in checkpoints(run) if is_wanted and step_of(path) not in question.answers]
            if missing and self._busy is None:
                self._busy = run
                threading.Thread(target=self._work, args=(run,), name="checkpoint answers", daemon=True).start()
            return [question.answers[step] for step in sorted(question.answers)], len(missing)

    def stop(self, run: Path) -> None:
        """End the answering; what was answered stays."""
        with self._lock:
            if question := self._questions.get(run):
                question.is_over = True

    def _work(self, run: Path) -> None:
        try:
            while (task := self._next(run)) is not None:
                self._put(*task, is_plain=stage_of(run) == "pt")
        finally:
            with self._lock:
                self._busy = None

    def _next(self, run: Path) -> "tuple[_Question, list[Path]] | None":
        """The question to a run, and the checkpoints that have not answered it, the newest first."""
        with self._lock:
            question = self._questions.get(run)
            if question is None or question.is_over:
                return None
            missing = [path for path in reversed(checkpoints(run)) if step_of(path) not in question.answers]
            return (question, missing) if missing else None

    def _put(self, question: "_Question", folders: Sequence[Path], *, is_plain: bool) -> None:
        """Put a question to checkpoints, in one child."""
        request = {
            "folders": [str(folder) for folder in folders],
            "prompt": question.prompt,
            "seed": question.seed,
            "max_new_tokens": MAX_NEW_TOKENS,
            "is_plain": is_plain,
        }
        with TemporaryDirectory(prefix="astrai-answers-") as name, _child(Path(name), request) as (child, output):
            answered, since = 0, time.monotonic()
            while not question.is_over:
                has_ended = child.poll() is not None
                rows = _rows(output)
                for row, folder in zip(rows[answered:], folders[answered:], strict=False):
                    self._keep(question, Answer(step_of(folder), str(row["text"]), bool(row["is_error"])))
                    answered, since = answered + 1, time.monotonic()
                if answered == len(folders):
                    return
                is_late = time.monotonic() - since > ANSWER_TIMEOUT_S
                if has_ended or is_late:
                    reason = f"gave no answer in {ANSWER_TIMEOUT_S:.0f} s" if is_late else "could not be asked"
                    folder = folders[answered]
                    self._keep(question, Answer(step_of(folder), f"{folder.name} {reason}.", is_error=True))
                    return
                time.sleep(POLL_S)

    def _keep(self, question: "_Question", answer: Answer) -> None:
        with self._lock:
            question.answers[answer.step] = answer


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, by step."""
    return sorted(path for path in (run / "checkpoints").glob("step-*") if path.name[5:].isdigit())


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint, from its name."""
    return int(checkpoint.name.removeprefix("step-"))


def stage_of(run: Path) -> str:
    """The stage of a run, from its config; empty where there is none."""
    try:
        return str(read_json_object(run / "config.json").get("stage", ""))
    except AssistantError:
        return ""


@contextmanager
def _child(place: Path, request: dict[str, object]) -> "Iterator[tuple[subprocess.Popen[bytes], Path]]":
    """The process that answers, and the file that it writes to; it is ended when the context is left."""
    write_json(place / "request.json", request)
    output = place / "answers"
    with output.open("wb") as out:
        command = [sys.executable, "-m", "app.checkpoint_program", str(place / "request.json")]
        child = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.DEVNULL, start_new_session=True
        )
    try:
        yield child, output
    finally:
        child.kill()
        child.communicate()


def _rows(path: Path) -> list[dict[str, object]]:
    """The answers in a file; a line that is not whole yet is left out."""
    lines = path.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines if line.startswith(b"{")]
