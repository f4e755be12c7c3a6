"""Thumbs, corrections and versions in a real browser: what is pressed is what is kept."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_page import ANSWER, SEND, ask

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Open = Callable[..., Page]
PICTURES = Path(__file__).resolve().parents[2] / ".pytest_cache" / "pictures"


def answered(page: Page, text: str) -> None:
    """Ask for a short answer and wait for its end."""
    page.click("#sampling button")
    page.get_by_label(re.compile("number input")).nth(2).fill("16")
    page.locator("#sampling [data-testid='textbox']").fill("1")
    page.click("#sampling button")
    ask(page, text)
    expect(page.locator("#status")).to_have_text(re.compile("context|上下文"), timeout=60_000)
    expect(page.locator(SEND)).to_be_visible()
    page.wait_for_timeout(500)  # the browser keeps the conversation a moment after it is shown


NAMES = {
    "en-US": {"like": "Like", "edit": "Edit", "submit": "Submit", "retry": "Retry", "kept": "Kept: your wording"},
    "zh-CN": {"like": "赞", "edit": "编辑", "submit": "发送", "retry": "重试", "kept": "您的改写优于"},
}


@pytest.mark.parametrize("locale", ["en-US", pytest.param("zh-CN", marks=pytest.mark.long)])
def test_a_thumb_a_correction_and_the_versions_are_kept(open_page: Open, locale: str) -> None:
    names = NAMES[locale]
    page = open_page(locale=locale, viewport={"width": 1100, "height": 900})
    answered(page, f"Say something, {locale}")  # a thumb of the other language would be there already
    said = page.inner_text(ANSWER)
    page.click(f"#conversation [title='{names['like']}']")
    page.reload()
    page.wait_for_selector("#composer textarea")
    expect(page.locator(ANSWER)).to_have_text(said)
    # What the browser kept is there by then.
    expect(page.locator("#status")).to_have_text(re.compile("ready|就绪|tokens/s|词元/秒"))
    page.locator(f"#conversation [title='{names['edit']}']").last.click()
    page.locator("#conversation textarea").fill("It reads better so.")
    page.click(f"#conversation [title='{names['submit']}']")
    expect(page.locator(ANSWER)).to_have_text("It reads better so.")
    expect(page.get_by_text(names["kept"])).to_be_visible()
    expect(page.locator(".version-place")).to_have_text("2 / 2")
    picture(page, f"versions-{locale}")
    page.locator(".astrai-mark button").first.click()
    expect(page.locator(ANSWER)).to_have_text(said)
    page.click("#version-better")


def picture(page: Page, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png")
