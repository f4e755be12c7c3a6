"""No file descriptor left, or no room on the disk: one sentence, what was kept is kept, and all goes on afterwards."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from app.conversation_rows import Said
from app.conversations import Conversations
from app.personas import Persona, Personas
from app.preference_rows import Answer, Origin
from app.preferences import Preferences
from app.settings import Settings
from core.errors import AssistantError
from core.inference.server import CompletionServer
from rag import KnowledgeBase
from tests.core.inference.server.fake_model import FakeModel, serving, wait_until
from tests.core.inference.server.test_load import raw_request
from tests.rag.conftest import HashEmbedder

resource = pytest.importorskip("resource", reason="Windows has no rlimits")
pytestmark = pytest.mark.slow
NUM_TRIES, BLOCK_CHARS = 200, 4000
QUESTION = [{"role": "user", "content": "?"}]


@contextmanager
def limited(kind: int, value: int) -> Iterator[None]:
    """This process may not have more."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@contextmanager
def used_up() -> Iterator[None]:
    """No descriptor is free."""
    with limited(resource.RLIMIT_NOFILE, len([*Path("/proc/self/fd").iterdir()]) + 64):
        held: list[int] = []
        try:
            while True:
                try:
                    held.append(os.open(os.devnull, os.O_RDONLY))
                except OSError:
                    break
            yield
        finally:
            for number in held:
                os.close(number)


def one_sentence(act: Callable[[], object]) -> None:
    with pytest.raises(AssistantError) as caught:
        act()
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.remedy


def test_a_library_without_descriptors_says_so_of_each_file_and_reads_it_later(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("The otter swims.", encoding="utf-8")
    first = tmp_path / "first.txt"
    first.write_text("The bison grazes.", encoding="utf-8")
    with KnowledgeBase(tmp_path / "library", HashEmbedder()) as kb:
        kb.add([first])
        kb.search("bison", k=1)
        with used_up():
            (failed,) = kb.add([path]).failed
            assert failed.sentence.startswith("a.txt: it cannot be read: Too many open files.")
        assert [result.outcome for result in kb.add([path]).results] == ["added"]
        assert kb.search("otter", k=1)[0].path == path


def test_conversations_without_descriptors_are_a_sentence_and_go_on(tmp_path: Path) -> None:
    chats = Conversations(tmp_path / "chats")
    name = chats.create().id
    with used_up():
        one_sentence(lambda: Conversations(tmp_path / "chats").all())
    id_ = chats.add(name, "user", Said("kept"), parent_id=None)
    assert chats.message(name, id_).content == "kept"
    chats.close()


def test_a_server_without_descriptors_finishes_what_it_has_and_answers_again() -> None:
    model = FakeModel(step_s=0.02)
    body = {"messages": QUESTION, "max_tokens": 100, "stream": True}
    with serving(CompletionServer(lambda: cast(Any, model)).app) as address:
        with httpx.Client(base_url=address) as kept, raw_request(address, body) as stream:
            assert kept.get("/health").status_code == 200
            wait_until(lambda: bool(model.streams))
            with used_up():
                assert kept.get("/health").status_code == 200
                received = b""
                while b"[DONE]" not in received:
                    received += stream.recv(65536)
        wait_until(lambda: httpx.get(f"{address}/health", timeout=5).status_code == 200)


def fill(act: Callable[[int], object], folder: Path) -> int:
    """How many times it succeeded before the disk took no more of what is in the folder."""
    full = max((path.stat().st_size for path in folder.rglob("*") if path.is_file()), default=0) + 64 * 1024
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with limited(resource.RLIMIT_FSIZE, full):
        numbers = iter(range(NUM_TRIES))
        one_sentence(lambda: [act(number) for number in numbers])
    return next(numbers) - 1


def test_a_full_disk_leaves_the_conversations_as_they_were(tmp_path: Path) -> None:
    chats = Conversations(tmp_path)
    name = chats.create().id

    def ask(number: int) -> None:
        chats.add(name, "user", Said(f"{number} " + "x" * BLOCK_CHARS), parent_id=None)

    count = fill(ask, tmp_path)
    assert len(chats.tree(name)) == count
    ask(count)
    chats.close()
    assert len(Conversations(tmp_path).tree(name)) == count + 1


def test_a_full_disk_leaves_the_preferences_as_they_were(tmp_path: Path) -> None:
    preferences = Preferences(tmp_path)

    def correct(number: int) -> None:
        preferences.correct(QUESTION, Answer(f"{number} " + "x" * BLOCK_CHARS, Origin("a")), f"better {number}")

    count = fill(correct, tmp_path)
    assert len(preferences.pairs()) == count
    correct(count)
    preferences.close()
    assert len(Preferences(tmp_path).pairs()) == count + 1


@pytest.mark.parametrize("kind", ["settings", "personas"])
def test_a_full_disk_leaves_small_files_as_they_were(tmp_path: Path, kind: str) -> None:
    settings, personas = Settings(tmp_path), Personas(tmp_path / "personas.json")
    persona = personas.save(Persona.checked(name="Pirate"))
    settings.change(idle_minutes=7)
    with limited(resource.RLIMIT_FSIZE, 0):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        if kind == "settings":
            one_sentence(lambda: settings.change(idle_minutes=8))
        else:
            one_sentence(lambda: personas.save(Persona.checked(name="Captain")))
    assert settings.values.idle_minutes == Settings(tmp_path).values.idle_minutes == 7
    assert personas.find(persona.id, "en") == persona
    assert settings.change(idle_minutes=9).idle_minutes == 9
