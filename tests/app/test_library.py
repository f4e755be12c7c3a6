"""The library behind the page: its thread, copies of dropped files, and a restart."""

import io
import threading
from pathlib import Path

import pytest

from app.dropped_files import BATCH
from app.library import COPIES, Library, collection_name
from core.errors import DataError
from tests.rag.conftest import HashEmbedder

LEASE = "# Lease\n\nThe lease of the flat in Hamburg ends on 31 March 2027.\n"
DROP = "drop000001"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library", embedder=HashEmbedder)


def written(folder: Path, *names: str, text: str = LEASE) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}{path.name}", encoding="utf-8")
    return paths


def drop(library: Library, name: str, text: str = LEASE, batch: str = DROP) -> bool:
    return library.receive(batch, name, io.BytesIO(text.encode()), "home")


def test_nothing_is_opened_before_it_is_asked(library: Library) -> None:
    assert not library.exists
    assert library.collections() == {}
    assert not library.folder.exists()


def test_files_are_added_in_the_background_and_counted(library: Library, tmp_path: Path) -> None:
    paths = written(tmp_path / "files", "a.md", "b.md", "broken.pdf")
    library.add(paths, "home")
    assert library.activity.is_running
    assert library.wait(timeout_s=60)
    assert library.activity.counts == {"added": 2, "failed": 1}
    assert len(library.activity.failed) == 1
    assert library.collections() == {"home": 3}


def test_a_path_that_is_not_there_is_refused_at_once(library: Library, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        library.add([tmp_path / "nothing"], "home")


def test_cancelling_ends_the_work_at_its_file(library: Library, tmp_path: Path) -> None:
    paths = written(tmp_path / "files", *(f"{number}.md" for number in range(100)))
    library.open()
    assert library.wait(timeout_s=60)
    library.add(paths, "home")
    library.cancel()
    assert library.wait(timeout_s=20)
    assert len(library.open().documents()) < len(paths)


def test_a_watched_folder_is_read_and_kept(library: Library, tmp_path: Path) -> None:
    folder = written(tmp_path / "files", "a.md")[0].parent
    library.watch(folder, "home")
    assert library.wait(timeout_s=60)
    assert library.open().watched() == [(folder, "home")]
    assert library.collections() == {"home": 1}


def test_dropped_files_are_copied_and_the_same_bytes_once(library: Library) -> None:
    assert drop(library, "lease.md")
    assert not drop(library, "copy of lease.md")
    library.finish(DROP, "home")
    assert library.wait(timeout_s=60)
    assert [row.path.name for row in library.open().documents()] == ["lease.md"]
    assert not drop(library, "lease.md", batch="drop000002")
    library.finish("drop000002", "home")
    assert sorted(path.name for path in (library.folder / COPIES).rglob("*.md")) == ["lease.md"]


def test_of_a_dropped_folder_only_known_kinds_are_kept_but_a_dropped_file_is_always_tried(library: Library) -> None:
    drop(library, "folder/notes.md")
    drop(library, "folder/program.bin", "\x00\x01")
    drop(library, "alone.bin", "\x00\x02")
    library.finish(DROP, "home")
    assert library.wait(timeout_s=60)
    states = {row.path.name: row.state for row in library.open().documents()}
    assert states == {"notes.md": "ready", "alone.bin": "failed"}
    assert not list(library.folder.rglob("program.bin"))


@pytest.mark.parametrize(
    "name", ["../lease.md", "/etc/passwd", "a/../../b", "..\\b", "", "c:lease.md", "a\nb", "x" * 300]
)
def test_a_name_cannot_leave_the_folder_of_copies(library: Library, name: str) -> None:
    with pytest.raises(DataError, match="is no name for a file"):
        drop(library, name)


@pytest.mark.parametrize("batch", ["../../etcetera", "short", "UPPER0000", "x" * 41])
def test_a_batch_is_a_plain_word(library: Library, batch: str) -> None:
    assert not BATCH.fullmatch(batch)
    with pytest.raises(DataError, match="is no name"):
        drop(library, "lease.md", batch=batch)


def test_a_file_over_the_limit_leaves_nothing(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.dropped_files.MAX_COPIED_BYTES", 10)
    with pytest.raises(DataError, match="over 10 bytes"):
        drop(library, "lease.md")
    assert not list(library.folder.rglob("lease.md"))


def test_removing_a_document_deletes_its_copy_but_never_a_file_of_the_user(library: Library, tmp_path: Path) -> None:
    own = written(tmp_path / "files", "own.md", text="Other words.")[0]
    drop(library, "lease.md")
    library.finish(DROP, "home")
    library.add([own], "home")
    assert library.wait(timeout_s=60)
    library.remove([row.id for row in library.open().documents()])
    assert own.exists()
    assert not list(library.folder.rglob("lease.md"))
    assert library.collections().get("home", 0) == 0


def test_a_restart_finds_everything_and_follows_the_folders(library: Library, tmp_path: Path) -> None:
    folder = written(tmp_path / "files", "a.md")[0].parent
    library.watch(folder, "home")
    assert library.wait(timeout_s=60)
    library.close()
    written(folder, "b.md", text="News of today.")
    again = Library(library.folder, embedder=HashEmbedder)
    assert again.exists
    again.open()
    assert again.wait(timeout_s=60)
    assert [row.path.name for row in again.open().documents()] == ["a.md", "b.md"]
    again.close()


def test_several_threads_open_one_library(library: Library) -> None:
    opened: list[object] = []
    threads = [threading.Thread(target=lambda: opened.append(library.open())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, opened))) == 1


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "a\x00b"])
def test_a_collection_has_a_name(name: str) -> None:
    with pytest.raises(DataError, match="no name for a collection"):
        collection_name(name)


def test_an_embedder_that_is_gone_is_a_sentence_and_the_documents_are_still_listed(tmp_path: Path) -> None:
    def broken() -> HashEmbedder:
        raise DataError("The embedder is gone.", "Put it back.")

    lost = Library(tmp_path / "lost", embedder=broken)
    lost.add(written(tmp_path / "files", "a.md"), "home")
    assert lost.wait(timeout_s=60)
    assert str(lost.activity.error) == "The embedder is gone. Put it back."
    assert lost.open().documents() == []
    with pytest.raises(DataError, match="The embedder is gone"):
        lost.open().search("lease")
