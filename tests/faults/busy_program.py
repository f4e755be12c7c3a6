"""The program with a user inside: `python -m tests.faults.busy_program MODEL FILES SAID [DATA]`.

It is the program as it is, with its server, its page and its stores. Threads beside it do what handlers of the page do:
chat, add documents, and with DATA train. Whatever a user would take for kept goes as a line to SAID.
"""

import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app import server
from app.answer_record import AnswerRecord
from app.conversation_rows import Said
from app.services import Services, build_services
from app.variables import set_defaults
from core.config.train_config import TrainConfig
from studio import start

NUM_TOKENS = 60
PAUSE_S = float(os.environ.get("ASTRAI_USER_PAUSE_S", "0.05"))
HURRIED_S = float(os.environ.get("ASTRAI_USER_HURRIES_S", "0"))  # at first, without a pause
NUM_NEW_WORDS = 60  # of a document while the user hurries: a tokeniser remembers the first 10,000 that it meets
NUM_KEPT = int(os.environ.get("ASTRAI_USER_KEEPS", "0"))  # conversations and documents; older ones go. 0 keeps all


class User:
    """What one does again and again, and what was kept of it."""

    def __init__(self, services: Services, files: Path, said: Path) -> None:
        self._services, self._files = services, files
        self._calm_at = time.monotonic() + HURRIED_S
        self._said = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    @property
    def is_hurried(self) -> bool:
        return time.monotonic() < self._calm_at

    def say(self, what: str, *details: Any) -> None:
        os.write(self._said, (json.dumps([what, *details]) + "\n").encode())

    def chat(self) -> None:
        """A conversation of one question, and its answer as it grows."""
        chats = self._services.conversations
        number = time.monotonic_ns()
        name = chats.create(title=f"chat {number}").id
        id_ = chats.add(name, "user", Said(f"question {number}"), parent_id=None)
        self.say("asked", name, id_, f"question {number}")
        question = chats.message(name, id_)
        sampling = {"max_new_tokens": NUM_TOKENS, "seed": 1}
        updates = self._services.assistant.answer(
            name, [{"role": "user", "content": f"question {number}"}], sampling, language="en"
        )
        with AnswerRecord(chats, name, question) as record:
            for update in updates:
                record.take(update)
            record.complete()
        answer = chats.path(name)[-1]
        self.say("answered", name, answer.id, answer.content)
        if NUM_KEPT:
            for old in chats.all()[NUM_KEPT:]:
                chats.delete(old.id)

    def add(self) -> None:
        """A document, which the library holds when its work has ended."""
        number = time.monotonic_ns()
        path = self._files / f"{number}.txt"
        words = [secrets.token_hex(4) for _ in range(NUM_NEW_WORDS if self.is_hurried else 0)]
        path.write_text(" ".join([f"The otter number {number} swims.", *words]), encoding="utf-8")
        library = self._services.library
        library.add([path], "otters")
        if library.wait(60):
            self.say("added", path.name)
        if NUM_KEPT:
            library.remove(sorted(document.id for document in library.open().documents())[:-NUM_KEPT])

    def train(self, data: Path) -> None:
        """A short run, which is there from its start on."""
        values = {
            "data": str(data), "output": "run", "preset": "tiny", "max_seq_len": 32, "micro_batch_size": 2,
            "global_batch_size": 4, "max_steps": 40, "precision": "fp32", "device": "cpu", "num_threads": 1,
            "log_interval": 1, "validation_interval": 0, "checkpoint_interval_s": 1,
        }  # fmt: skip
        job = start(self._services.studio.store, TrainConfig.from_dict(values))
        self.say("started", job.id)
        while not self._services.studio.store.job(job.id).state.is_ended:
            time.sleep(0.5)


def build(model: Path | None = None) -> Services:
    """The services, with a user at them."""
    services = build_services(model)
    # Opened for writing here, before anyone looks at them beside this program.
    services.conversations.all()
    services.library.open()
    user = User(services, *map(Path, sys.argv[2:4]))

    def again(act: Callable[[], None]) -> None:
        services.models.select(services.models.choices()[0])
        services.models.wait(timeout_s=120)
        while True:
            act()
            if not user.is_hurried:
                time.sleep(PAUSE_S)

    acts = [user.chat, user.add, *([lambda: user.train(Path(sys.argv[4]))] if len(sys.argv) > 4 else [])]
    for act in acts:
        threading.Thread(target=again, args=(act,), daemon=True).start()
    return services


if __name__ == "__main__":
    set_defaults()
    setattr(server, "build_services", build)  # noqa: B010 - mypy knows no such assignment
    raise SystemExit(server.serve_page(port=0, opens_browser=False, model=Path(sys.argv[1])))
