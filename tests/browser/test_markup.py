"""What others wrote is shown and nothing more: it runs nothing, fetches nothing, and its links wait to be confirmed."""

import json
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from rag.embedding.load import DEFAULT_FOLDER
from tests.browser.hostile_markup import EVIL, MESSAGES, PAYLOADS, PIXEL, RUN
from tests.browser.test_library import FACT, MARKER, ROW, ask_documents, drop, open_library

pytestmark = [pytest.mark.browser, pytest.mark.slow]

COMPOSER = "#composer textarea"
ANSWER = "#conversation .bot .message-content"
NAME = f"<img src={EVIL}/name.png onerror={RUN}>"
RICH = f"""**Bold** and [a link]({EVIL}/page?q=1), ![a picture]({EVIL}/picture.png), ![inside]({PIXEL})

```python
def less(x):
    return x < 1
```

$$E = mc^2$$ and \\(\\sqrt{{x}}\\)

| a | b |
|---|---|
| 1 | 2 |

- [x] done

```mermaid
graph TD; A-->B
```"""
REFERENCES = """() => [...document.querySelectorAll("#tabs *")].flatMap((element) =>
    [...element.attributes].filter(({ name, value }) =>
        !["data-address", "data-title", "value", "title", "aria-label"].includes(name)
            && /evil\\.example|javascript:/.test(value)
    ).map(({ name, value }) => `${element.localName} ${name}=${value}`))"""
WATCH = """() => {
    window.__refused = [];
    document.addEventListener("securitypolicyviolation", (event) =>
        window.__refused.push(`${event.violatedDirective} ${event.blockedURI}`));
}"""


@pytest.fixture(scope="module")
def address(start: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    script = tmp_path_factory.mktemp("script") / "script.json"
    said = {f"case {number}.": payload for number, payload in enumerate(MESSAGES)}
    script.write_text(
        json.dumps({**said, "rich": RICH, "Pellworm": f"{FACT} {' '.join(PAYLOADS[20:30])}"}), encoding="utf-8"
    )
    return start(str(script), NAME, program=["tests.browser.scripted_app"])


@pytest.fixture
def requested() -> list[str]:
    return []


@pytest.fixture
def page(browser: Browser, address: str, requested: list[str], cookies: list[object]) -> Iterator[Page]:
    """A page that tells what it asks for, and what its policy refuses."""
    context = browser.new_context(storage_state={"cookies": cookies}, locale="en-US")  # type: ignore[typeddict-item]
    context.add_init_script(f"({WATCH})()")
    page = context.new_page()
    page.on("request", lambda request: requested.append(request.url))
    page.goto(address.partition("/login")[0])
    page.wait_for_selector(COMPOSER)
    yield page
    context.close()


@pytest.fixture(scope="module")
def cookies(browser: Browser, address: str) -> list[object]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(COMPOSER)
    found: list[object] = list(context.storage_state()["cookies"])
    context.close()
    return found


def ask(page: Page, text: str) -> None:
    """Ask and wait for the end of the answer."""
    answers = page.locator(ANSWER).count()
    page.fill(COMPOSER, text)
    page.press(COMPOSER, "Enter")
    expect(page.locator(ANSWER)).to_have_count(answers + 1)
    expect(page.locator("#composer .submit-button")).to_be_visible()


def untouched(page: Page, requested: list[str]) -> None:
    """Nothing ran, nothing was asked for elsewhere, and nothing that would have been was even tried."""
    assert page.evaluate("window.__xss") is None
    assert page.evaluate("window.__refused") == []
    assert [url for url in requested if "127.0.0.1" not in url.split("?")[0] and not url.startswith("data:")] == []
    assert [url for url in requested if "/gradio_api/" in url and ("file=" in url or "proxy" in url)] == []
    assert page.evaluate(REFERENCES) == []
    assert page.title() == "AstrAI"


def test_no_message_runs_or_fetches_anything(page: Page, requested: list[str]) -> None:
    """Each payload as a question, and as the answer to it, with the name of the model beside them."""
    assert len(PAYLOADS) >= 70
    for number, payload in enumerate(MESSAGES):
        ask(page, f"{payload}\n\ncase {number}.")
    untouched(page, requested)
    page.reload()
    expect(page.locator(ANSWER)).to_have_count(len(MESSAGES))
    untouched(page, requested)


def test_formulas_code_tables_and_pictures_of_the_text_itself_are_shown(page: Page, requested: list[str]) -> None:
    ask(page, "rich")
    answer = page.locator(ANSWER)
    expect(answer.locator(".katex")).to_have_count(2)
    expect(answer.locator(".katex-display")).to_have_count(1)
    assert answer.locator(".katex .sqrt").bounding_box()["height"] > 10  # type: ignore[index]
    expect(answer.locator("code .keyword").first).to_have_text("def")
    expect(answer.locator("table td")).to_have_text(["1", "2"])
    expect(answer.locator("img")).to_have_attribute("src", PIXEL)
    expect(answer.locator("li")).to_have_text("☑ done")
    expect(answer.locator("pre").last).to_have_text("graph TD; A-->B")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    answer.locator(".copy_code_button").first.click()
    assert page.evaluate("navigator.clipboard.readText()").strip() == "def less(x):\n    return x < 1"
    untouched(page, requested)


def test_a_link_shows_its_whole_address_and_is_opened_only_when_that_is_confirmed(page: Page) -> None:
    page.context.route(f"{EVIL}/**", lambda route: route.fulfill(body="outside", content_type="text/html"))
    ask(page, "rich")
    link, dialog = page.locator(ANSWER).get_by_role("link", name="a link"), page.locator("#outside-dialog")
    link.click()
    expect(dialog.locator("code")).to_have_text(f"{EVIL}/page?q=1")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    link.click(button="middle")
    link.focus()
    page.keyboard.press("Enter")
    assert len(page.context.pages) == 1
    with page.context.expect_page() as opened:
        dialog.get_by_role("button", name="Open in a new tab").click()
    assert opened.value.url == f"{EVIL}/page?q=1"
    assert opened.value.evaluate("window.opener") is None


@pytest.mark.skipif(not DEFAULT_FOLDER.is_dir(), reason="the embedder's weights are not in the repository")
def test_a_documents_text_and_name_run_and_fetch_nothing(page: Page, requested: list[str]) -> None:
    open_library(page)
    text = "\n\n".join((FACT, *PAYLOADS))
    names = (f"ferry <img src=x onerror={RUN}>.md", f"![a](x) <svg onload={RUN}>.txt")
    drop(page, *((name, f"{name}\n\n{text}".encode()) for name in names))
    expect(page.locator(f"{ROW} .state", has_text="ready")).to_have_count(2, timeout=60_000)
    page.locator(f"{ROW} button.open").first.click()
    ask_documents(page, "When does the ferry to Pellworm leave Nordstrand?")
    expect(page.locator(MARKER).first).to_be_attached(timeout=60_000)
    for place in range(page.locator(MARKER).count()):
        page.locator(MARKER).nth(place).dispatch_event("click")
        expect(page.locator("#passage-dialog #passage")).to_be_attached()
    untouched(page, requested)
