"""What stands around the conversation, as its user meets it: context, personas, settings, files, keys, and for whom."""

import json
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_library import logged_in

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Open = Callable[..., Page]
COMPOSER = "#composer textarea"
ANSWER = "#conversation .bot .message-content"
DIALOG = "#passage-dialog"
FACT = "The harbour closes at nine on Sunday."
LONG = "\n\n".join([*(f"Tree {number} grows slowly beside the road." for number in range(3000)), FACT])
RICH = "Hello **you**, [a link](https://a.example).\n\n```python\nprint(1)\n```\n\n$$E=mc^2$$\n\n| a |\n|---|\n| 1 |"


@pytest.fixture(scope="module")
def address(
    start: Callable[..., str], browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[object]]:
    script = tmp_path_factory.mktemp("script") / "script.json"
    script.write_text(json.dumps({"rich": RICH, "harbour": FACT}), encoding="utf-8")
    return logged_in(start(str(script), program=["tests.browser.scripted_app"]), browser)


@pytest.fixture
def visit(browser: Browser, address: tuple[str, list[object]]) -> Iterator[Open]:
    contexts = []

    def open_one(**options: object) -> Page:
        given = {"locale": "en-US", "viewport": {"width": 1280, "height": 900}, **options}
        context = browser.new_context(storage_state={"cookies": address[1]}, **given)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.goto(address[0])
        expect(page.locator("#status")).to_have_text(re.compile("ready|就绪|tokens/s|词元/秒"), timeout=60_000)
        return page

    yield open_one
    for context in contexts:
        context.close()


def ask(page: Page, text: str) -> None:
    """Ask and wait until the answer can be looked at."""
    answers = page.locator("#conversation .seen").count()
    page.fill(COMPOSER, text)
    page.press(COMPOSER, "Enter")
    expect(page.locator("#conversation .seen")).to_have_count(answers + 1, timeout=60_000)
    expect(page.locator("#composer .submit-button")).to_be_visible()


def see(page: Page) -> None:
    """Look at what the model saw for the last answer."""
    page.locator("#conversation .seen").last.click()
    expect(page.locator(f"{DIALOG} pre")).to_be_visible()


def test_files_are_given_whole_or_searched_and_a_bad_one_is_a_line(visit: Open) -> None:
    page = visit()
    files = {"notes.md": b"# Ferry\n\nIt leaves at ten.", "bad.pdf": b"%PDF-1.4 nothing", "long.txt": LONG.encode()}
    page.set_input_files(
        "#attachments input",
        [{"name": name, "mimeType": "text/plain", "buffer": content} for name, content in files.items()],
    )
    expect(page.locator("#attachments li")).to_have_count(3, timeout=60_000)
    expect(page.locator("#attachments li.bad")).to_contain_text("damaged")
    ask(page, "When does the harbour close?")
    expect(page.locator("#attachments li")).to_have_count(0)
    expect(page.locator("#conversation .user-row")).to_contain_text("notes.md: the whole text was given")
    searched = re.compile(r"long.txt: long, .* passages were given")
    expect(page.locator("#conversation .user-row")).to_contain_text(searched)
    see(page)
    expect(page.locator(f"{DIALOG} pre")).to_contain_text("It leaves at ten.")
    expect(page.locator(f"{DIALOG} pre")).to_contain_text(FACT)
    expect(page.locator(f"{DIALOG} ol li").first).to_contain_text("long.txt")


def test_a_file_over_the_limit_is_refused_with_both_numbers_and_where_to_put_it(visit: Open) -> None:
    page = visit(locale="zh-CN")
    page.evaluate("document.querySelector('#attachments .attach').dataset.most = 3 * 2 ** 20")  # else 64 MB are sent
    large = {"name": "book.txt", "mimeType": "text/plain", "buffer": b"x" * (5 * 2**20)}
    page.set_input_files("#attachments input", [large])  # type: ignore[list-item]
    note = page.locator("#attachments .note")
    expect(note).to_have_text(re.compile("book.txt 有 5 MB，超过 64 MB。请加入资料库"))
    expect(page.locator("#attachments .limits")).to_contain_text("最多 8 个文件，每个不超过 64 MB、600,000 个字符")


def test_a_persona_is_made_speaks_to_the_model_and_stays_with_its_conversation(visit: Open) -> None:
    page = visit()
    page.click("#persona-edit")
    page.fill("#persona-name input, #persona-name textarea", "Pirate")
    page.fill("#persona-system textarea", "Answer like a pirate.")
    page.click("#persona-new")
    expect(page.locator("#persona input")).to_have_value("Pirate")
    page.click("#persona-edit")
    ask(page, "rich")
    see(page)
    expect(page.locator(f"{DIALOG} pre")).to_contain_text("<|system|>Answer like a pirate.")
    page.keyboard.press("Escape")
    page.reload()
    expect(page.locator("#persona input")).to_have_value("Pirate")


@pytest.mark.parametrize("size", [pytest.param((1280, 900), marks=pytest.mark.long), (390, 844)])
def test_the_end_of_the_conversation_stays_in_sight_when_a_panel_opens(visit: Open, size: tuple[int, int]) -> None:
    page = visit(viewport=dict(zip(("width", "height"), size, strict=True)))
    ask(page, "rich")
    expect(page.locator("#conversation .seen")).to_be_in_viewport(ratio=1)
    page.click("#persona-edit")
    expect(page.locator("#persona-name")).to_be_visible()
    expect(page.locator("#conversation .seen")).to_be_in_viewport(ratio=1)


def test_the_meter_and_the_settings_are_there_and_go_back_to_what_they_were(visit: Open) -> None:
    page = visit()
    ask(page, "rich")
    expect(page.locator("#status [role=meter]")).to_have_attribute("aria-valuemax", "4096")
    expect(page.locator("#status")).to_contain_text("9 tokens · 18 of 4096 tokens of context")
    page.click("#sampling button >> nth=0")
    top_k = page.get_by_label(re.compile("number input for Top-k"))
    expect(top_k).to_have_value("0")
    top_k.fill("7")
    page.keyboard.press("Tab")
    expect(page.get_by_label(re.compile("range slider for Top-k"))).to_have_value("7")
    ask(page, "rich")
    see(page)
    expect(page.locator(f"{DIALOG} table")).to_contain_text("top_k 7")
    page.keyboard.press("Escape")
    page.click("#reset-sampling")
    expect(top_k).to_have_value("0")


def test_keys_search_edit_and_explain_themselves(visit: Open) -> None:
    page = visit()
    ask(page, "rich")
    page.focus(COMPOSER)
    page.keyboard.press("ArrowUp")
    expect(page.locator("#conversation textarea")).to_be_focused()
    page.keyboard.press("Control+k")
    expect(page.locator("#conversation-search input, #conversation-search textarea")).to_be_focused()
    page.focus(COMPOSER)
    page.keyboard.press("?")
    expect(page.locator("#keys-dialog")).to_contain_text("edit the last message")
    page.keyboard.press("Escape")
    expect(page.locator("#keys-dialog")).to_be_hidden()
    page.fill(COMPOSER, "why")
    page.press(COMPOSER, "?")
    expect(page.locator(COMPOSER)).to_have_value("why?")
    page.press(COMPOSER, "ArrowUp")
    expect(page.locator(COMPOSER)).to_be_focused()


@pytest.mark.parametrize("key", ["Enter", "Escape", "ArrowUp", "k", "?"])
def test_no_key_is_taken_from_an_input_method_that_composes(visit: Open, key: str) -> None:
    page = visit()
    page.focus(COMPOSER)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Input.imeSetComposition", {"text": "ni hao", "selectionStart": 6, "selectionEnd": 6})
    pressed = {"type": "rawKeyDown", "key": key, "windowsVirtualKeyCode": 229, "modifiers": 2 if key == "k" else 0}
    devtools.send("Input.dispatchKeyEvent", pressed)
    page.wait_for_timeout(200)
    assert page.evaluate("document.querySelector('dialog[open]')") is None
    expect(page.locator(COMPOSER)).to_be_focused()
    devtools.send("Input.insertText", {"text": "你好"})
    expect(page.locator(COMPOSER)).to_have_value("你好")
    expect(page.locator("#conversation .user .message-content")).to_have_count(0)


def is_cut(page: Page) -> bool:
    """Whether something of the page stands beyond the screen's right edge, or it has to be scrolled sideways."""
    main = "document.querySelector('.main.app').getBoundingClientRect().right > innerWidth + 1"
    return bool(page.evaluate(f"document.documentElement.scrollWidth > innerWidth || {main}"))


def test_nothing_is_cut_beside_the_conversations(visit: Open) -> None:
    page = visit()
    for width in (1000, 1100, 1124):
        page.set_viewport_size({"width": width, "height": 800})
        assert not is_cut(page), width
