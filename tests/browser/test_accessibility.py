"""Every tab in every language, theme and width: what axe-core finds, what is too wide, and charts as tables.

The data folder is one that was used: a document, pairs, a run with its metrics.
"""

import itertools
import json
import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from app.preference_rows import Answer
from app.preferences import Preferences
from rag.embedding.load import DEFAULT_FOLDER
from tests.browser.test_chat_page import ask, is_cut, see
from tests.browser.test_library import ROW, drop, open_library, timetable
from tests.browser.test_studio import Program, show_panel
from tests.browser.test_studio import drop as drop_data
from tests.browser.test_studio_scale import make_run, rows

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not DEFAULT_FOLDER.is_dir(), reason="the embedder's weights are not in the repository"),
]

RICH = "Hello **you**, [a link](https://a.example), $x^2$.\n\n```python\nprint(1)\n```\n\n| a |\n|---|\n| 1 |"
FACT = "The harbour ferry to Pellworm leaves Nordstrand at half past seven every morning."
NUM_STEPS = 30
ALWAYS = ("dark", "zh-CN", 360)
EVERY = list(itertools.product(("light", "dark"), ("en-US", "zh-CN"), (1280, 360)))
CASES = [pytest.param(*case, marks=[] if case == ALWAYS else [pytest.mark.long]) for case in EVERY]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[tuple[str, list[object]]]:
    """The address of a program on a data folder that was used, and the cookies of who has logged in."""
    home = tmp_path_factory.mktemp("home")
    preferences = Preferences(home / "preferences")
    preferences.correct([{"role": "user", "content": "Who are you?"}], Answer("Nobody."), "Your assistant.")
    preferences.close()
    metrics, script = home / "metrics.jsonl", home / "script.json"
    metrics.write_text(rows(1, NUM_STEPS), encoding="utf-8")
    make_run(home / "studio" / "runs", 1, metrics, NUM_STEPS)
    script.write_text(json.dumps({"rich": RICH, "Pellworm": FACT}), encoding="utf-8")
    made = Program(home, browser, module=("tests.browser.scripted_app", str(script)))
    page = made.open()
    open_library(page)
    drop(page, ("timetable.pdf", timetable()), ("broken.pdf", b"%PDF-1.7 nothing more"))
    expect(page.locator(ROW, has_text="timetable.pdf").locator(".state")).to_have_text("ready", timeout=60_000)
    yield page.url, list(page.context.storage_state()["cookies"])
    made.close()


def opened(browser: Browser, program: tuple[str, list[object]], **options: object) -> Page:
    address, cookies = program
    context = browser.new_context(storage_state={"cookies": cookies}, **options)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(address)
    expect(page.locator("#status")).to_have_text(re.compile("ready|就绪|tokens/s|词元/秒"), timeout=60_000)
    return page


@pytest.mark.parametrize(("scheme", "locale", "width"), CASES)
def test_axe_finds_nothing_serious_on_any_tab_and_nothing_is_wider_than_the_screen(
    browser: Browser, program: tuple[str, list[object]], scheme: str, locale: str, width: int
) -> None:
    size = {"width": width, "height": 800}
    page = opened(browser, program, color_scheme=scheme, locale=locale, viewport=size)
    page.click("#new-chat")
    expect(page.locator("#conversation .examples button").first).to_be_visible()
    problems = serious(page, "empty chat")
    ask(page, "rich")
    page.click("#collections input")
    page.get_by_role("option", name="default").click()
    page.keyboard.press("Escape")
    ask(page, "When does the ferry to Pellworm leave Nordstrand?")
    expect(page.locator("#conversation .thought-group")).to_be_visible()
    page.click("#persona-edit")
    page.click("#sampling button >> nth=0")
    expect(page.locator("#persona-name")).to_be_visible()
    problems += serious(page, "chat")
    page.locator("#conversation .message-buttons-right").locator("[title='Edit'], [title='编辑']").last.click()
    edited = page.locator("#conversation .edit-textarea")
    expect(edited).to_have_accessible_name(re.compile("being edited|正在编辑"))
    box, column = edited.bounding_box(), page.locator("#conversation").bounding_box()
    assert box is not None
    assert column is not None
    assert box["width"] > 0.55 * column["width"]
    problems += serious(page, "a message being edited")
    page.locator("#conversation").locator("[title='Cancel'], [title='取消']").click()
    see(page)
    problems += serious(page, "what the model saw")
    page.keyboard.press("Escape")
    for tab in ("library", "studio", "shelf", "settings"):
        show_tab(page, tab)
        problems += serious(page, tab)
        if tab == "studio":
            problems += studio_problems(page)
    page.context.close()
    assert problems == []


def studio_problems(page: Page) -> list[str]:
    """Those of the studio's other panels."""
    found = []
    panels = page.locator("#studio-panels > .tab-wrapper [role=tab]:visible")
    for place, panel in enumerate(("runs", "models", "preferences"), 1):
        panels.nth(place).click()
        page.wait_for_timeout(1500)  # until it is drawn
        if panel == "runs":
            page.locator("#runs-panel li[data-run]").first.click()
            page.locator("#runs-panel details[data-name='table'] summary").click()
        found += serious(page, panel)
    return found


def show_tab(page: Page, tab: str) -> None:
    """Open a tab, whose button is behind another one where the page is narrow."""
    size = page.viewport_size
    assert size is not None
    page.set_viewport_size({**size, "width": 1280})
    page.click(f"#{tab}-tab-button")
    page.set_viewport_size(size)
    expect(page.locator(f"#{tab}-tab")).to_be_visible()
    page.wait_for_timeout(1000)  # colours that change slowly


def serious(page: Page, where: str) -> list[str]:
    """What axe-core calls serious or critical, and a page that has to be scrolled sideways."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{where}: {one['id']} {[node['html'][:120] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ] + ([f"{where} is wider than the screen"] if is_cut(page) else [])


@pytest.mark.long
def test_every_chart_is_a_table_too(browser: Browser, program: tuple[str, list[object]]) -> None:
    page = opened(browser, program, locale="en-US")
    show_tab(page, "studio")
    drop_data(page, "chats.jsonl", b'{"instruction": "Who are you?", "output": "Your assistant."}\n' * 3)
    lengths = page.locator("#data-report .as-table")
    lengths.locator("summary").click()
    expect(lengths.locator("tbody td")).to_have_text(["3"])
    show_panel(page, "Runs")
    page.locator(".run-detail [data-name=table] > summary").click()
    charts = page.locator(".run-detail .charts figcaption")
    expect(charts.first).to_be_visible()
    table = page.locator(".run-detail .chart-table")
    expect(table.locator("thead")).to_contain_text("Loss")
    expect(table.locator("tbody tr").last.locator("th")).to_have_text(str(NUM_STEPS))
    titles = table.locator("thead th").all_inner_texts()
    assert len(titles) > len(charts.all_inner_texts())
    page.context.close()


@pytest.mark.long
def test_a_chinese_page_calls_its_own_parts_in_chinese(browser: Browser, program: tuple[str, list[object]]) -> None:
    """Names, also those that only a screen reader says, but for what documents, models and settings are called."""
    page = opened(browser, program, locale="zh-CN", viewport={"width": 1280, "height": 900})
    ask(page, "rich")
    page.click("#sampling button >> nth=0")
    found = set(page.evaluate(ENGLISH_NAMES))
    for tab in ("library", "studio", "shelf", "settings"):
        show_tab(page, tab)
        found |= set(page.evaluate(ENGLISH_NAMES))
    page.context.close()
    assert {name for name in found if not NAMES.search(name)} == set()


# Texts and titles that are seen and have two Latin letters, and no Chinese one.
ENGLISH_NAMES = """() => {
    const isEnglish = (text) => /[A-Za-z]{2}/.test(text) && !/[\\u4e00-\\u9fff]/.test(text);
    const found = [];
    for (const part of document.querySelectorAll("body *:not(script, style, pre, code, .message-content *, .card *)")) {
        if (!part.checkVisibility() || part.closest("svg")) continue;
        for (const name of ["title", "aria-label", "placeholder"]) found.push(part.getAttribute(name) ?? "");
        for (const node of part.childNodes) if (node.nodeType === Node.TEXT_NODE) found.push(node.textContent.trim());
    }
    return found.filter(isEnglish);
}"""
NAMES = re.compile(
    r"^(AstrAI|English|default|scripted|rich|/.*|~/.*)$|\.pdf|\d [KMG]?B$|^rich · |owner/name|Pellworm"
    r"|^(bot|user)'s message: "  # Gradio's, before a message's whole text
)
