"""Every field that shows a text, filled with every payload: nothing runs, nothing is fetched, nothing is even tried.

The data folder is written beforehand, with the program's own stores, and the pages are looked at one after the other.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from app.conversations import Conversations
from app.studio_preferences_view import PAGE_PAIRS
from rag.embedding.load import DEFAULT_FOLDER
from tests.browser.hostile_home import FACT, NUM_CHATS, NUM_DOCUMENTS, NUM_MODELS, NUM_RUNS, fill, parts
from tests.browser.hostile_markup import EVERY
from tests.browser.test_library import DROP, logged_in
from tests.browser.test_markup import ANSWER, NAME
from tests.browser.watching import untouched, watched_page
from tests.figures import Figure

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(600)]

HAS_EMBEDDER = DEFAULT_FOLDER.is_dir()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    fill(folder, has_embedder=HAS_EMBEDDER)
    return folder


@pytest.fixture(scope="module")
def address(
    start: Callable[..., str], browser: Browser, home: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[object]]:
    script = tmp_path_factory.mktemp("script") / "script.json"
    script.write_text(json.dumps({"Pellworm": FACT}), encoding="utf-8")
    return logged_in(start(str(script), NAME, program=["tests.browser.scripted_app"], home=home), browser)


@pytest.fixture
def requested() -> list[str]:
    return []


@pytest.fixture(params=["en-US", "zh-CN"])
def page(
    browser: Browser, address: tuple[str, list[object]], requested: list[str], request: pytest.FixtureRequest
) -> Iterator[Page]:
    cookies = {"cookies": address[1]}
    with watched_page(browser, address[0], requested, locale=request.param, storage_state=cookies) as page:
        yield page


def test_no_field_of_any_page_runs_or_fetches_anything(
    page: Page, home: Path, requested: list[str], figure: Figure
) -> None:
    found: dict[str, list[str]] = {}

    def look(name: str) -> None:
        if bad := untouched(page, requested):
            found[name] = bad[:5]

    for number, chat in enumerate(chats(home)):
        page.locator(f"#conversations li[data-id='{chat}'] button.open").click()
        expect(page.locator(ANSWER)).to_have_count(len(parts(NUM_CHATS)[number]))
        look(f"chat {number}, titles, folders")
    page.fill("#conversation-search input, #conversation-search textarea", "window")
    page.wait_for_timeout(1500)
    look("found conversations")
    page.click("#persona input")
    page.wait_for_timeout(500)
    look("personas")
    page.keyboard.press("Escape")
    look_at_library(page, look)
    look_at_studio(page, look)
    page.click("#shelf-tab-button")
    expect(page.locator("#shelf .card")).to_have_count(NUM_MODELS + 1)
    page.fill("#add-model-path input, #add-model-path textarea", f"/tmp/{EVERY[20]}{EVERY[-1]}")
    page.click("#add-model")
    page.wait_for_timeout(1500)
    look("models, downloads, errors")
    page.click("#settings-tab-button")
    expect(page.locator("#receipt")).to_contain_text("evil.example")
    look("settings, receipt")
    figure("G12 payloads", len(EVERY))
    figure("G12 executed", len(found))
    assert found == {}
    assert len(EVERY) >= 300


def chats(home: Path) -> list[str]:
    """The conversations that hold messages, in the order in which they were filled."""
    store = Conversations(home / "conversations")
    found = [one.id for one in reversed(store.all()) if not one.folder]
    store.close()
    assert len(found) == NUM_CHATS
    return found


def look_at_library(page: Page, look: Callable[[str], None]) -> None:
    """The table, what is found, and the passages of a document."""
    page.click("#library-tab-button")
    expect(page.locator("#documents table, #documents .empty")).to_be_visible()
    look("library, names of documents, collections")
    if not HAS_EMBEDDER:
        return
    rows = page.locator("table.documents tbody tr button.open")
    expect(rows).to_have_count(NUM_DOCUMENTS)
    for number in range(NUM_DOCUMENTS):
        rows.nth(number).click()
        expect(page.locator("#passages")).to_contain_text("Pellworm")
        look(f"document {number}")
    page.fill("#query input, #query textarea", "onerror window ferry to Pellworm")
    page.keyboard.press("Enter")
    expect(page.locator("#results")).to_contain_text("Pellworm")
    look("passages that were found")


def look_at_studio(page: Page, look: Callable[[str], None]) -> None:
    """Data that is dropped, every run with its log and samples, models, pairs."""
    page.click("#studio-tab-button")
    panels = page.locator("#studio-panels [role=tab]")
    rows = [json.dumps({"instruction": one, "output": one, "system": one}) for one in EVERY]
    name = EVERY[20].replace("/", "∕")
    page.evaluate(DROP, ["#data-zone .drop", [[f"{name}.jsonl", list("\n".join(rows).encode())]]])
    expect(page.locator("#data-report .report")).to_be_visible()
    look("cells of a file, its name")
    panels.nth(1).click()
    for number in range(NUM_RUNS):
        page.locator(f"li[data-run='run-{number}'] .open-run").click()
        expect(page.locator(".run-detail .log")).to_contain_text(parts(NUM_RUNS)[number][0].split("\n")[0][:10])
        look(f"run {number}: name, note, failure, log, samples, settings")
    panels.nth(2).click()
    expect(page.locator("#model-tree")).to_contain_text("starter")
    look("tree of models")
    panels.nth(3).click()
    for first in range(0, len(EVERY), PAGE_PAIRS):
        expect(page.locator("#pairs ol.pairs > li")).to_have_count(min(PAGE_PAIRS, len(EVERY) - first))
        look(f"pairs from {first}")
        if first + PAGE_PAIRS < len(EVERY):
            before = page.locator("#pairs").inner_text()
            page.locator("#preferences-panel").get_by_role("button", name="›").click()
            expect(page.locator("#pairs")).not_to_have_text(before)
