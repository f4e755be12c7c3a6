"""The library's table and progress as HTML."""

from pathlib import Path

import pytest

from app.library_view import activity_html, documents_html, duration_text, self_test_html, size_text
from app.library_work import Activity
from core.errors import DataError
from rag.indexing import Progress
from rag.remarks import Remark
from rag.rows import DocumentRow
from rag.self_test import LegFigures, SelfTest

HOSTILE = "<img src=x onerror=alert(1)>"
SAID = Remark("damaged", {"reason": HOSTILE}, HOSTILE)


def row(name: str = "lease.pdf", *, error: Remark | None = None, notes: tuple[Remark, ...] = ()) -> DocumentRow:
    return DocumentRow(7, Path("/files") / name, "home", "pdf", "", error, notes, 1500, 0, "", 1, 12)


def test_a_row_says_what_became_of_its_file() -> None:
    assert '<tr class="ready">' in documents_html([row()], {7}, "en")
    assert 'value="7" aria-label="lease.pdf" checked' in documents_html([row()], {7}, "en")
    assert ">It is protected with a password." in documents_html([row(error=Remark("password"))], set(), "en")
    noted = documents_html([row(notes=(Remark("note_images", {"count": 1, "total": 2}),))], set(), "zh")
    assert '<tr class="noted">' in noted
    assert "只有图片：2 页中的 1 页" in noted


def test_names_and_sentences_of_files_are_escaped() -> None:
    page = documents_html([row(HOSTILE, error=SAID)], set(), "en")
    ended = activity_html(Activity(failed=(SAID,), error=DataError(HOSTILE, HOSTILE), counts={"failed": 1}), "en")
    under_way = activity_html(Activity(is_running=True, progress=Progress(Path(HOSTILE), 1, 2, 0, 2.0, 0.5)), "en")
    assert "<img" not in page + ended + under_way


def test_work_under_way_tells_rate_and_remaining_time() -> None:
    progress = Progress(Path("a.md"), 25, 100, 0, 5.0, 200.0)
    page = activity_html(Activity(is_running=True, progress=progress), "en")
    assert '<progress value="25" max="100">' in page
    assert "25 of 100 files · 5.0 files/s · 3:20 min left" in page


@pytest.mark.parametrize(
    ("was_stopped", "language", "words"),
    [
        (False, "en", "2 added, 1 not read in 3.5 s."),
        (True, "en", "Cancelled after 3.5 s: 2 added"),
        (False, "zh", "新增 2 个，未读取 1 个，用时 3.5 秒。"),
    ],
)
def test_work_that_ended_is_counted(was_stopped: bool, language: str, words: str) -> None:
    activity = Activity(counts={"failed": 1, "added": 2}, was_stopped=was_stopped, elapsed_s=3.5)
    assert words in activity_html(activity, language)


def test_sizes_and_times_are_short() -> None:
    assert [size_text(size) for size in (312, 4100, 12_000_000)] == ["312 B", "4.1 KB", "12.0 MB"]
    assert [duration_text(time) for time in (8.2, 200, 3900)] == ["8 s", "3:20 min", "1:05 h"]


def test_a_measurement_names_each_way_of_searching_and_what_would_be_better() -> None:
    figures = {name: LegFigures(0.5, 0.25, ms) for name, ms in (("keyword", 1.5), ("dense", 2.5), ("hybrid", 12.0))}
    shown = self_test_html(SelfTest(7, figures), "en")
    assert shown.count("50.0%") == 3
    assert "7 questions were made from your documents." in shown
    assert [ms in shown for ms in ("1.5 ms", "2.5 ms", "12.0 ms")] == [True] * 3
    assert "The settings fit these documents." in shown
    better = self_test_html(SelfTest(7, figures, 1.0, 2.0, 0.3), "zh")
    assert "2 倍" in better
    assert "词语" in self_test_html(SelfTest(7, figures, 1.0, 0.0, 0.3), "zh").rpartition("</table>")[2]
    assert "The usual weight" in self_test_html(SelfTest(7, figures, 2.0, 1.0, 0.3), "en")
    assert "too little text" in self_test_html(None, "en")
