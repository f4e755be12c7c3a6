"""The whole program killed again and again while it chats, indexes and trains: it starts again, and all is there."""

import os
import random
import sys
import time
from pathlib import Path

import psutil
import pytest

from app.conversations import Conversations
from app.paths import conversations_dir, library_dir, studio_dir
from core.data.tokenizer import Tokenizer
from rag import KnowledgeBase
from studio import JobStore
from tests.conftest import ROOT
from tests.faults.whole_program import Home, WholeProgram, end
from tests.figures import Figure
from tests.rag.conftest import HashEmbedder

NUM_KILLS = int(os.environ.get("ASTRAI_WHOLE_KILLS", "100"))
SEED = 5
LONGEST_S, READY_S = 6.0, 15.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.alone,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL"),
    pytest.mark.skipif(not (ROOT / "models" / "embedder").is_dir(), reason="the embedder's weights are not here"),
]


def check(home: Home) -> None:
    """All that was acknowledged is there, and each thing is its own, seen beside the program that runs."""
    chats = Conversations(conversations_dir())
    said = home.acknowledged()
    for what, *details in said:
        if what in {"asked", "answered"}:
            conversation, id_, text = details
            assert chats.message(conversation, id_).content == text
    for conversation in chats.all():
        path = chats.path(conversation.id)
        number = conversation.title.removeprefix("chat ")
        assert [message.content for message in path[:1]] in ([], [f"question {number}"])
        assert len(path) <= 2
    chats.close()
    with KnowledgeBase(library_dir(), HashEmbedder()) as kb:
        here = {document.path.name: document for document in kb.documents()}
        for name in [details[0] for what, *details in said if what == "added"]:
            content = here[name].content_id
            assert content is not None
            assert kb._store.text(content) == f"The otter number {Path(name).stem} swims."
    store = JobStore(studio_dir())
    jobs = {job.id for job in store.jobs()}
    assert {details[0] for what, *details in said if what == "started"} <= jobs


def test_a_killed_program_starts_again_and_has_lost_nothing(
    tmp_path: Path,
    tokenizer: Tokenizer,
    text_data: Path,
    figure: Figure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = Home(tmp_path, tokenizer, text_data)
    monkeypatch.setenv("ASTRAI_HOME", str(home.folder))
    draw, ready = random.Random(SEED), list[float]()
    jobs: list[psutil.Process] = []
    for number in range(NUM_KILLS + 1):
        with WholeProgram(home) as program:
            ready.append(program.ready_s)
            check(home)
            end(jobs)
            if number < NUM_KILLS:
                time.sleep(draw.random() * LONGEST_S)
            jobs = program.kill(with_jobs=number % 2 == 1 or number == NUM_KILLS)
    counts = {what: sum(said[0] == what for said in home.acknowledged()) for what in ("answered", "added", "started")}
    sys.stdout.write(f"{NUM_KILLS} kills, acknowledged {counts}, ready after {sorted(ready)[len(ready) // 2]:.1f} s, ")
    sys.stdout.write(f"the slowest after {max(ready):.1f} s\n")
    assert "Traceback" not in home.log.read_text(encoding="utf-8", errors="replace")
    assert all(counts.values())
    figure("G5 kills", NUM_KILLS, seed=SEED)
    figure("G5 ready", max(ready))
    assert max(ready) <= READY_S
