"""Questions about the files, answered from the database."""

from collections.abc import Iterator

import pytest

from rag import KnowledgeBase
from tests.rag.conftest import HashEmbedder


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnowledgeBase]:
    folder = tmp_path_factory.mktemp("inventory")
    texts = {"lease.md": "The lease.", "cats.txt": "On cats.", "report.md": "A report."}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    with KnowledgeBase(folder / "library", HashEmbedder()) as kb:
        kb.add([folder / name for name in texts])
        yield kb


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many documents do I have?", "The library has 3 files (2 md, 1 txt)."),
        ("how many md files are there", "The library has 2 files (2 md)."),
        ("How many files about lease?", "The library has 1 file (1 md)."),
        ("我有多少个文件？", "资料库中有 3 个文件(2 md, 1 txt)。"),
        ("有多少份文檔", "资料库中有 3 个文件(2 md, 1 txt)。"),
    ],
)
def test_files_are_counted(filled: KnowledgeBase, question: str, answer: str) -> None:
    assert filled.inventory(question) == answer


@pytest.mark.parametrize("question", ["Which files do you have?", "List my documents", "资料库里有哪些文件？"])
def test_files_are_listed(filled: KnowledgeBase, question: str) -> None:
    answer = filled.inventory(question)
    assert answer is not None
    assert answer.splitlines()[2:] == ["- cats.txt", "- lease.md", "- report.md"]


@pytest.mark.parametrize(
    "question", ["How many people live in Hamburg?", "Which river is the longest?", "长江有多长？", "How many pages?"]
)
def test_other_questions_are_not_answered(filled: KnowledgeBase, question: str) -> None:
    assert filled.inventory(question) is None
