"""The library's door: what becomes of files, and what is found."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.errors import BusyError, DataError
from rag import KnowledgeBase
from tests.rag.conftest import HashEmbedder, Write

LEASE = "# Lease\n\nThe lease of the flat in Hamburg ends on 31 March 2027.\n"
CAT = "# Cat\n\nThe cat sleeps on the warm oven all day.\n"
RIVER = "# 河流\n\n长江是中国最长的河流，全长六千三百公里。\n"


def names(kb: KnowledgeBase, query: str, **options: object) -> list[str]:
    return [hit.path.name for hit in kb.search(query, **options)]  # type: ignore[arg-type]


def test_a_folder_is_added_and_found_by_its_words(kb: KnowledgeBase, write: Write) -> None:
    folder = write("lease.md", LEASE).parent
    write("sub/cat.md", CAT)
    write("sub/.hidden.md", CAT)
    write("sub/~$cat.md", CAT)
    assert kb.add([folder]).counts == {"added": 2}
    hit = kb.search("When does the lease end?")[0]
    assert hit.path.name == "lease.md"
    assert hit.text in kb.text(hit.document_id)
    assert kb.text(hit.document_id)[hit.start : hit.end] == hit.text
    assert hit.legs["keyword"].rank == 1


def test_an_unchanged_file_is_left_alone_and_a_changed_one_is_read_again(kb: KnowledgeBase, write: Write) -> None:
    path = write("lease.md", LEASE)
    kb.add([path])
    assert kb.add([path]).counts == {"unchanged": 1}
    write("lease.md", "# Lease\n\nNow it is about a bicycle.\n")
    assert kb.add([path]).counts == {"updated": 1}
    assert names(kb, "Hamburg flat") == ["lease.md"]  # the only document there is
    assert "bicycle" in kb.search("Hamburg flat")[0].text
    assert len(kb.documents()) == 1


def test_a_touched_file_keeps_its_passages(kb: KnowledgeBase, write: Write) -> None:
    path = write("lease.md", LEASE)
    kb.add([path])
    before = [chunk.id for chunk in kb.chunks(kb.documents()[0].id)]
    path.touch()
    assert kb.add([path]).counts == {"unchanged": 1}
    assert [chunk.id for chunk in kb.chunks(kb.documents()[0].id)] == before


def test_a_renamed_file_keeps_its_document_and_vectors(kb: KnowledgeBase, write: Write) -> None:
    path = write("lease.md", LEASE)
    kb.add([path])
    document = kb.documents()[0]
    chunk_ids = [chunk.id for chunk in kb.chunks(document.id)]
    new = path.rename(path.with_name("contract.md"))
    assert kb.add([new]).counts == {"renamed": 1}
    (renamed,) = kb.documents()
    assert (renamed.id, renamed.path) == (document.id, new)
    assert [chunk.id for chunk in kb.chunks(renamed.id)] == chunk_ids


def test_equal_files_share_their_passages_until_the_last_one_goes(kb: KnowledgeBase, write: Write) -> None:
    paths = [write("one.md", LEASE), write("two.md", LEASE)]
    kb.add(paths)
    one, two = kb.documents()
    assert kb.chunks(one.id) == kb.chunks(two.id)
    assert len(kb.search("lease Hamburg")) == 1
    kb.remove([one.id])
    assert names(kb, "lease Hamburg") == ["two.md"]
    kb.remove([two.id])
    assert kb.search("lease Hamburg") == []
    assert kb.documents() == []


def test_collections_kinds_paths_and_dates_limit_a_search(kb: KnowledgeBase, write: Write) -> None:
    kb.add([write("a/lease.md", LEASE)], "home")
    kb.add([write("b/lease.txt", LEASE + "More about the lease.")], "work")
    assert names(kb, "lease", collections=["work"]) == ["lease.txt"]
    assert names(kb, "lease", kinds=["md"]) == ["lease.md"]
    assert names(kb, "lease", path_prefix=kb.documents("home")[0].path.parent) == ["lease.md"]
    assert names(kb, "lease", after=datetime(2100, 1, 1, tzinfo=UTC)) == []
    kb.move([kb.documents("home")[0].id], "work")
    assert names(kb, "lease", collections=["home"]) == []
    assert kb.collections() == {"home": 0, "work": 2}


def test_chinese_is_found_by_a_word_inside_a_sentence_in_either_script(kb: KnowledgeBase, write: Write) -> None:
    kb.add(
        [write("river.md", RIVER), write("fan.md", "# 說明\n\n臺灣的軟體開發與資料庫管理。\n"), write("cat.md", CAT)]
    )
    assert names(kb, "最长的河流", k=1) == ["river.md"]
    assert names(kb, "最長的河流有多長", k=1) == ["river.md"]
    assert names(kb, "台湾的数据库和资料库", k=1) == ["fan.md"]


def test_a_file_that_cannot_be_read_is_one_line_and_the_rest_goes_on(kb: KnowledgeBase, write: Write) -> None:
    bad = write("bad.pdf", "this is no pdf")
    report = kb.add([bad, bad.with_name("missing.md"), write("cat.md", CAT)])
    assert report.counts == {"added": 1, "failed": 2}
    assert all(result.sentence for result in report.failed)
    failed = next(document for document in kb.documents() if document.error)
    assert failed.path == bad
    assert kb.add([bad]).failed[0].sentence == str(failed.error)


def test_a_watched_folder_is_followed(kb: KnowledgeBase, write: Write) -> None:
    cat, lease = write("cat.md", CAT), write("lease.md", LEASE)
    kb.watch(cat.parent)
    assert kb.rescan().counts == {"added": 2}
    cat.unlink()
    lease.rename(lease.with_name("contract.md"))
    write("river.md", RIVER)
    assert kb.rescan().counts == {"added": 1, "renamed": 1, "removed": 1}
    assert [document.path.name for document in kb.documents()] == ["contract.md", "river.md"]
    moved = cat.parent.rename(cat.parent.with_name("unplugged"))
    assert kb.rescan().counts == {}
    assert len(kb.documents()) == 2
    moved.rename(cat.parent)
    assert kb.rescan().counts == {"unchanged": 2}


def test_progress_is_told_and_stopping_keeps_what_was_done(kb: KnowledgeBase, write: Write) -> None:
    for i in range(12):
        folder = write(f"{i}.md", f"# Note {i}\n\nText number {i}.\n").parent
    told: list[int] = []
    report = kb.add([folder], on_progress=lambda progress: told.append(progress.done), should_stop=lambda: bool(told))
    assert report.was_stopped
    assert 0 < len(kb.documents()) < 12
    assert kb.add([folder]).counts["added"] == 12 - len(report.results)


def test_a_second_writer_is_refused_with_a_sentence_and_may_search(
    kb: KnowledgeBase, write: Write, tmp_path: Path, embedder: HashEmbedder
) -> None:
    kb.add([write("lease.md", LEASE)])
    with KnowledgeBase(tmp_path / "library", embedder) as other:
        assert names(other, "lease") == ["lease.md"]
        with pytest.raises(BusyError, match="Another program is writing to the library"):
            other.add([write("cat.md", CAT)])
        kb.add([write("cat.md", CAT)])
        assert names(other, "cat on the oven", k=1) == ["cat.md"]


def test_another_embedder_takes_over_when_every_passage_has_its_vector(kb: KnowledgeBase, write: Write) -> None:
    kb.add([write("lease.md", LEASE), write("cat.md", CAT)])
    new = HashEmbedder("hash-2", 32)
    seen: list[str] = []
    assert not kb.change_embedder(new, should_stop=lambda: True)
    assert kb.change_embedder(new, on_progress=lambda done: seen.append(kb.embedder.id))
    assert (seen, kb.embedder.id) == (["hash-1"], "hash-2")
    hit = kb.search("the cat on the oven")[0]
    assert (hit.path.name, hit.legs["dense"].rank) == ("cat.md", 1)


def test_a_search_works_while_files_are_added(kb: KnowledgeBase, write: Write) -> None:
    kb.add([write("lease.md", LEASE)])
    for i in range(30):
        folder = write(f"more/{i}.md", f"# Note {i}\n\nText number {i}.\n").parent
    adding = threading.Thread(target=kb.add, args=([folder],))
    adding.start()
    while adding.is_alive():
        assert names(kb, "lease in Hamburg", k=1) == ["lease.md"]
    adding.join()
    assert len(kb.documents()) == 31


def test_a_collection_is_made_and_forgotten_once_it_is_empty(kb: KnowledgeBase, write: Write, tmp_path: Path) -> None:
    kb.add_collection("home")
    kb.add_collection("home")
    kb.add([write("lease.md", LEASE)], "work")
    kb.watch(tmp_path, "work")
    with pytest.raises(DataError, match=r"The collection work has 1 documents\. Move or remove them first\."):
        kb.remove_collection("work")
    kb.move([document.id for document in kb.documents("work")], "home")
    kb.remove_collection("work")
    kb.remove_collection("never there")
    assert kb.collections() == {"home": 1}
    assert kb.watched() == []


def test_how_many_files_counts_the_collections_that_are_asked(kb: KnowledgeBase, write: Write) -> None:
    kb.add([write("lease.md", LEASE), write("cat.md", CAT)], "home")
    kb.add([write("river.txt", RIVER)], "work")
    assert kb.inventory("How many files do I have?") == "The library has 3 files (2 md, 1 txt)."
    assert kb.inventory("How many files do I have?", collections=["work"]) == "The library has 1 file (1 txt)."
    assert kb.document(kb.documents("work")[0].id) == kb.documents("work")[0]
    assert kb.document(10_000) is None
