"""Copies of a model from the models page: quantised and exported as jobs, with their state, by clicks."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from core.config.model_config import PRESETS
from core.data.tokenizer import Tokenizer
from core.model.checkpoint import save_model
from core.model.transformer import Transformer
from tests.core.conftest import sentences

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(400)]
WRITE_MS = 240_000


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model in fp32."""
    model = Transformer(PRESETS["tiny"])
    model.init_weights(seed=1)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(model, folder, tokenizer=Tokenizer.train(sentences(400, seed=0), vocab_size=420))
    return folder


def test_a_model_is_quantised_and_exported_by_clicks_and_each_copy_tells_its_state(
    start: Callable[..., str], browser: Browser, tiny: Path
) -> None:
    page = browser.new_context(locale="en-US", viewport={"width": 1100, "height": 900}).new_page()
    page.goto(start("--model", str(tiny)))
    page.wait_for_selector("#composer textarea")
    page.click("#shelf-tab-button")
    card = page.locator(f"#shelf .card[data-path='{tiny}']")
    card.locator("summary").click(timeout=60_000)
    for act in ("quantize", "export", "gguf"):
        card.locator(f".act.{act}").click()
    rows = page.locator("#getting .copies .card")
    expect(rows).to_have_count(3, timeout=60_000)
    expect(rows.locator(".badge.finished")).to_have_count(3, timeout=WRITE_MS)
    for row in rows.all():
        path = Path(row.locator("code").inner_text())
        assert path.is_file() if path.suffix == ".gguf" else (path / "config.json").is_file()
    copy = page.locator("#shelf .card", has_text="int4").first
    copy.locator(".act.load").click()
    expect(page.locator("#shelf-now")).to_contain_text("is in memory", timeout=60_000)
