"""The settings in a browser: threads that stay, a backup that is fetched and put back, a zip that is none."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def page(start: Callable[..., str], browser: Browser) -> Page:
    page = browser.new_context(locale="en-US").new_page()
    page.goto(start())
    page.wait_for_selector("#conversation .example", state="attached")
    page.click("#settings-tab-button")
    expect(page.locator("#data-place code")).to_be_visible()  # all is shown: nothing overwrites what is typed
    return page


def test_threads_stay_and_a_backup_comes_out_and_back_in(page: Page, tmp_path: Path) -> None:
    page.fill("#num-threads input", "1")
    page.press("#num-threads input", "Enter")
    expect(page.locator("body")).to_contain_text("keeps its threads until it is loaded again")
    page.click("#archive .act.back_up")
    with page.expect_download() as download:
        page.click("#archive a.fetch")
    backup = tmp_path / download.value.suggested_filename
    download.value.save_as(backup)
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"PK\x03\x04" + b"\0" * 2_000_000)
    page.set_input_files("#archive input", bad)
    expect(page.locator("#archive .sent")).to_contain_text("bad.zip is no archive of AstrAI")
    page.set_input_files("#archive input", backup)
    expect(page.locator("#archive .staged")).to_contain_text("At the next start of AstrAI")
    expect(page.locator("#archive .staged")).to_contain_text("settings")
    page.reload()
    page.wait_for_selector("#conversation .example", state="attached")
    page.click("#settings-tab-button")
    expect(page.locator("#num-threads input")).to_have_value("1")
    page.click("#archive .staged .act")
    expect(page.locator("#archive .staged")).to_have_count(0)
