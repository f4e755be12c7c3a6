"""Which folders the page offers to narrow a search to."""

from pathlib import Path

from app.scope import folders
from rag.rows import DocumentRow

COPIES = Path("/home/me/.astrai/library/files")


def row(path: str) -> DocumentRow:
    return DocumentRow(1, Path(path), "home", "md", "", None, (), 1, 0, "", 1, 1)


def test_a_folder_of_folders_is_offered_beside_them() -> None:
    rows = [row("/data/notes/2025/a.md"), row("/data/notes/2026/b.md"), row("/data/notes/2026/c.md")]
    assert [path for _, path in folders(rows, COPIES)] == ["/data/notes", "/data/notes/2025", "/data/notes/2026"]
    assert next(path for _, path in folders([*rows, row("/mnt/d.md")], COPIES)) == "/data/notes"


def test_of_dropped_folders_the_part_that_was_dropped_is_named() -> None:
    rows = [row(f"{COPIES}/batch1/notes/a/1.md"), row(f"{COPIES}/batch1/notes/b/2.md"), row(f"{COPIES}/batch2/3.md")]
    assert folders(rows, COPIES) == [
        ("notes", f"{COPIES}/batch1/notes"),
        ("notes/a", f"{COPIES}/batch1/notes/a"),
        ("notes/b", f"{COPIES}/batch1/notes/b"),
    ]
