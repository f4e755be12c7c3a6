"""Takes the pictures of the README and of docs/ anew, in both languages: `python -m tests.browser.pictures`.

They show the program as it is, with its starter on this machine; its speeds are in them, so let nothing else run.
"""

import io
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from recipes.starter.dialogues import dialogues
from tests.browser.conftest import OPTIONS
from tests.browser.test_chat_page import COMPOSER, DIALOG, ask
from tests.browser.test_library import MARKER, ROW
from tests.browser.test_studio import SLOW_MS, Program, drop, fill_settings
from tests.conftest import CHROMIUM_NAMES, ROOT

IMAGES = ROOT / "docs" / "images"
SIZE = {"width": 1280, "height": 800}
STUDIO_SIZE = {"width": 1360, "height": 900}
NUM_DIALOGUES, NUM_STEPS = 600, 60
SETTINGS = {"max_steps": str(NUM_STEPS), "epochs": "1", "log_interval": "1", "validation_interval": "10"}
NUM_COLORS = 256  # a palette, for half the bytes
DRAWN_MS = 1500  # until charts, notices and pictures have come to rest


@dataclass(frozen=True)
class Shown:
    """What stands in the pictures of a language."""

    locale: str
    suffix: str
    questions: tuple[str, str]
    about_documents: str
    runs: tuple[tuple[str, str], tuple[str, str]]  # names and learning rates


ENGLISH = Shown(
    locale="en-US",
    suffix="",
    questions=("Hello!", "Who are you?"),
    about_documents="When does the ferry to Pellworm leave in the morning?",
    runs=(("As proposed", ""), ("Ten times the rate", "0.002")),
)
CHINESE = Shown(
    locale="zh-CN",
    suffix="-zh",
    questions=("你好！", "介绍一下你自己。"),
    about_documents="从湖滨码头开往三潭印月的游船每天几点首航？",
    runs=(("默认学习率", ""), ("十倍学习率", "0.002")),
)
FERRIES = """<h1>Ferries of the North Sea islands</h1>
<h2>Summer timetable</h2>
<p>The harbour ferry to Pellworm leaves Nordstrand at half past seven every morning.
<p>A second boat follows at noon, except on Sundays.
<p>The crossing takes thirty-five minutes when the tide is high.
<h2>Tickets</h2>
<p>Tickets are sold on board, in cash or by card. A single trip costs nine euros fifty.
<p>Children under six travel free; dogs need a ticket of two euros.
<h2>Bicycles</h2>
<p>Cyclists board first and leave last. Each boat carries at most forty bicycles.
<h2>Winter</h2>
<p>From November to March the mail boat carries passengers as well, on weekdays only."""
BOATS = """<h1>西湖游船须知</h1>
<h2>开放时间</h2>
<p>从湖滨码头开往三潭印月的游船每天早上七点半首航。
<p>周末增开夜航，末班为晚上九点。
<p>单程约需二十五分钟，大风天气停航。
<h2>船票</h2>
<p>成人票每张五十五元，六岁以下儿童免票。
<p>船票可在码头窗口购买，也可以扫码支付。
<h2>自行车</h2>
<p>游船不载自行车，码头设有免费停放处。
<h2>冬季</h2>
<p>十二月至次年二月只在上午开航，每小时一班。"""
STYLE = "<meta charset=utf-8><style>body { font: 20px/1.5 'Noto Sans CJK SC'; margin: 3em } p { margin: 0 }</style>"


def take(page: Page, name: str) -> None:
    page.mouse.move(0, 0)
    page.wait_for_timeout(DRAWN_MS)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.quantize(NUM_COLORS, dither=Image.Dither.NONE).save(IMAGES / f"{name}.png", optimize=True)
    sys.stdout.write(f"{name}\n")


def documents(browser: Browser, folder: Path) -> list[Path]:
    """Files of the two languages, among them PDFs that Chromium prints."""
    page = browser.new_page()
    for name, text in (("island ferries.pdf", FERRIES), ("西湖游船须知.pdf", BOATS)):
        page.set_content(STYLE + text)
        page.pdf(path=folder / name, format="A4")
    page.close()
    return [*folder.iterdir(), ROOT / "README.md", ROOT / "README.zh-CN.md", ROOT / "docs" / "library.md"]


def chat(page: Page, shown: Shown) -> None:
    page.click("#first .act.starter")
    for question in shown.questions:
        ask(page, question)
    take(page, f"chat{shown.suffix}")


def library(page: Page, shown: Shown, files: list[Path]) -> None:
    page.click("#library-tab-button")
    page.set_input_files("#drop-zone input[type=file]", files)
    expect(page.locator(ROW)).to_have_count(len(files), timeout=60_000)
    take(page, f"library{shown.suffix}")
    page.click("#ask-documents")
    page.wait_for_selector(f"{COMPOSER}:visible")
    page.click("#new-chat")
    page.fill(COMPOSER, shown.about_documents)
    page.press(COMPOSER, "Enter")
    expect(page.locator(MARKER).first).to_be_attached(timeout=60_000)
    if not shown.suffix:  # docs/ speaks English
        take(page, "library-answer")
    page.locator(MARKER).first.click()
    expect(page.locator(f"{DIALOG} img")).to_be_visible()
    take(page, f"library-passage{shown.suffix}")
    page.keyboard.press("Escape")


def studio(page: Page, shown: Shown) -> None:
    page.set_viewport_size(STUDIO_SIZE)  # type: ignore[arg-type]
    page.click("#studio-tab-button")
    rows = [json.dumps({"messages": messages}, ensure_ascii=False) for messages in dialogues(NUM_DIALOGUES, seed=1)]
    drop(page, "dialogues.jsonl", "\n".join(rows).encode())
    fill_settings(page, SETTINGS)
    for name, rate in shown.runs:
        page.locator("#studio-panels [role=tab]").first.click()
        page.fill("#new-name input, #new-name textarea", name)
        if rate:
            page.fill("[id='set-learning_rate']", rate)
            page.wait_for_timeout(DRAWN_MS)
        page.click("#start-run")
        expect(page.locator(".run-detail .rename")).to_have_value(name, timeout=60_000)
        page.wait_for_selector(".run-detail .title .badge.finished", timeout=SLOW_MS)
    for box in page.locator("li[data-run] .compare").all():
        box.check()
    take(page, f"studio-run{shown.suffix}")


def main() -> None:
    executable = next(path for path in map(shutil.which, CHROMIUM_NAMES) if path)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=executable, args=OPTIONS)
        papers = Path(folder, "papers")
        papers.mkdir()
        files = documents(browser, papers)
        for shown in (ENGLISH, CHINESE):
            program = Program(Path(folder, shown.locale), browser)
            try:
                page = program.open(locale=shown.locale, viewport=SIZE)
                chat(page, shown)
                library(page, shown, files)
                studio(page, shown)
            finally:
                program.close()
        browser.close()


if __name__ == "__main__":
    main()
