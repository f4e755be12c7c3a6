"""Files beside a question: short ones whole, long ones searched, bad ones a line, and nothing left of any."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from app.attachments import MAX_FILES, PASSAGES, WHOLE, Attached, Attachments, attached_files, with_attached
from app.conversation_rows import Kind, Message, Said, State
from core.errors import DataError, ModelError
from rag.embedding import Embedder

BATCH = "abcdefgh"
FACT = "The harbour closes at nine on Sunday."
LONG = "\n\n".join([*(f"Tree {n} grows slowly beside the road." for n in range(400)), FACT, "港口星期日九点关门。"])


class NoEmbedder:
    """Weights that are not there."""

    def encode_queries(self, texts: Sequence[str]) -> Any:
        raise ModelError("There are no weights.", "Get them.")


def words(text: str) -> int:
    return len(text.split()) + len(text) // 20


@pytest.fixture
def attachments(tmp_path: Path) -> Attachments:
    return Attachments(tmp_path / "attachments", lambda: cast(Embedder, NoEmbedder()))


def message(id_: int, content: str, files: Sequence[dict[str, Any]] = (), role: str = "user") -> Message:
    details = {"attachments": list(files)} if files else {}
    return Message(id_, id_ - 1, role, Said(content, details=details), State.COMPLETE, 0.0, 1, 1)


def take(attachments: Attachments) -> list[dict[str, Any]]:
    return attachments.take(BATCH, max_seq_len=1000, count_tokens=words)


def test_a_short_file_is_given_whole_a_long_one_is_searched_and_a_bad_one_is_a_line(attachments: Attachments) -> None:
    attachments.receive(BATCH, "short.md", io.BytesIO(b"# Ferry\n\nIt leaves at ten."))
    attachments.receive(BATCH, "long.txt", io.BytesIO(LONG.encode()))
    attachments.receive(BATCH, "bad.pdf", io.BytesIO(b"%PDF-1.4 nothing"))
    bad = attachments.waiting(BATCH)[-1]
    assert "damaged" in str(bad.error)
    assert list(attachments.folder.iterdir()) == []
    files = take(attachments)
    assert [(file["name"], file["use"]) for file in files] == [("short.md", WHOLE), ("long.txt", PASSAGES)]
    assert attachments.waiting(BATCH) == []
    turns, passages = attachments.given(
        [message(1, "When does the harbour close?", files)], max_seq_len=1000, count_tokens=words
    )
    assert "[short.md]\n" in turns[0]["attached"]
    assert FACT in turns[0]["attached"]
    assert passages[0]["name"] == "long.txt"
    assert FACT in passages[0]["text"]
    assert words(turns[0]["attached"]) < 500
    assert with_attached(turns[0])["content"].endswith("\n\nWhen does the harbour close?")


def test_a_later_question_searches_the_file_again_and_gets_no_passage_twice(attachments: Attachments) -> None:
    attachments.receive(BATCH, "long.txt", io.BytesIO(LONG.encode()))
    path = [
        message(1, "Which tree is number 7?", take(attachments)),
        message(2, "That one.", role="assistant"),
        message(3, "When does the harbour close?"),
        message(4, "When does the harbour close?"),
    ]
    turns, _ = attachments.given(path, max_seq_len=1000, count_tokens=words)
    assert [FACT in turn.get("attached", "") for turn in turns] == [False, False, True, False]
    assert turns[1] == {"role": "assistant", "content": "That one."}


def test_a_chinese_question_finds_its_passage(attachments: Attachments) -> None:
    attachments.receive(BATCH, "long.txt", io.BytesIO(LONG.encode()))
    turns, _ = attachments.given([message(1, "港口几点关门？", take(attachments))], max_seq_len=400, count_tokens=words)
    assert "港口星期日九点关门" in turns[0]["attached"]


def test_a_question_that_a_notice_answers_is_left_out_with_its_files(attachments: Attachments) -> None:
    file = {"name": "a.md", "chars": 2, "use": WHOLE, "passages": [["hi", None]]}
    notice = Message(2, 1, "assistant", Said("Too long.", Kind.NOTICE), State.COMPLETE, 0.0, 1, 1)
    path = [message(1, "What?", [file]), notice, message(3, "And now?")]
    assert attachments.given(path, max_seq_len=100, count_tokens=words) == (
        [{"role": "user", "content": "And now?"}],
        [],
    )


def test_a_file_is_taken_back_and_too_many_are_refused(
    attachments: Attachments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Attachments, "_read", lambda self, path, content: Attached(path.name))
    for number in range(MAX_FILES):
        attachments.receive(BATCH, f"{number}.exe", io.BytesIO(b""))
    with pytest.raises(DataError, match="8 files already"):
        attachments.receive(BATCH, "more.md", io.BytesIO(b"x"))
    attachments.remove(BATCH, "0.exe")
    assert len(attachments.waiting(BATCH)) == MAX_FILES - 1
    assert take(attachments) == []


@pytest.mark.parametrize("name", ["../up.md", "/etc/x.md", "a\x00b.md", ""])
def test_a_name_that_leads_elsewhere_is_refused(attachments: Attachments, name: str) -> None:
    with pytest.raises(DataError):
        attachments.receive(BATCH, name, io.BytesIO(b"x"))


@pytest.mark.parametrize("rows", [None, 3, [3], [{"name": "a"}], [{"name": "a", "use": WHOLE, "passages": [["a"]]}]])
def test_details_of_another_kind_are_no_files(rows: Any) -> None:
    assert attached_files({"attachments": rows}) == []


def test_meaning_counts_beside_words(tmp_path: Path) -> None:
    class ByLetter:
        def encode_queries(self, texts: Sequence[str]) -> Any:
            return self.encode_passages(texts)

        def encode_passages(self, texts: Sequence[str]) -> Any:
            return np.array([[float("Ferry" in text or "boat" in text), 0.01] for text in texts], dtype=np.float32)

    attachments = Attachments(tmp_path / "a", lambda: cast(Embedder, ByLetter()))
    rows = [[f"Stone {n}.", None] for n in range(60)] + [["Ferry leaves at ten.", 4]]
    file = {"name": "a.pdf", "chars": 9, "use": PASSAGES, "passages": rows}
    _, passages = attachments.given([message(1, "Which boat?", [file])], max_seq_len=40, count_tokens=words)
    assert passages[0] == {"name": "a.pdf", "page": 4, "text": "Ferry leaves at ten.", "address": ""}
