"""What the models page shows, in both languages; whatever others wrote is escaped."""

from pathlib import Path

import pytest

from app.adding import Addition
from app.catalogue import BY_NAME, CATALOGUE, FIRST
from app.downloads import Download, DownloadState
from app.i18n import LANGUAGES
from app.machine_speed import MachineSpeed
from app.model_shelf import Origin, ShelfModel, Trashed
from app.models_view import duration, first_html, getting_html, memory_line, offers_html, roughly, shelf_html, size
from app.receipt import UNMARKED, Visit
from app.receipt_view import receipt_html
from core.errors import ModelError

SPEED = MachineSpeed(read_gb_per_s=35.4, fp32_gflop_per_s=159.0, measured_at=0.0, num_cores=2)
EVIL = "<img src=x onerror=alert(1)>\"'"


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_that_others_wrote_is_markup(language: str) -> None:
    model = ShelfModel(
        path=Path(f"/models/{EVIL}"), name=EVIL, origin=Origin.ADDED, is_loaded=True, is_chosen=True,
        facts=None, estimate=None, problem=EVIL,
    )  # fmt: skip
    visit = Visit(EVIL, (EVIL,), 1.0, 2.0, 5, (EVIL,))
    failed = Download(name=EVIL, state=DownloadState.FAILED, sentences=(EVIL, EVIL), commit=EVIL, file=EVIL)
    shown = [
        shelf_html([model], [Trashed(EVIL, EVIL, 1, 0.0)], language),
        getting_html([failed], Addition(f"/x/{EVIL}", is_ended=True, error=ModelError(EVIL, EVIL)), EVIL, language),
        getting_html([Download(name=EVIL, state=DownloadState.RUNNING)], Addition(EVIL), EVIL, language),
        memory_line({"own": 1, "free": 2, "total": 3}, EVIL, language),
        receipt_html([visit], 0.0, language),
        first_html([BY_NAME[name] for name in FIRST], SPEED, EVIL, language),
        offers_html({}, SPEED, EVIL, language),
    ]
    assert [html for html in shown if "<img" in html] == []


def test_every_offer_states_licence_size_memory_and_speed() -> None:
    html = offers_html({"Qwen/Qwen3-0.6B": None}, SPEED, "huggingface.co", "en")
    assert html.count("tokens/s, reads") == html.count("in memory as") == len(CATALOGUE)
    assert html.count("licence Apache-2.0") == 7
    assert html.count("licence not stated") == html.count("newest version") == 1
    assert html.count("is here") == 1
    assert html.count('data-act="download"') == len(CATALOGUE) - 1


def test_a_running_download_shows_bytes_rate_and_time_to_go() -> None:
    running = Download(
        name="a/b", state=DownloadState.RUNNING, done_bytes=10**9, total_bytes=3 * 10**9, bytes_per_s=2e6, eta_s=1000.0
    )
    html = getting_html([running], None, "hub", "en")
    assert "1.0 GB of 3.0 GB · 2 MB/s · 17 min left" in html
    assert '<progress value="1000000000" max="3000000000">' in html
    assert 'data-act="cancel"' in html


def test_a_connection_that_is_no_download_is_told_as_such() -> None:
    fetched = Visit("a/b", ("hub",), 10.0, 20.0, 5, ("x",))
    strange = Visit(UNMARKED, ("192.0.2.1",), 30.0, 30.0)
    assert "only what you asked for was fetched: 1 of" in receipt_html([fetched], 5.0, "en")
    assert "Nothing left this computer" in receipt_html([fetched], 25.0, "en")
    assert "that were no download of yours: 1." in receipt_html([strange, fetched], 5.0, "en")


def test_figures_are_short() -> None:
    assert [size(7_000_000), size(999_600_000), size(3.1e9)] == ["7 MB", "1.0 GB", "3.1 GB"]
    assert [duration(45), duration(720), duration(12_240)] == ["45 s", "12 min", "3.4 h"]
    assert [roughly(1488), roughly(33.4), roughly(21_909)] == ["1,500", "33", "22,000"]


def test_an_error_of_a_download_that_was_kept_is_said_in_the_pages_language() -> None:
    kept = Download(
        name="owner/name",
        state=DownloadState.FAILED,
        sentences=(
            "The disk of {folder} is full ({reason}).",
            "Free some space and start again; it goes on where it stopped.",
        ),
        values={"folder": "/data", "reason": "ENOSPC"},
    )
    assert "/data 所在磁盘已满（ENOSPC）。请腾出空间后重新开始" in getting_html([kept], None, "hub", "zh")
    assert "The disk of /data is full (ENOSPC)." in getting_html([kept], None, "hub", "en")
