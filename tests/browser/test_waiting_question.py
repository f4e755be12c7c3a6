"""A question that is sent while the answer before it waits for the model, or is being made: it follows that answer."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_library import logged_in

pytestmark = [pytest.mark.browser, pytest.mark.slow]

COMPOSER = "#composer textarea"
NOTE = "#composer-waits p"
SEND, STOP = "#composer .submit-button", "#composer .stop-button"
SAID = "#conversation .message-content"
FIRST, SECOND, LONG = "Of ferries.", "Of trains.", " ".join(["On"] * 40)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gate") / "open"


@pytest.fixture(scope="module")
def address(
    start: Callable[..., str], browser: Browser, tmp_path_factory: pytest.TempPathFactory, gate: Path
) -> Iterator[tuple[str, list[object]]]:
    script = tmp_path_factory.mktemp("script") / "script.json"
    script.write_text(json.dumps({"ferries": FIRST, "trains": SECOND, "talk": LONG}), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASTRAI_SCRIPT_GATE", str(gate))
        patch.setenv("ASTRAI_SCRIPT_PAUSE_S", "0.05")
        yield logged_in(start(str(script), program=["tests.browser.scripted_app"]), browser)


@pytest.fixture
def page(browser: Browser, address: tuple[str, list[object]]) -> Iterator[Page]:
    context = browser.new_context(storage_state={"cookies": address[1]}, locale="en-US")  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(address[0])
    page.wait_for_selector("#conversation .example", state="attached")
    yield page
    context.close()


def send(page: Page, text: str) -> None:
    page.fill(COMPOSER, text)
    page.press(COMPOSER, "Enter")


def expect_said(page: Page, *said: str) -> None:
    expect(page.locator(SAID)).to_have_text(list(said), timeout=30_000)
    expect(page.locator(SEND)).to_be_visible()
    expect(page.locator("#conversation")).not_to_contain_text("/2")


def test_questions_sent_while_the_model_loads_follow_what_was_asked_and_answered(page: Page, gate: Path) -> None:
    send(page, "of ferries")
    page.keyboard.type("of tr", delay=0)  # before the first one was taken, on a slow machine
    expect(page.locator(STOP)).to_be_visible()
    expect(page.locator(COMPOSER)).to_have_value("of tr")
    page.keyboard.type("ains")
    page.press(COMPOSER, "Enter")
    page.press(COMPOSER, "Enter")
    expect(page.locator(NOTE)).to_contain_text("sent when the answer has ended")
    expect(page.locator(COMPOSER)).to_have_value("of trains")
    page.keyboard.press("Escape")  # the first answer, before its first word
    expect(page.locator(SAID)).to_have_text(["of ferries", "of trains"])
    expect(page.locator(STOP)).to_be_visible()
    send(page, "and of ferries")
    expect(page.locator(NOTE)).to_contain_text("sent when the answer has ended")
    gate.touch()
    expect_said(page, "of ferries", "of trains", SECOND, "and of ferries", FIRST)
    expect(page.locator(COMPOSER)).to_have_value("")
    expect(page.locator(NOTE)).to_have_text("")


@pytest.mark.long
def test_what_is_edited_or_belongs_to_another_conversation_is_not_sent(page: Page, gate: Path) -> None:
    gate.touch()
    send(page, "talk")
    expect(page.locator(STOP)).to_be_visible()
    send(page, "of trains")
    page.keyboard.type(" and")
    expect(page.locator(NOTE)).to_have_text("")
    page.keyboard.press("Escape")
    expect(page.locator(SEND)).to_be_visible()
    expect(page.locator(COMPOSER)).to_have_value("of trains and")
    send(page, "talk again")
    expect(page.locator(STOP)).to_be_visible()
    send(page, "of ferries")
    page.click("#new-chat")
    expect(page.locator(SAID)).to_have_count(0)
    expect(page.locator(SEND)).to_be_visible()
    page.wait_for_timeout(300)
    expect(page.locator(COMPOSER)).to_have_value("of ferries")
    expect(page.locator(SAID)).to_have_count(0)


@pytest.mark.long
def test_a_second_window_of_the_conversation_keeps_its_text_while_the_first_is_answered(page: Page, gate: Path) -> None:
    gate.touch()
    send(page, "of ferries")
    expect(page.locator(SEND)).to_be_visible()
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator(SAID)).to_have_text(["of ferries", FIRST])
    send(page, "talk")
    expect(page.locator(STOP)).to_be_visible()
    send(other, "of trains")
    expect(other.locator("body")).to_contain_text("An answer is still being made in this conversation.")
    expect(other.locator(COMPOSER)).to_have_value("of trains")
    page.keyboard.press("Escape")
    expect(page.locator(SEND)).to_be_visible()
    other.press(COMPOSER, "Enter")
    expect(other.locator(SAID).last).to_have_text(SECOND)
