"""One prompt, one seed, every checkpoint of a run: how the answer changes while a model learns.

The checkpoints are opened one after the other by a thread, the newest first, each closed before the next. A question
that was asked stays asked: checkpoints that come later are answered when the page looks again.
"""

import logging
import threading
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import AssistantError
from core.files import read_json_object

logger = logging.getLogger(__name__)

MAX_NEW_TOKENS = 96
MAX_QUESTIONS = 16  # runs whose answers are remembered


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


class CheckpointAnswers:
    """Remembers the last question to each run. Methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._questions: dict[Path, _Question] = {}
        self._busy: Path | None = None

    def ask(self, run: Path, prompt: str, seed: int) -> None:
        """Put a question to every checkpoint of a run, in place of the one before."""
        with self._lock:
            self._questions.pop(run, None)
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
            missing = [path for path in checkpoints(run) if step_of(path) not in question.answers]
            if missing and self._busy is None:
                self._busy = run
                threading.Thread(target=self._work, args=(run,), name="checkpoint answers", daemon=True).start()
            return [question.answers[step] for step in sorted(question.answers)], len(missing)

    def _work(self, run: Path) -> None:
        is_pretraining = stage_of(run) == "pt"
        try:
            while (task := self._next(run)) is not None:
                question, folder = task
                answer = _answer(folder, question.prompt, question.seed, is_plain=is_pretraining)
                with self._lock:
                    question.answers[answer.step] = answer
        finally:
            with self._lock:
                self._busy = None

    def _next(self, run: Path) -> tuple[_Question, Path] | None:
        with self._lock:
            question = self._questions.get(run)
            if question is None:
                return None
            missing = [path for path in reversed(checkpoints(run)) if step_of(path) not in question.answers]
            return (question, missing[0]) if missing else None


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


def _answer(folder: Path, prompt: str, seed: int, *, is_plain: bool) -> Answer:
    """Open a checkpoint, ask it (or let it continue the prompt), close it. A run that goes on may delete it."""
    step = step_of(folder)
    try:
        import core

        with closing(core.load(folder, max_running=1)) as model:
            options = {"seed": seed, "max_new_tokens": MAX_NEW_TOKENS}
            if is_plain:
                return Answer(step, model.stream(prompt, **options).read())
            return Answer(step, model.chat([{"role": "user", "content": prompt}], **options).read())
    except AssistantError as exc:
        return Answer(step, str(exc), is_error=True)
    except Exception as exc:
        logger.exception("asking %s", folder)
        return Answer(step, f"{folder.name} could not be asked: {type(exc).__name__}.", is_error=True)
