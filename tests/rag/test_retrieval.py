"""How passages are chosen, put in order and joined."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import ConfigError, DataError, SetupError
from rag import KnowledgeBase, fusion, schema
from rag.gate import Signs
from rag.keywords import Vocabulary
from rag.store import Store
from tests.rag.conftest import HashEmbedder, MisleadingEmbedder, Write, misleading_files

FILLER = "Some words stand here that say nothing of it and only make the passage longer than it would be. " * 9


def test_only_the_rarest_terms_are_asked(kb: KnowledgeBase, write: Write) -> None:
    kb.add([write(f"{i}.txt", f"common words of number{i}") for i in range(20)])
    question = Vocabulary(kb._store).question(" ".join(["common", "words", *(f"number{i}" for i in range(15))]))
    asked = question.match_query().split(" OR ")
    assert len(asked) == 12
    assert '"common"' not in asked
    assert Vocabulary(kb._store).question("unknown word everywhere").match_query() == '"word"'


def test_terms_close_together_count_more(kb: KnowledgeBase, write: Write) -> None:
    kb.add(
        [
            write("far.txt", f"The zebra. {FILLER[:300]} The quartz. {FILLER[:300]} The marble."),
            write("near.txt", f"{FILLER[:300]} The zebra, the quartz and the marble. {FILLER[:300]}"),
        ]
    )
    assert [hit.path.name for hit in kb.search("zebra quartz marble")] == ["near.txt", "far.txt"]


def test_neighbours_become_one_hit_whose_text_is_the_document_s(kb: KnowledgeBase, write: Write) -> None:
    kb.add([write("long.txt", "\n\n".join(f"Paragraph {i} on zebras. {FILLER}" for i in range(6)))])
    hits = kb.search("zebras", k=2)
    whole = kb.text(hits[0].document_id)
    chunk_lengths = {chunk.end - chunk.start for chunk in kb.chunks(hits[0].document_id)}
    assert any(hit.end - hit.start > max(chunk_lengths) for hit in hits)
    assert all(whole[hit.start : hit.end] == hit.text for hit in hits)


def test_passages_of_the_same_words_are_shown_once(kb: KnowledgeBase, write: Write) -> None:
    kb.add([write("a.txt", f"Zebra. {FILLER}"), write("b.txt", f"Zebra! {FILLER}"), write("c.txt", "A zebra runs.")])
    assert len(kb.search("zebra")) == 2


LEASE = (
    "The tenant {pays} the landlord rent on the first working day of each month, by transfer to the account that "
    "the landlord names. The rent is {rent} euros. The landlord keeps the roof, the walls and the heating "
    "in good order, and the tenant tells him of any damage as soon as it is seen. Pets need the landlord's consent."
)


def test_drafts_of_one_text_are_one_hit_that_names_the_others(kb: KnowledgeBase, write: Write) -> None:
    lease = LEASE.format(pays="pays", rent=900)
    drafts = {
        "a.txt": lease,
        "b.txt": lease.replace("as soon as", "when"),
        "c.txt": lease + " He thanks you.",
        "copy.txt": lease,
    }
    kb.add([write(name, text) for name, text in drafts.items()])
    kb.add([write("other.txt", "Rent is dear in the town. " + FILLER)])
    hits = kb.search("When does the tenant pay the landlord rent?")
    assert [hit.path.name for hit in hits[1:]] == ["other.txt"]
    assert {hits[0].path.name, *(place.path.name for place in hits[0].also)} == {*drafts}
    for place in hits[0].also:
        assert kb.text(place.document_id)[place.start : place.end].startswith("The tenant pays")


def test_a_draft_that_says_something_else_stays(kb: KnowledgeBase, write: Write) -> None:
    drafts = {f"{rent}.txt": LEASE.format(pays="pays", rent=rent) for rent in (900, 950, 980, 990)}
    kb.add([write(name, text) for name, text in drafts.items()])
    hits = kb.search("How much rent does the tenant pay?")
    assert len(hits) == 2
    assert {place.path.name for hit in hits for place in hit.also} | {hit.path.name for hit in hits} == {*drafts}
    kb.add([write("not.txt", LEASE.format(pays="does not pay", rent=900))], "denied")
    kb.add([write("yes.txt", LEASE.format(pays="pays", rent=900))], "denied")
    assert len(kb.search("How much rent does the tenant pay?", collections=["denied"])) == 2


def test_a_follow_up_uses_the_question_before_it(kb: KnowledgeBase, write: Write) -> None:
    kb.add(
        [write("lease.txt", "The lease costs 900 euros a month."), write("car.txt", "The car costs 90 euros a day.")]
    )
    assert kb.search("and what does it cost?", history=["Tell me about the lease"])[0].path.name == "lease.txt"
    assert kb.search("and what does it cost?", history=["Tell me about the car"])[0].path.name == "car.txt"


def test_a_file_s_name_in_the_question_counts(kb: KnowledgeBase, write: Write) -> None:
    kb.add([write("garden.txt", "We met on Monday."), write("budget.txt", "We met on Monday, too.")])
    assert kb.search("budget: Monday?")[0].path.name == "budget.txt"


def test_a_reranker_has_the_last_word(tmp_path: Path, embedder: HashEmbedder, write: Write) -> None:
    class Longest:
        def score(self, query: str, passages: Sequence[str]) -> list[float]:
            return [float(len(passage)) for passage in passages]

    with KnowledgeBase(tmp_path / "library", embedder, reranker=Longest()) as kb:
        kb.add([write("a.txt", "A zebra."), write("b.txt", "A zebra that runs through the grass.")])
        assert [hit.path.name for hit in kb.search("zebra")] == ["b.txt", "a.txt"]


@pytest.mark.parametrize("query", ["", "?", '" OR *', "NEAR(a b)", "\ud800", "x" * 10_000, "的" * 3000])
def test_any_query_has_an_answer(kb: KnowledgeBase, write: Write, query: str) -> None:
    kb.add([write("a.txt", "A zebra.")])
    assert isinstance(kb.search(query), list)


def test_an_empty_library_finds_nothing(kb: KnowledgeBase) -> None:
    assert kb.search("zebra") == []
    assert not kb.answerable("zebra", [])
    assert kb.self_test() is None


def test_the_self_test_measures_each_way_of_searching(kb: KnowledgeBase, write: Write) -> None:
    animals = ("zebra", "tapir", "gecko", "heron", "otter", "bison")
    kb.add(
        [
            write(f"{name}.md", f"# The {name}\n\nThe {name} eats at dawn near river {name}ville with its young.")
            for name in animals
        ]
    )
    found = kb.self_test()
    assert found is not None
    assert set(found.figures) == {"keyword", "dense", "hybrid"}
    assert found.figures["hybrid"].recall_at_5 > 0.5
    times_ms = [leg.ms for leg in found.figures.values()]
    assert all(times_ms)
    assert found.figures["hybrid"].ms == max(times_ms)
    assert found.advice


def test_the_self_test_says_when_another_weight_of_the_vectors_is_better(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fusion, "LATIN", replace(fusion.LATIN, similarity=5.0))  # they weigh far too much

    with KnowledgeBase(tmp_path / "library", MisleadingEmbedder()) as kb:
        kb.add([write(name, text) for name, text in misleading_files()])
        found = kb.self_test()
        assert found is not None
        assert found.better_weight is not None
        kb.meaning_weight = found.better_weight
        again = kb.self_test()
    assert again is not None
    assert again.figures["hybrid"].mrr == found.better_mrr
    assert again.better_weight is None
    assert found.better_weight == 0
    assert found.better_mrr > found.figures["hybrid"].mrr
    assert "Meaning weighing 0 times the usual, not 1, would be better for these files" in found.advice


def test_a_library_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.database.write() as connection:
        connection.execute("COMMIT")
        connection.execute("PRAGMA user_version = 99")
        connection.execute("BEGIN")
    store.close()
    with pytest.raises(DataError, match="has format 99"):
        Store(tmp_path)


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / schema.FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(DataError, match="is damaged"):
        Store(tmp_path)


def test_a_python_without_full_text_search_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    class Without(sqlite3.Connection):
        def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
            return super().execute(sql.replace("fts5", "fts_missing"), *values)  # type: ignore[arg-type]

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Without, **k))
    with pytest.raises(SetupError, match="has no full-text search"):
        Store(tmp_path)


def test_the_weight_of_meaning_changes_the_order_and_is_kept(
    tmp_path: Path, embedder: HashEmbedder, write: Write
) -> None:
    with KnowledgeBase(tmp_path / "library", embedder) as kb:
        kb.add([write("a.txt", "A zebra."), write("b.txt", "A zebra runs through the grass at dawn.")])
        usual = kb.search("zebra")
        kb.meaning_weight = 4.0
        heavier = kb.search("zebra")
        assert [hit.path for hit in heavier] == [hit.path for hit in usual]
        assert heavier[0].score > usual[0].score
        with pytest.raises(ConfigError, match=r"weight of meaning of -1 makes no sense\. Give a number from 0 to 100"):
            kb.meaning_weight = -1
    with KnowledgeBase(tmp_path / "library", embedder) as kb:
        assert kb.meaning_weight == 4.0
        assert kb.search("zebra")[0].score == heavier[0].score


@pytest.mark.parametrize("weight", [0.0, 1.0, 4.0])
def test_the_gate_sees_the_usual_score_whatever_meaning_weighs(kb: KnowledgeBase, write: Write, weight: float) -> None:
    kb.add([write(f"{name}.txt", f"The {name} eats grass at dawn near {name}ville.") for name in ("zebra", "tapir")])
    signs = Signs.of("When does the zebra eat?", kb.search("When does the zebra eat?"), null_cosine=0.3, rarity=0.6)
    kb.meaning_weight = weight
    hits = kb.search("When does the zebra eat?")
    weighted = Signs.of("When does the zebra eat?", hits, null_cosine=0.3, rarity=0.6, meaning_weight=weight)
    assert weighted.score == pytest.approx(signs.score)
