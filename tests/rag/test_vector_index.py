"""The cache of the vectors: it agrees with the database, whatever happened to its file."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rag import KnowledgeBase
from rag.vector_index import FILE
from tests.rag.conftest import HashEmbedder, Write


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 0xFF
    path.write_bytes(content)


def _garbage(path: Path) -> None:
    path.write_bytes(b"\xff" * 4096)


DAMAGES: list[Callable[[Path], None]] = [Path.unlink, _truncate, _flip, _garbage]


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled")
    for name, text in (("cat.md", "The cat sleeps on the oven."), ("dog.md", "The dog barks at the moon.")):
        (folder / name).write_text(text, encoding="utf-8")
    with KnowledgeBase(folder / "library", HashEmbedder()) as kb:
        kb.add([folder / "cat.md", folder / "dog.md"])
    return folder / "library"


@pytest.fixture
def filled(made_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_once, tmp_path / "library"))


def nearest(folder: Path, embedder: HashEmbedder, query: str) -> list[tuple[str, float]]:
    with KnowledgeBase(folder, embedder) as kb:
        return [(hit.path.name, round(hit.legs["dense"].score, 4)) for hit in kb.search(query)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_changes_no_answer(
    damage: Callable[[Path], None], filled: Path, embedder: HashEmbedder
) -> None:
    expected = nearest(filled, embedder, "a cat sleeps")
    assert (filled / FILE).exists()
    damage(filled / FILE)
    assert nearest(filled, embedder, "a cat sleeps") == expected
    assert (filled / FILE).stat().st_size > 100


def test_a_cache_of_an_older_state_is_brought_up_to_date(filled: Path, embedder: HashEmbedder, write: Write) -> None:
    old = (filled / FILE).read_bytes()
    with KnowledgeBase(filled, embedder) as kb:
        kb.remove([document.id for document in kb.documents() if document.path.name == "cat.md"])
        kb.add([write("owl.md", "The owl sleeps in the cat's basket.")])
    (filled / FILE).write_bytes(old)
    assert [name for name, _ in nearest(filled, embedder, "a cat sleeps")] == ["owl.md", "dog.md"]


def test_a_cache_of_another_library_or_embedder_is_not_used(
    filled: Path, tmp_path: Path, embedder: HashEmbedder, write: Write
) -> None:
    with KnowledgeBase(tmp_path / "other", embedder) as kb:
        kb.add([write("owl.md", "The owl sleeps."), write("bat.md", "The bat sleeps.")])
    (filled / FILE).write_bytes((tmp_path / "other" / FILE).read_bytes())
    expected = {"cat.md", "dog.md"}
    assert {name for name, _ in nearest(filled, embedder, "a cat sleeps")} == expected
    assert {name for name, _ in nearest(filled, HashEmbedder("hash-2"), "a cat sleeps")} == {"cat.md"}
