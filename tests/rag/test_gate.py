"""Whether the library holds an answer."""

from rag import KnowledgeBase
from rag.gate import Gate, Signs, null_queries
from tests.rag.conftest import Write


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
    weak, strong = Signs(0.2, -1.0, is_foreign=False), Signs(2.5, 3.0, is_foreign=False)
    assert gate.probability(weak) < gate.threshold < gate.probability(strong)
    far, near = Signs(0.2, -3.0, is_foreign=True), Signs(0.2, 3.0, is_foreign=True)
    assert gate.probability(far) < gate.threshold < gate.probability(near)
