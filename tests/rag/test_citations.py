"""Which sentences of an answer stand in the passages, and which do not."""

import pytest

from rag import KnowledgeBase
from rag.claims import Claims
from rag.hits import Hit
from tests.rag.conftest import Write

NORMANS = (
    "The Normans were the people who in the 10th and 11th centuries gave their name to Normandy, a region in France. "
    "They were descended from Norse raiders. Their leader Rollo swore fealty to King Charles III."
)
RIVER = "长江是中国最长的河流，全长约6300公里。它发源于青藏高原，在上海流入东海。"


@pytest.fixture
def hits(kb: KnowledgeBase, write: Write) -> list[Hit]:
    others = [write(f"{name}.txt", f"The {name} is an animal that lives in the woods.") for name in ("fox", "owl")]
    kb.add([write("normans.txt", NORMANS), write("river.txt", RIVER), *others])
    return [*kb.search("Who were the Normans?", k=2), *kb.search("长江有多长", k=1)]


@pytest.mark.parametrize(
    ("sentence", "name"),
    [
        ("The Normans gave their name to Normandy, a region in France.", "normans.txt"),
        ("Rollo swore fealty to King Charles III.", "normans.txt"),
        ("长江全长约6300公里。", "river.txt"),
    ],
)
def test_a_true_sentence_is_cited_with_its_place(kb: KnowledgeBase, hits: list[Hit], sentence: str, name: str) -> None:
    (found,) = kb.attribute(sentence, hits)
    assert found.is_supported
    assert found.citations[0].hit.path.name == name
    citation = found.citations[0]
    text = kb.text(citation.hit.document_id)
    assert text[citation.start : citation.end] == citation.text
    assert text[: citation.start].rstrip()[-1:] in ("", ".", "。")  # at the very beginning of a sentence


@pytest.mark.parametrize(
    "sentence",
    [
        "The Normans gave their name to Normandy in the 12th century.",
        "The Normans did not give their name to Normandy, a region in France.",
        "Their leader Harold swore fealty to King Charles III.",
        "The price of coffee rose sharply last spring.",
        "长江全长约6800公里。",
        "长江不是中国最长的河流。",
        "长江是中国最短的河流。",
    ],
)
def test_a_false_sentence_is_not(kb: KnowledgeBase, hits: list[Hit], sentence: str) -> None:
    assert not any(found.is_supported for found in kb.attribute(sentence, hits))


def test_each_sentence_is_judged_by_itself(kb: KnowledgeBase, hits: list[Hit]) -> None:
    answer = "They were descended from Norse raiders. They drank a lot of coffee in those days."
    assert [found.is_supported for found in kb.attribute(answer, hits)] == [True, False]
    assert [answer[found.start : found.end] for found in kb.attribute(answer, hits)] == answer.replace(
        ". ", ".|"
    ).split("|")


def test_without_hits_nothing_is_supported(kb: KnowledgeBase) -> None:
    assert [found.is_supported for found in kb.attribute("The sky is blue.", [])] == [False]
    assert kb.attribute("", []) == []


def test_an_extract_quotes_the_nearest_sentence(kb: KnowledgeBase, hits: list[Hit]) -> None:
    answer = kb.extract("Who swore fealty to King Charles?", hits)
    assert "Rollo swore fealty" in answer.text
    for part in answer.sentences:
        assert answer.text[part.start : part.end] == part.text
        assert part.citations[0].hit.path.name == "normans.txt"
    assert kb.extract("anything", []).text == ""


@pytest.mark.parametrize(
    ("claim", "source", "agrees"),
    [
        ("It has 1,000 rooms.", "There are 1000 rooms in it.", True),
        ("It has 1,000 rooms.", "There are 1001 rooms in it.", False),
        ("It is open.", "It isn't open.", False),
        ("It isn't open.", "It is not open.", True),
        ("Sales increased.", "Sales decreased.", False),
        ("他不但会唱歌。", "他会唱歌。", True),
        ("公司没有盈利。", "公司盈利。", False),
    ],
)
def test_claims_agree_in_numbers_and_truth(claim: str, source: str, agrees: bool) -> None:
    assert Claims.of(claim).agree_with(source, source) is agrees
