"""Conversations in a real browser: kept by the server, found again, versions at any message, nothing lost by a kill."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from app.conversation_rows import Conversation, Message, Said, State
from app.conversations import Conversations
from app.preference_rows import Origin
from tests.browser.conftest import ANNOUNCEMENT
from tests.browser.test_page import ANSWER, COMPOSER, QUESTION, SEND, ask
from tests.conftest import ROOT
from tests.figures import Figure

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(400)]
SCRIPT = {
    "otter": "An otter swims well and eats fish.",
    "熊猫": "大熊猫住在四川的竹林里。",
    "slowly": " ".join(f"word{number}" for number in range(400)),
}
SEARCH = "#conversation-search input, #conversation-search textarea"
ENTRY = "#conversations li"
PLACE = ".version-place"
Start = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def start_in(tmp_path: Path) -> Iterator[Start]:
    """Starts the scripted program on one data folder; gives its process and its address."""
    (tmp_path / "script.json").write_text(json.dumps(SCRIPT), encoding="utf-8")
    processes: list[subprocess.Popen[str]] = []

    def start_program(pause_s: float = 0.0) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "tests.browser.scripted_app", str(tmp_path / "script.json")]
        home = {"ASTRAI_HOME": str(tmp_path / "home"), "ASTRAI_SCRIPT_PAUSE_S": str(pause_s), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | home, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith(ANNOUNCEMENT))
        return process, line.removeprefix(ANNOUNCEMENT).strip()

    yield start_program
    for process in processes:
        process.kill()
        process.communicate(timeout=20)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(locale="en-US", viewport={"width": 1280, "height": 860})
    yield context.new_page()
    context.close()


def opened(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector(COMPOSER)
    expect(page.locator("#status")).to_have_text(re.compile("ready|tokens/s"))


def asked(page: Page, text: str, answers: int) -> None:
    ask(page, text)
    expect(page.locator(ANSWER)).to_have_count(answers)
    expect(page.locator(SEND)).to_be_visible()
    expect(page.locator(".astrai-live")).to_have_count(0)


def act(page: Page, entry: int, what: str) -> None:
    page.hover(f"{ENTRY} >> nth={entry}")
    page.click(f"{ENTRY} >> nth={entry} >> summary")
    page.click(f"#conversations .menu[open] [data-act={what}]")


def test_conversations_are_found_named_pinned_deleted_and_their_versions_turned(start_in: Start, page: Page) -> None:
    opened(page, start_in()[1])
    asked(page, "Tell me of the otter", 1)
    page.click("#conversation button[title='Retry']")
    expect(page.locator(PLACE)).to_have_text("2 / 2")
    asked(page, "And the 熊猫?", 2)
    page.click("[aria-label='Previous version']")
    expect(page.locator(QUESTION)).to_have_count(1)
    page.click("[aria-label='Next version']")
    expect(page.locator(QUESTION)).to_have_count(2)
    page.reload()
    expect(page.locator(QUESTION)).to_have_count(2)
    expect(page.locator("#status")).to_contain_text("tokens/s")
    page.locator("#conversation button[title='Edit']").first.click()
    page.locator("#conversation textarea").first.fill("Only of the otter, please")
    page.click("#conversation button[title='Submit']")
    expect(page.locator(QUESTION)).to_have_text(["Only of the otter, please"])
    expect(page.locator(ANSWER)).to_have_text([SCRIPT["otter"]])
    expect(page.locator(PLACE)).to_have_text("2 / 2")

    page.click("#sidebar-new")
    asked(page, "熊猫住在哪里", 1)
    expect(page.locator(ENTRY)).to_have_count(2)
    page.fill(SEARCH, "熊貓住在哪")
    expect(page.locator(ENTRY)).to_have_count(1)
    asked(page, "And the 熊猫?", 2)
    expect(page.locator(ENTRY)).to_have_count(1)  # an answer leaves what is searched for
    page.fill(SEARCH, "eats fis")
    expect(page.locator(f"{ENTRY} small")).to_contain_text("swims well and eats fish")
    page.click(f"{ENTRY} .open")
    expect(page.locator(QUESTION)).to_have_text(["Only of the otter, please"])
    expect(page.locator(f"{ENTRY} small")).not_to_have_count(0)  # so does opening what was found
    page.fill(SEARCH, "")
    expect(page.locator(ENTRY)).to_have_count(2)

    act(page, 1, "pin")
    expect(page.locator("#conversations h2").first).to_have_text("Pinned")
    act(page, 0, "rename")
    page.keyboard.type("<img src=x onerror=document.title='owned'>")
    page.keyboard.press("Enter")
    expect(page.locator(f"{ENTRY} .open span").first).to_have_text("<img src=x onerror=document.title='owned'>")
    assert page.title() == "AstrAI"
    act(page, 1, "move")
    page.keyboard.type("动物")
    page.keyboard.press("Enter")
    expect(page.locator("#conversations .folder summary").first).to_contain_text("动物")
    act(page, 0, "delete")
    expect(page.locator(ENTRY)).to_have_count(1)
    page.click("#conversations .undo button")
    expect(page.locator(ENTRY)).to_have_count(2)

    page.check("#temporary input")
    asked(page, "熊猫, in secret", 1)
    expect(page.locator(ENTRY)).to_have_count(2)


@pytest.mark.long
def test_two_tabs_have_a_conversation_each(start_in: Start, page: Page) -> None:
    opened(page, start_in()[1])
    asked(page, "Tell me of the otter", 1)
    other = page.context.new_page()
    opened(other, page.url)
    expect(other.locator(QUESTION)).to_have_text("Tell me of the otter")
    other.click("#sidebar-new")
    asked(other, "熊猫?", 1)
    page.reload()
    expect(page.locator(QUESTION)).to_have_text("Tell me of the otter")
    other.reload()
    expect(other.locator(QUESTION)).to_have_text("熊猫?")


@pytest.mark.long
def test_a_server_that_is_killed_while_it_answers_loses_nothing(start_in: Start, page: Page, browser: Browser) -> None:
    process, address = start_in(pause_s=0.05)
    opened(page, address)
    ask(page, "Tell me slowly")
    page.wait_for_function("document.querySelector('#live')?.textContent.includes('word40')")
    seen = page.inner_text("#live").split()
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=20)
    after = browser.new_page(locale="en-US")
    opened(after, start_in()[1])
    after.click(f"{ENTRY} .open")
    expect(after.locator(QUESTION)).to_have_text("Tell me slowly")
    expect(after.locator(".astrai-mark .note")).to_have_text("Interrupted before its end")
    kept = after.inner_text(ANSWER).split()
    assert kept == SCRIPT["slowly"].split()[: len(kept)]
    assert len(kept) >= len(seen) - 20  # of 0.7 s and what the browser had not drawn yet
    after.click("#go-on")
    expect(after.locator(ANSWER)).to_contain_text("and it goes on.")
    expect(after.locator(".astrai-mark .note")).to_have_count(0)
    expect(after.locator(ENTRY)).to_have_count(1)
    after.close()


def test_no_event_takes_what_the_browser_says_was_said(start_in: Start, page: Page) -> None:
    """A chatbot's value comes from the browser, where anybody may have written it."""
    opened(page, start_in()[1])
    config = page.evaluate("fetch('/config').then((answer) => answer.json())")
    (chatbot,) = (one["id"] for one in config["components"] if one["props"].get("elem_id") == "conversation")
    assert any(chatbot in event["outputs"] for event in config["dependencies"])
    assert [event["id"] for event in config["dependencies"] if chatbot in event["inputs"]] == []


NUM_MESSAGES, MAX_TASK_MS, COUNTED_TASK_MS = 2000, 50.0, 1.0
WHEEL_PX, NUM_TURNS, TURN_MS = 300, 30, 20
RICH = "Some **bold** words.\n\n1. first\n2. second\n\n```python\ndef f(x):\n    return x + 1\n```\n\n$$a^2$$"


@pytest.mark.long
@pytest.mark.alone
def test_a_long_conversation_opens_at_its_end_scrolls_and_streams_without_lag(
    start_in: Start, page: Page, browser: Browser, tmp_path: Path, figure: Figure
) -> None:
    """Measured is the processor time of the tasks of the page's main thread, which a busy machine does not change."""
    chats = Conversations(tmp_path / "home" / "conversations")
    chats.insert(
        Conversation(id="", title="A long one", created=1.0, updated=1.0, leaf=NUM_MESSAGES - 1),
        [
            (place - 1 if place else None, Message(0, None, role, said, State.COMPLETE, 1.0 + place, 1, 1))
            for place in range(NUM_MESSAGES)
            for role, said in [("assistant", Said(RICH, origin=Origin("m"))) if place % 2 else ("user", Said("And?"))]
        ],
    )
    chats.close()
    opened(page, start_in(pause_s=0.02)[1])
    page.click(f"{ENTRY} .open")
    expect(page.locator("#conversation .message-row")).to_have_count(60)
    page.wait_for_timeout(1000)
    trace = tmp_path / "trace.json"
    browser.start_tracing(page=page, path=trace, categories=["toplevel", "devtools.timeline"])
    ask(page, "Tell me slowly")
    scroll(page)
    expect(page.locator(ANSWER).last).to_contain_text("word399", timeout=150_000)
    expect(page.locator(".astrai-live")).to_have_count(0)
    for num_shown in (120, 180, 240):
        page.click("#earlier")
        expect(page.locator("#conversation .message-row")).to_have_count(num_shown)
        scroll(page)
    browser.stop_tracing()
    tasks = main_thread_tasks_ms(trace)
    p95 = tasks[int(len(tasks) * 0.95)]
    told = (
        f"{NUM_MESSAGES} messages: {len(tasks)} tasks, p95 {p95:.0f} ms, longest {tasks[-1]:.0f} ms of processor time"
    )
    sys.stdout.write(f"{told}\n")
    figure("page tasks", p95)
    assert p95 <= MAX_TASK_MS, told


def scroll(page: Page) -> None:
    """Turn the wheel over the conversation, up and down again."""
    page.locator("#conversation .bubble-wrap").hover()
    for pixels in [*[-WHEEL_PX] * NUM_TURNS, *[WHEEL_PX] * NUM_TURNS]:
        page.mouse.wheel(0, pixels)
        page.wait_for_timeout(TURN_MS)


def main_thread_tasks_ms(trace: Path) -> list[float]:
    """The processor time of each task of the page that took any, in order of length."""
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    main = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    took = [
        event["tdur"] / 1000
        for event in events
        if event["name"] in ("RunTask", "ThreadControllerImpl::RunTask")
        and (event["pid"], event["tid"]) in main
        and "tdur" in event
    ]
    return sorted(time_ms for time_ms in took if time_ms >= COUNTED_TASK_MS)
