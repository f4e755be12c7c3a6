"""Whether the library holds an answer."""

from datetime import UTC, datetime
from pathlib import Path

from rag import KnowledgeBase
from rag.gate import Gate, Signs, null_cosine, null_queries
from rag.hits import Hit, Leg
from rag.rows import Filter
from tests.rag.conftest import HashEmbedder, Write


def test_a_question_of_the_documents_passes_and_a_foreign_one_does_not(kb: KnowledgeBase, write: Write) -> None:
    animals = ("zebra", "tapir", "gecko", "heron", "otter", "bison", "moose", "camel")
    kb.add([write(f"{name}.txt", f"The {name} eats grass at dawn near the river of {name}ville.") for name in animals])
    known, foreign = "When does the zebra eat grass?", "Who won the football championship of Portugal?"
    assert kb.answerable(known, kb.search(known))
    assert not kb.answerable(foreign, kb.search(foreign))


def test_meaningless_questions_are_always_the_same() -> None:
    passages = ["A zebra eats grass.", "长江是中国最长的河流。", ""]
    assert null_queries(passages) == null_queries(passages)
    assert null_queries([]) == []


def test_what_speaks_for_an_answer_makes_it_likelier() -> None:
    gate = Gate()
    for is_han in (False, True):
        assert not gate.passes(Signs(0.2, 0.5, 0.8, is_han, is_foreign=False))
        assert gate.passes(Signs(2.5, 1.5, 0.8, is_han, is_foreign=False))
        assert gate.passes(Signs(1.5, 1.5, 0.5, is_han, is_foreign=False))  # in a small library less will do
        assert not gate.passes(Signs(0.2, 0.5, 0.8, is_han, is_foreign=True))
        assert gate.passes(Signs(0.2, 1.0, 0.8, is_han, is_foreign=True))


def test_a_library_of_one_note_answers_its_questions(tmp_path: Path, write: Write) -> None:
    with KnowledgeBase(tmp_path / "library") as kb:
        kb.add([write("lease.txt", "The lease of the flat ends on 30 June 2027. The rent is 900 euros a month.")])
        kb.add([write("会议.txt", "会议定于星期三下午三点在北京举行，由王明主持。")])
        for query in ("When does the lease end?", "How much is the rent?", "会议什么时候举行？", "谁主持会议？"):
            assert kb.answerable(query, kb.search(query))
        for query in ("Who won the football championship of Portugal?", "长江有多长？"):
            assert not kb.answerable(query, kb.search(query))


def test_signs_by_hand() -> None:
    def hit(text: str, score: float, cosine: float, deviations: float) -> Hit:
        place = (Path("a.txt"), "default", "a", "txt", 1, 1, 1, None, 0, len(text), text, ())
        return Hit(*place, score, 0.5, deviations, {"dense": Leg(1, cosine)})

    hits = [hit("A zebra eats.", 2.0, 0.3, 1.0), hit("An otter.", 1.0, 0.6, 2.0)]
    assert Signs.of("zebra?", hits, null_cosine=0.3, rarity=0.6) == Signs(2.0, 2.0, 0.6, is_han=False, is_foreign=False)
    assert Signs.of("斑马吃什么", hits, null_cosine=0.3, rarity=0.6) == Signs(
        2.0, 2.0, 0.6, is_han=True, is_foreign=True
    )
    assert null_cosine([0.1, 0.2, 0.9]) == 0.2
    assert null_cosine([]) == 0.0


def test_chance_is_measured_in_the_part_that_is_searched(kb: KnowledgeBase, write: Write, tmp_path: Path) -> None:
    animals = ("zebra", "tapir", "gecko", "heron", "otter", "bison")
    for name in animals:
        write(f"animals/{name}.txt", f"The {name} eats grass at dawn near the river of {name}ville.")
        write(f"notes/{name}.md", f"{name}: bread, butter, jam and tea.")
    kb.add([tmp_path / "files"])
    with KnowledgeBase(tmp_path / "other", HashEmbedder()) as alone:
        alone.add([tmp_path / "files" / "animals"])
        expected = alone._chance.null_cosine(alone._retriever, "hash-1", Filter())
    part = Filter.of(path_prefix=tmp_path / "files" / "animals")
    measured = [kb._chance.null_cosine(kb._retriever, "hash-1", one) for one in (part, Filter.of(kinds=["txt"]))]
    assert measured == [expected] * 2
    assert kb._chance.null_cosine(kb._retriever, "hash-1", Filter()) != expected


def test_a_time_counts_by_its_day(kb: KnowledgeBase, write: Write) -> None:
    kb.add([write("zebra.txt", "The zebra eats grass at dawn.")])
    for minute in range(5):
        since = datetime(2020, 1, 1, 12, minute, tzinfo=UTC)
        hits = kb.search("When does the zebra eat grass?", after=since)
        assert kb.answerable("When does the zebra eat grass?", hits, after=since)
    assert len(kb._chance._measured) == 1
