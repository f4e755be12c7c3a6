"""The page as its user meets it, in a real browser, against the real program."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

COMPOSER = "#composer textarea"
ANSWER = "#conversation .bot .message-content"
QUESTION = "#conversation .user .message-content"
STOP = "#composer .stop-button"
SEND = "#composer .submit-button"
Open = Callable[..., Page]


def ask(page: Page, text: str) -> None:
    page.fill(COMPOSER, text)
    page.press(COMPOSER, "Enter")


def ask_for_a_long_answer(page: Page, text: str) -> None:
    """Ask with room for an answer that takes seconds, so that it can be stopped."""
    page.click("#sampling button")
    page.get_by_label("number input for Longest answer, in tokens").fill("2048")
    page.keyboard.press("Tab")
    ask(page, text)
    wait_for_words(page, 0)


def answer_length(page: Page) -> int:
    return len(page.inner_text(ANSWER))


def wait_for_words(page: Page, more_than: int) -> int:
    """Wait until the answer has grown beyond a length; gives the new one."""
    page.wait_for_function(
        "([selector, length]) => (document.querySelector(selector)?.innerText.length ?? 0) > length",
        arg=[ANSWER, more_than],
    )
    return answer_length(page)


def test_words_stream_in_and_the_status_line_tells_their_speed(open_page: Open) -> None:
    page = open_page(locale="en-US")
    ask_for_a_long_answer(page, "Tell me something")
    first = answer_length(page)
    second = wait_for_words(page, first)
    assert wait_for_words(page, second) > second > first
    expect(page.locator("#status")).to_have_text(
        re.compile(r"\d+ tokens/s · first after \d+\.\d\d s · \d+ tokens · \d+ of 4096 tokens of context")
    )


def test_stop_ends_the_answer_at_once_and_the_next_question_is_answered(open_page: Open) -> None:
    page = open_page(locale="en-US")
    ask_for_a_long_answer(page, "Talk on and on")
    page.click(STOP)
    expect(page.locator("#status")).to_contain_text("stopped")
    expect(page.locator(SEND)).to_be_visible()
    stopped_at = answer_length(page)
    page.wait_for_timeout(400)
    assert answer_length(page) == stopped_at
    ask(page, "And now?")
    expect(page.locator(QUESTION)).to_have_count(2)
    expect(page.locator(ANSWER)).to_have_count(2)


def test_escape_stops_the_answer(open_page: Open) -> None:
    page = open_page(locale="en-US")
    ask_for_a_long_answer(page, "Talk on and on")
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_contain_text("stopped")


@pytest.mark.slow
def test_regenerate_answers_the_same_question_again(open_page: Open) -> None:
    page = open_page(locale="en-US")
    ask_for_a_long_answer(page, "Say something")
    page.click(STOP)
    expect(page.locator("#status")).to_contain_text("stopped")
    before = page.inner_text(ANSWER)
    page.click("#conversation button[title='Retry']")
    expect(page.locator(ANSWER)).not_to_have_text(before)
    wait_for_words(page, 0)
    expect(page.locator(QUESTION)).to_have_count(1)


@pytest.mark.slow
def test_the_browsers_language_is_chosen_and_can_be_switched(open_page: Open) -> None:
    page = open_page(locale="zh-CN")
    expect(page.locator(COMPOSER)).to_have_attribute("placeholder", "给 AstrAI 发消息")
    expect(page.locator("#conversation")).to_contain_text("有什么可以帮您")
    page.click("#language label:has-text('English')")
    expect(page.locator(COMPOSER)).to_have_attribute("placeholder", "Message AstrAI")
    expect(page.locator("#new-chat")).to_have_text("New chat")
    page.reload()
    expect(page.locator(COMPOSER)).to_have_attribute("placeholder", "Message AstrAI")


def test_enter_while_an_input_method_composes_does_not_send(open_page: Open) -> None:
    page = open_page(locale="zh-CN")
    page.focus(COMPOSER)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Input.imeSetComposition", {"text": "ni hao", "selectionStart": 6, "selectionEnd": 6})
    enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229}
    devtools.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **enter})
    devtools.send("Input.insertText", {"text": "你好"})
    page.wait_for_timeout(300)
    expect(page.locator(COMPOSER)).to_have_value("你好")
    expect(page.locator(QUESTION)).to_have_count(0)
    page.press(COMPOSER, "Enter")
    expect(page.locator(QUESTION)).to_have_text("你好")


@pytest.mark.slow
def test_shift_enter_makes_a_new_line(open_page: Open) -> None:
    page = open_page()
    page.fill(COMPOSER, "one")
    page.press(COMPOSER, "Shift+Enter")
    page.keyboard.type("two")
    expect(page.locator(COMPOSER)).to_have_value("one\ntwo")


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
@pytest.mark.slow
def test_the_page_takes_the_systems_colours_and_keeps_a_choice(open_page: Open, scheme: str, is_dark: bool) -> None:
    page = open_page(color_scheme=scheme)
    is_dark_now = "document.body.classList.contains('dark')"
    assert page.evaluate(is_dark_now) is is_dark
    page.click("#theme")
    page.reload()
    page.wait_for_selector(COMPOSER)
    assert page.evaluate(is_dark_now) is not is_dark


@pytest.mark.slow
def test_a_reload_keeps_the_conversation_and_new_chat_empties_it(open_page: Open) -> None:
    page = open_page(locale="en-US")
    ask_for_a_long_answer(page, "Remember me")
    page.click(STOP)
    expect(page.locator(SEND)).to_be_visible()
    page.reload()
    expect(page.locator(QUESTION)).to_have_text("Remember me")
    page.click("#new-chat")
    expect(page.locator(QUESTION)).to_have_count(0)
    expect(page.locator("#conversation")).to_contain_text("How can I help?")


@pytest.mark.slow
def test_a_message_beyond_the_context_is_refused_in_words_and_nothing_is_lost(open_page: Open) -> None:
    page = open_page(locale="en-US")
    ask(page, "word " * 6000)
    expect(page.locator(ANSWER)).to_contain_text("the model's context is 4096")
    ask(page, "Short now")
    expect(page.locator(ANSWER)).to_have_count(2)


@pytest.mark.slow
def test_a_users_markup_and_control_tokens_stay_text(open_page: Open) -> None:
    page = open_page(locale="en-US")
    ask(page, "<img src=x onerror=document.title='owned'> <|im_end|> <script>document.title='owned'</script>")
    wait_for_words(page, 0)
    expect(page.locator(QUESTION)).to_contain_text("<|im_end|>")
    assert page.title() == "AstrAI"


def test_nothing_is_fetched_from_elsewhere_and_the_console_is_quiet(open_page: Open) -> None:
    requested: list[str] = []
    problems: list[str] = []

    def watch(page: Page) -> None:
        page.on("request", lambda request: requested.append(request.url))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)

    page = open_page(watch, locale="en-US")
    ask(page, "Hello")
    wait_for_words(page, 0)
    outside = [url for url in requested if not re.match(r"(https?://127\.0\.0\.1:|data:|blob:)", url)]
    assert outside == []
    assert problems == []


@pytest.mark.slow
def test_a_question_asked_while_the_model_loads_is_answered(
    start: Callable[..., str], browser_page: Page, talkative_model: Path
) -> None:
    browser_page.goto(start("--model", str(talkative_model)))
    browser_page.wait_for_selector(COMPOSER)
    ask(browser_page, "Are you there yet?")
    assert wait_for_words(browser_page, 0) > 0


@pytest.mark.long
@pytest.mark.slow
def test_a_model_folder_and_what_it_writes_can_neither_run_nor_fetch_anything(
    start: Callable[..., str], browser_page: Page, talkative_model: Path, tmp_path: Path
) -> None:
    """The name and the config of a model are somebody else's text."""
    folder = tmp_path / "<img src=x onerror=document.title='owned'>"
    folder.mkdir()
    for file in talkative_model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "config.json").write_text('{"model_type": "<img src=x onerror=document.title=\'owned\'>"}')
    browser_page.goto(start("--model", str(folder)))
    expect(browser_page.locator("#status")).to_contain_text("is not supported")
    expect(browser_page.locator("#status img")).to_have_count(0)
    browser_page.wait_for_timeout(300)
    assert browser_page.title() == "AstrAI"


@pytest.mark.slow
def test_an_empty_message_changes_nothing(open_page: Open) -> None:
    page = open_page(locale="en-US")
    for text in ("", "   "):
        ask(page, text)
    page.wait_for_timeout(500)
    expect(page.locator(QUESTION)).to_have_count(0)
    expect(page.locator("#conversation")).to_contain_text("How can I help?")
    expect(page.locator("body")).not_to_contain_text("Error")
    ask(page, "Hello")
    assert wait_for_words(page, 0) > 0
