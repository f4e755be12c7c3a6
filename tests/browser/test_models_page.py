"""The models page in a browser: a download stopped and gone on with, rename, trash and back, load, unload."""

import re
import threading
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import ROOT
from tests.hub_server import FakeHub, serving

pytestmark = [pytest.mark.browser, pytest.mark.slow]
NAME = "Qwen/Qwen2.5-0.5B-Instruct"
FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
SLOW_MS = 60_000


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    """The starter under the name of a model of the catalogue, at its pinned commit."""
    hub = FakeHub({name: (ROOT / "models" / "starter" / name).read_bytes() for name in FILES}, name=NAME)
    hub.commit = "7ae557604adf67be50417f59c2c2f167def9a775"
    with serving(hub) as hub.url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def page(hub: FakeHub, start: Callable[..., str], browser: Browser) -> Page:
    """The models page of a fresh program, whose first page has told how fast the models would be here."""
    page = browser.new_context(locale="en-US").new_page()
    page.set_default_timeout(SLOW_MS)
    page.goto(start())
    page.wait_for_selector("#composer textarea")
    offer = page.locator("#first .card", has=page.locator(f"[data-offer='{NAME}']"))
    expect(offer).to_contain_text(re.compile(r"GB while it loads · ≈ [\d,]+ tokens/s"), timeout=SLOW_MS)
    page.get_by_role("tab", name="Models").first.click()
    page.wait_for_selector("#shelf .card")
    return page


def test_a_model_is_fetched_stopped_gone_on_with_renamed_deleted_put_back_and_loaded(page: Page, hub: FakeHub) -> None:
    hub.cut_after, hub.stall = 3_000_000, threading.Event()
    page.locator(f"#offers .card[data-name='{NAME}'] .act.download").click()
    row = page.locator("#getting .card.row")
    expect(row).to_contain_text(re.compile("[KM]B of"), timeout=SLOW_MS)
    row.locator(".act.cancel").click()
    expect(row).to_contain_text("stopped;", timeout=SLOW_MS)
    hub.stall.set()
    hub.stall = None
    row.locator(".act.resume").click()
    expect(row).to_contain_text("is here · commit 7ae557604adf", timeout=SLOW_MS)
    card = page.locator("#shelf .card", has_text=NAME)
    expect(card).to_contain_text("licence Apache-2.0", timeout=SLOW_MS)
    expect(page.locator(f"#offers .card[data-name='{NAME}']")).to_contain_text("is here")
    card.locator("summary").click()
    card.locator(".rename input").fill("我的模型")
    card.locator(".act.rename").click()
    card = page.locator("#shelf .card", has_text="我的模型")
    expect(card).to_be_visible(timeout=SLOW_MS)
    expect(card.locator("details")).to_have_attribute("open", "")  # it was, and its content was written anew
    card.locator(".act.delete").click()
    card.locator(".act.delete").click()
    expect(card).to_have_count(0, timeout=SLOW_MS)
    page.locator("#shelf summary", has_text="Trash").click()
    page.locator("#shelf .act.put_back").click()
    expect(card).to_be_visible(timeout=SLOW_MS)
    card.locator(".act.load").click()
    expect(card).to_contain_text("in memory", timeout=SLOW_MS)
    card.locator(".act.unload").click()
    expect(page.locator("#shelf-now")).to_contain_text("No model is in memory", timeout=SLOW_MS)
