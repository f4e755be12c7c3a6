"""The library as its user meets it: a file is dropped, a question asked, and the passage is seen in its box."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from rag.embedding.load import DEFAULT_FOLDER
from tests.rag.parsing.pdf_maker import PdfPage, Text, make_pdf

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not DEFAULT_FOLDER.is_dir(), reason="the embedder's weights are not in the repository"),
]

COMPOSER = "#composer textarea"
ANSWER = "#conversation .bot .message-content"
MARKER = '#conversation a[href^="/library/passage/"]'
MARKER_LINK = 'a[href^="/library/passage/"]'
ROW = "table.documents tbody tr"
DIALOG = "#passage-dialog"
FACT = "The harbour ferry to Pellworm leaves Nordstrand at half past seven every morning."
INVENTED = "It carries the Swiss navy of 4,000 captains."
QUESTION = "When does the ferry to Pellworm leave Nordstrand?"
OTHERS = (
    "Tickets are sold on board, and dogs travel for free.",
    "In winter the mail boat carries passengers as well.",
    "Cyclists board first and leave last.",
)
DROP = """async ([selector, files]) => {
    const transfer = new DataTransfer();
    for (const [name, bytes] of files) transfer.items.add(new File([new Uint8Array(bytes)], name));
    document.querySelector(selector).dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
}"""


def timetable() -> bytes:
    """A PDF of two pages; what is asked for stands on the second."""
    first = PdfPage([Text(60, 720, "Islands of the North Sea", 20), Text(60, 660, OTHERS[2])])
    lines = [Text(60, 660 - 60 * number, words) for number, words in enumerate((OTHERS[0], FACT, OTHERS[1]))]
    return make_pdf(first, PdfPage([Text(60, 720, "Ferries", 20), *lines]))


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the model says where documents are asked: a sentence that stands there, and one that does not."""
    path = tmp_path_factory.mktemp("script") / "script.json"
    said = {"Pellworm": f"{FACT} {INVENTED}", "Lagos": "She baked a cake of nine layers."}
    path.write_text(json.dumps(said), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def address(start: Callable[..., str], browser: Browser) -> tuple[str, list[object]]:
    """A page of its own, whose library this module fills, and the cookies of who has logged in."""
    return logged_in(start(), browser)


@pytest.fixture(scope="module")
def scripted_address(start: Callable[..., str], browser: Browser, script: Path) -> tuple[str, list[object]]:
    """The same with a model that can read, and says what the script tells."""
    return logged_in(start(str(script), program=["tests.browser.scripted_app"]), browser)


def logged_in(url: str, browser: Browser) -> tuple[str, list[object]]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(COMPOSER)
    cookies: list[object] = list(context.storage_state()["cookies"])
    context.close()
    return url.partition("/login")[0], cookies


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    contexts = []

    def open_one(address: tuple[str, list[object]], **options: object) -> Page:
        context = browser.new_context(storage_state={"cookies": address[1]}, **options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.goto(address[0])
        page.wait_for_selector(COMPOSER)
        return page

    yield open_one
    for context in contexts:
        context.close()


@pytest.fixture
def page(visit: Callable[..., Page], address: tuple[str, list[object]]) -> Page:
    """An English page whose library holds the timetable."""
    return with_timetable(visit(address, locale="en-US"))


@pytest.fixture
def scripted_page(visit: Callable[..., Page], scripted_address: tuple[str, list[object]]) -> Page:
    """The same with a model that can read."""
    return with_timetable(visit(scripted_address, locale="en-US"))


def with_timetable(page: Page) -> Page:
    open_library(page)
    if page.locator(ROW, has_text="timetable.pdf").count() == 0:
        drop(page, ("timetable.pdf", timetable()))
    expect(page.locator(ROW, has_text="timetable.pdf").locator(".state")).to_have_text("ready", timeout=60_000)
    return page


def open_library(page: Page) -> None:
    page.get_by_role("tab").nth(1).click()
    expect(page.locator("#documents table, #documents .empty")).to_be_visible()


def drop(page: Page, *files: tuple[str, bytes]) -> None:
    page.evaluate(DROP, ["#drop-zone .drop", [[name, list(content)] for name, content in files]])


def ask_documents(page: Page, question: str) -> None:
    page.get_by_role("tab").nth(0).click()
    page.click("#collections input")
    page.get_by_role("option", name="default").click()
    page.keyboard.press("Escape")
    page.fill(COMPOSER, question)
    page.press(COMPOSER, "Enter")


def picture_of(page: Page) -> Image.Image:
    """The last page of the document that the dialog shows."""
    image = page.locator(f"{DIALOG} img.page").last
    expect(image).to_be_visible()
    expect(image).to_have_js_property("complete", True)
    assert image.evaluate("image => image.naturalWidth") > 0
    source = image.get_attribute("src")
    response = page.request.get(f"{page.url.rstrip('/')}{source}")
    return Image.open(io.BytesIO(response.body())).convert("RGB")


def has_box(image: Image.Image, baseline: int) -> bool:
    """Whether the beginning of a line is coloured; a pixel is half a point, the page 800 points high."""
    strip = image.crop((124, 2 * (800 - baseline) - 12, 200, 2 * (800 - baseline) - 2))
    return (255, 255, 255) not in {colour for _, colour in strip.getcolors(10_000) or []}


@pytest.mark.slow
def test_a_dropped_pdf_is_asked_and_the_passage_is_seen_in_its_box(page: Page) -> None:
    ask_documents(page, QUESTION)
    expect(page.locator(ANSWER).first).to_contain_text(FACT)
    page.locator(MARKER).first.click()
    expect(page.locator(DIALOG)).to_contain_text("timetable.pdf")
    expect(page.locator(f"{DIALOG} .where")).to_contain_text("page 2")
    image = picture_of(page)
    assert has_box(image, baseline=600)
    assert not has_box(image, baseline=660)
    page.keyboard.press("Escape")
    expect(page.locator(DIALOG)).not_to_be_visible()


@pytest.mark.slow
def test_a_marker_that_is_drawn_anew_or_moves_while_it_is_pressed_is_followed(page: Page) -> None:
    ask_documents(page, QUESTION)
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    for change in (
        "link => link.replaceWith(link.cloneNode(true))",
        "link => link.closest('.message-content').innerHTML += ''",
        "link => link.closest('.message-content').style.marginTop = '200px'",
    ):
        page.locator(MARKER).first.hover()
        page.mouse.down()
        page.locator(MARKER).first.evaluate(change)
        page.mouse.up()
        expect(page.locator(DIALOG)).to_contain_text("timetable.pdf")
        page.keyboard.press("Escape")
        expect(page.locator(DIALOG)).not_to_be_visible()


@pytest.mark.slow
def test_what_the_documents_do_not_say_is_refused_and_files_are_counted(page: Page) -> None:
    ask_documents(page, "Who painted the ceiling of the Sistine Chapel?")
    expect(page.locator(ANSWER).first).to_contain_text("Not in your documents")
    page.fill(COMPOSER, "How many documents do I have?")
    page.press(COMPOSER, "Enter")
    expect(page.locator(ANSWER).nth(1)).to_contain_text("The library has")


@pytest.mark.slow
def test_a_search_says_why_and_opens_the_page(page: Page) -> None:
    page.fill("#query textarea, #query input", "ferry Pellworm Nordstrand")
    page.keyboard.press("Enter")
    first = page.locator("#results li").first
    expect(first.locator("mark").first).to_be_visible()
    first.locator("summary").click()
    expect(first.locator("details")).to_contain_text("rank 1")
    first.locator("a.passage").click()
    assert has_box(picture_of(page), baseline=600)


@pytest.mark.slow
def test_a_file_that_cannot_be_read_tells_why_and_the_rest_is_there(page: Page) -> None:
    drop(page, ("broken.pdf", b"%PDF-1.7 nothing more"), ("note.md", "# 笔记\n\n渡轮每天早上七点半出发。".encode()))
    broken = page.locator(ROW, has_text="broken.pdf").first
    expect(broken.locator(".state")).to_have_text("not read", timeout=60_000)
    expect(broken.locator(".sentence")).not_to_be_empty()
    expect(page.locator(ROW, has_text="note.md").locator(".state")).to_have_text("ready")
    broken.locator("input").check()
    page.click("#remove")
    expect(page.locator(ROW, has_text="broken.pdf")).to_have_count(0)


@pytest.mark.slow
def test_a_document_shows_its_passages_and_moves_to_another_collection(page: Page) -> None:
    drop(page, ("move.md", b"# Move\n\nThis document moves to another collection.\n"))
    row = page.locator(ROW, has_text="move.md")
    expect(row.locator(".state")).to_have_text("ready", timeout=60_000)
    row.locator("button.open").click()
    expect(page.locator("#passages li").first).to_contain_text("moves to another collection")
    row.locator("input").check()
    page.fill("#destination input", "travels")
    page.keyboard.press("Enter")
    page.click("#move")
    expect(row).to_contain_text("travels")


@pytest.mark.slow
def test_names_and_texts_of_documents_stay_text(page: Page) -> None:
    name = "<img src=x onerror=document.title='owned'>.md"
    content = "# <script>document.title='owned'</script>\n\nZebrafish <img src=x onerror=document.title='owned'> swim."
    drop(page, (name, content.encode()))
    row = page.locator(ROW, has_text="onerror")
    expect(row.locator(".state")).to_have_text("ready", timeout=60_000)
    row.locator("button.open").click()
    expect(page.locator("#passages li").first).to_contain_text("onerror")
    page.fill("#query textarea, #query input", "zebrafish swim")
    page.keyboard.press("Enter")
    page.locator("#results a.passage").first.click()
    expect(page.locator(DIALOG)).to_contain_text("Zebrafish <img")
    page.keyboard.press("Escape")
    ask_documents(page, "Where do the zebrafish swim?")
    expect(page.locator(ANSWER).first).to_contain_text("Zebrafish <img")
    assert page.title() == "AstrAI"


@pytest.mark.slow
def test_the_library_speaks_chinese(visit: Callable[..., Page], address: tuple[str, list[object]]) -> None:
    page = visit(address, locale="zh-CN")
    open_library(page)
    expect(page.locator("#drop-zone")).to_contain_text("把文件或文件夹拖到这里")
    expect(page.get_by_role("tab").nth(1)).to_have_text("资料库")
    drop(page, ("empty.pdf", b"%PDF-1.7 nothing more"))
    sentence = page.locator(ROW, has_text="empty.pdf").locator(".sentence")
    expect(sentence).to_contain_text("请在 PDF 阅读器中打印成新的 PDF 后再添加", timeout=60_000)
    page.click("#language label:has-text('English')")
    expect(page.locator("#drop-zone")).to_contain_text("Drop files or folders here")


@pytest.mark.slow
def test_a_folder_of_this_computer_is_followed(page: Page, tmp_path: Path) -> None:
    (tmp_path / "followed.md").write_text("# Followed\n\nA file in a followed folder.\n", encoding="utf-8")
    page.fill("#path textarea, #path input", str(tmp_path))
    page.click("#watch-path")
    expect(page.locator(ROW, has_text="followed.md").locator(".state")).to_have_text("ready", timeout=60_000)
    page.click("#watching button")
    expect(page.locator("#watched input")).to_have_value(str(tmp_path))
    page.click("#unwatch")
    expect(page.locator("#watched input")).to_have_value("")
    page.fill("#path textarea, #path input", "/nowhere/at/all")
    page.click("#add-path")
    expect(page.locator("#activity")).to_contain_text("/nowhere/at/all is not there")


@pytest.mark.slow
def test_the_search_is_measured_on_the_users_own_documents(page: Page) -> None:
    page.click("#measuring button")
    expect(page.locator("#across-languages")).to_contain_text("in the other language")
    page.click("#measure")
    rows = page.locator("#figures table.figures tbody tr")
    expect(rows).to_have_count(3, timeout=60_000)
    expect(rows.last).to_contain_text("%")
    expect(page.locator("#figures")).to_contain_text("questions were made from your documents")


@pytest.mark.slow
def test_what_a_model_writes_is_cited_in_its_box_and_what_it_invents_is_marked(scripted_page: Page) -> None:
    page = scripted_page
    ask_documents(page, QUESTION)
    answer = page.locator(ANSWER).first
    expect(answer).to_contain_text(INVENTED)
    expect(answer.locator(MARKER_LINK)).to_have_count(1)
    text = answer.inner_text()
    assert text.index(FACT) < text.index("no source")
    assert text.rstrip().endswith("no source")
    expect(page.locator("#status")).to_contain_text("1 of 2 sentences have a source")
    answer.locator(MARKER_LINK).click()
    image = picture_of(page)
    assert has_box(image, baseline=600)
    assert not has_box(image, baseline=660)
    page.keyboard.press("Escape")
    answer.locator("a", has_text="no source").click()
    expect(page.locator(DIALOG)).not_to_be_visible()


@pytest.mark.slow
def test_a_refusal_offers_the_models_own_answer_which_says_so(scripted_page: Page) -> None:
    page = scripted_page
    ask_documents(page, "What did Grandma Moses bake for the mayor of Lagos?")
    expect(page.locator(ANSWER).first).to_contain_text("Not in your documents")
    page.get_by_role("button", name="Answer without documents").click()
    answer = page.locator(ANSWER).first
    expect(answer).to_contain_text("She baked a cake of nine layers.")
    expect(answer).to_contain_text("By the model alone")
    expect(page.locator("#conversation")).not_to_contain_text("Not in your documents")


@pytest.mark.slow
def test_the_choice_of_collections_outlives_a_reload_and_narrows_to_kinds(scripted_page: Page) -> None:
    page = scripted_page
    drop(page, ("winter.md", b"# Winter\n\nIn winter the mail boat to Pellworm leaves at noon.\n"))
    expect(page.locator(ROW, has_text="winter.md").locator(".state")).to_have_text("ready", timeout=60_000)
    ask_documents(page, "How many documents do I have?")
    expect(page.locator(ANSWER).first).to_contain_text("The library has 2 files")
    page.wait_for_timeout(1000)  # the browser keeps the conversation a moment after it is shown
    page.reload()
    expect(page.locator("#collections .token")).to_contain_text("default")
    pick(page, "#chat-scope", 0, "md")
    page.fill(COMPOSER, "How many documents do I have?")
    page.press(COMPOSER, "Enter")
    expect(page.locator(ANSWER).nth(1)).to_contain_text("The library has 1 file")


@pytest.mark.slow
def test_a_search_and_the_table_are_narrowed_by_kind_and_date(scripted_page: Page) -> None:
    page = scripted_page
    drop(page, ("winter.md", b"# Winter\n\nIn winter the mail boat to Pellworm leaves at noon.\n"))
    expect(page.locator(ROW, has_text="winter.md").locator(".state")).to_have_text("ready", timeout=60_000)
    page.fill("#query textarea, #query input", "Pellworm")
    page.keyboard.press("Enter")
    expect(page.locator("#results li").first).to_be_visible()
    pick(page, "#library-scope", 0, "pdf")
    expect(page.locator(ROW)).to_have_count(1)
    expect(page.locator("#results")).not_to_contain_text("winter.md")
    field = page.locator("#library-scope input").nth(2)
    field.fill("2999-01-01")
    field.press("Enter")
    expect(page.locator(ROW)).to_have_count(0)
    field.fill("the day before")
    field.press("Enter")
    expect(page.locator("#documents")).to_contain_text("'the day before' is no date")


@pytest.mark.slow
def test_an_embedder_that_is_none_is_a_sentence_and_the_own_one_stays(page: Page, tmp_path: Path) -> None:
    page.click("#embedding button")
    page.fill("#embedder textarea, #embedder input", str(tmp_path))
    page.click("#use-embedder")
    expect(page.locator("#activity .error")).to_contain_text("has no safetensors file", timeout=60_000)
    expect(page.locator("#embedder-now")).to_contain_text("astrai-embedder")
    page.click("#use-own-embedder")
    expect(page.locator("#activity")).to_contain_text("now uses astrai-embedder", timeout=60_000)


def pick(page: Page, row: str, number: int, name: str) -> None:
    """Choose in one of the pickers that narrow a search."""
    page.locator(f"{row} input").nth(number).click()
    page.get_by_role("option", name=name, exact=True).click()


@pytest.mark.slow
def test_a_folder_narrows_the_table_the_search_and_the_chat(scripted_page: Page, tmp_path: Path) -> None:
    page = scripted_page
    for name, hour in (("north", "seven"), ("south", "nine")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.md").write_text(f"# Quay\n\nThe {name} bus leaves at {hour}.\n", "utf-8")
    page.fill("#path textarea, #path input", str(tmp_path))
    page.click("#add-path")
    expect(page.locator(ROW, has_text="south.md").locator(".state")).to_have_text("ready", timeout=60_000)
    pick(page, "#library-scope", 1, str(tmp_path / "north"))
    expect(page.locator(ROW)).to_have_count(1)
    expect(page.locator(ROW)).to_contain_text("north.md")
    page.fill("#query textarea, #query input", "When does the quay bus leave?")
    page.keyboard.press("Enter")
    expect(page.locator("#results li")).to_have_count(1)
    expect(page.locator("#results li")).to_contain_text("seven")
    pick(page, "#library-scope", 1, str(tmp_path / "south"))
    expect(page.locator("#results li")).to_contain_text("nine")
    pick(page, "#library-scope", 1, str(tmp_path))
    expect(page.locator(ROW)).to_have_count(2)
    ask_documents(page, "How many documents do I have?")
    expect(page.locator(ANSWER).first).not_to_contain_text("The library has 1 file")
    pick(page, "#chat-scope", 1, str(tmp_path / "south"))
    page.fill(COMPOSER, "How many documents do I have?")
    page.press(COMPOSER, "Enter")
    expect(page.locator(ANSWER).nth(1)).to_contain_text("The library has 1 file")


@pytest.mark.slow
def test_a_page_whose_file_is_gone_says_so_in_the_dialog(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "tides.pdf"
    path.write_bytes(make_pdf(PdfPage([Text(60, 660, "High tide at the lighthouse is at noon.")])))
    page.fill("#path textarea, #path input", str(path))
    page.click("#add-path")
    expect(page.locator(ROW, has_text="tides.pdf").locator(".state")).to_have_text("ready", timeout=60_000)
    path.unlink()
    page.fill("#query textarea, #query input", "high tide lighthouse")
    page.keyboard.press("Enter")
    page.locator("#results a.passage").first.click()
    expect(page.locator(f"{DIALOG} .error")).to_contain_text("The file of this passage is gone.")
    expect(page.locator(f"{DIALOG} img.page")).to_have_count(0)
