"""The studio as its user meets it: a run is started from the page and outlives the server that started it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from app.paths import starter_dir
from app.preference_rows import Answer
from app.preferences import Preferences
from core.data.metric_rows import latest_rows
from studio import JobState, JobStore, kill
from tests.browser.conftest import ANNOUNCEMENT
from tests.browser.test_library import DROP
from tests.conftest import ROOT, SHARED_DATA
from tests.core.conftest import sentences

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(1500),  # a run gives way to all else on the machine
    pytest.mark.skipif(not starter_dir().is_dir(), reason="the starter's weights are not in the repository"),
]

COMPOSER = "#composer textarea"
PROGRAM = ("app", "app", "--no-browser", "--port", "0")
ANSWER = "#conversation .bot .message-content"
SHARED_FILE = SHARED_DATA / "sft" / "mixed" / "llamafactory-identity.json"
NUM_STEPS = 250
# A run whose steps are short and all on record.
SETTINGS = {
    "max_steps": str(NUM_STEPS),
    "epochs": "1",
    "max_seq_len": "128",
    "micro_batch_size": "1",
    "global_batch_size": "1",
    "log_interval": "1",
    "validation_interval": "0",
    "sample_interval": "0",
    "num_threads": "1",
}
SLOW_MS = 600_000  # of what waits for a process that gives way to all others
POINTS = "document.querySelector('figure[data-group=loss] polyline')?.getAttribute('points').split(' ').length ?? 0"


class Program:
    """The program on a data folder of its own; it may be killed and started again."""

    def __init__(self, home: Path, browser: Browser, *, module: Sequence[str] = PROGRAM) -> None:
        self.home, self._browser, self._module = home, browser, module
        self.processes: list[subprocess.Popen[str]] = []

    @property
    def store(self) -> JobStore:
        return JobStore(self.home / "studio")

    def start(self) -> str:
        """Start a server on a free port; its address with the token to log in."""
        command = [sys.executable, "-m", *self._module]
        environment = os.environ | {"ASTRAI_HOME": str(self.home), "PYTHONUNBUFFERED": "1", "ASTRAI_BACKGROUND": "0"}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith(ANNOUNCEMENT))
        return line.removeprefix(ANNOUNCEMENT).strip()

    def open(self, **options: object) -> Page:
        """A page of a server that is started for it."""
        page = self._browser.new_context(**{"locale": "en-US", **options}).new_page()  # type: ignore[arg-type]
        page.goto(self.start())
        page.wait_for_selector(COMPOSER, timeout=60_000)
        return page

    def kill_server(self) -> None:
        self.processes[-1].send_signal(signal.SIGKILL)
        self.processes[-1].wait(timeout=20)

    def rows(self, run: str) -> list[dict[str, object]]:
        """The rows of a run that count, of those that have a loss."""
        path = self.store.folder(run) / "metrics.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [dict(row) for row in latest_rows(rows) if "loss" in row]

    def close(self) -> None:
        for job in self.store.jobs():
            if job.state.is_live:
                kill(self.store, job.id)
        for process in self.processes:
            process.kill()
            process.communicate(timeout=20)
        for context in self._browser.contexts:
            context.close()


@pytest.fixture
def program(tmp_path: Path, browser: Browser) -> Iterator[Program]:
    made = Program(tmp_path, browser)
    yield made
    made.close()


def open_studio(page: Page, panel: str = "New run") -> None:
    page.get_by_role("tab", name="Studio").click()
    show_panel(page, panel)


def show_panel(page: Page, panel: str) -> None:
    page.locator("#studio-tab").get_by_role("tab", name=panel).click()


def drop(page: Page, name: str, content: bytes) -> None:
    page.evaluate(DROP, ["#data-zone .drop", [[name, list(content)]]])
    expect(page.locator("#data-report .report")).to_be_visible(timeout=60_000)


def own_file() -> bytes:
    """Conversations of words that no other file has."""
    words = sentences(80, seed=5)
    rows = [
        {"instruction": f"{a} {n}?", "output": b} for n, (a, b) in enumerate(zip(words[::2], words[1::2], strict=True))
    ]
    return "\n".join(json.dumps(row) for row in rows).encode()


def fill_settings(page: Page, settings: dict[str, str]) -> None:
    page.click("#all-settings > button")
    for name, value in settings.items():
        page.fill(f"[id='set-{name}']", value)
    page.wait_for_timeout(1500)  # typing is handed over after a pause
    expect(page.locator("#new-problems li")).to_have_count(0)


def step_of(page: Page, run: str) -> int:
    """The step that the list of runs shows."""
    return int(page.locator(f"li[data-run='{run}'] progress").get_attribute("value") or 0)


def wait_for_step(page: Page, run: str, more_than: int) -> int:
    page.wait_for_function(
        "([run, step]) => Number(document.querySelector(`li[data-run='${run}'] progress`)?.value ?? 0) > step",
        arg=[run, more_than],
        timeout=SLOW_MS,
    )
    return step_of(page, run)


def badge(page: Page, state: str) -> None:
    expect(page.locator(".run-detail .title .badge")).to_have_text(state, timeout=SLOW_MS)


def test_a_newcomer_starts_a_run_with_one_click_after_dropping_a_file(program: Program) -> None:
    page = program.open()
    open_studio(page)
    drop(page, "chats.jsonl", own_file())
    expect(page.locator("#data-report")).to_contain_text("Conversations, to fine-tune on. 40 rows")
    expect(page.locator("#stage label.selected")).to_have_text("Fine-tuning")
    page.click("#start-run")
    expect(page.locator(".run-detail .rename")).to_have_value("Fine-tuning · chats", timeout=60_000)
    (job,) = program.store.jobs()
    config = json.loads((job.folder / "config.json").read_text(encoding="utf-8"))
    assert (config["stage"], config["base"]) == ("sft", str(starter_dir()))
    page.get_by_role("tab", name="New run").click()
    page.fill("#new-name textarea, #new-name input", "Second")
    page.click("#start-queued")
    expect(page.locator(".run-detail .rename")).to_have_value("Second", timeout=60_000)
    badge(page, "waits")
    page.click(f"li[data-run='{job.id}'] .open-run")
    page.click(".run-detail .acts .kill")
    page.click(".run-detail .acts .kill")
    badge(page, "stopped")


@pytest.mark.parametrize(
    ("name", "read"),
    [
        pytest.param("chats.jsonl", own_file, id="own", marks=pytest.mark.long),
        pytest.param("chats.json", SHARED_FILE.read_bytes, id="shared", marks=[pytest.mark.shared, pytest.mark.long]),
    ],
)
def test_a_run_outlives_its_server_and_is_stopped_resumed_and_talked_to(
    program: Program, name: str, read: Callable[[], bytes]
) -> None:
    page = program.open()
    open_studio(page)
    drop(page, name, read())
    fill_settings(page, SETTINGS)
    page.click("#start-run")
    expect(page.locator(".run-detail .rename")).to_have_value("Fine-tuning · chats", timeout=60_000)
    (job,) = program.store.jobs()
    before = wait_for_step(page, job.id, 2)
    page.wait_for_function(f"{POINTS} > 2", timeout=SLOW_MS)

    program.kill_server()
    page = program.open()
    open_studio(page, "Runs")
    after = wait_for_step(page, job.id, before)
    page.wait_for_function(f"{POINTS} >= {after}", timeout=SLOW_MS)
    badge(page, "running")
    page.click(".run-detail .acts .stop")
    badge(page, "stopped")
    steps = [row["step"] for row in program.rows(job.id)]
    assert steps == list(range(1, len(steps) + 1))
    assert after <= len(steps) < NUM_STEPS

    page.click(".run-detail .acts .resume")
    badge(page, "finished")
    rows = program.rows(job.id)
    assert [row["step"] for row in rows] == list(range(1, NUM_STEPS + 1))
    assert {row["attempt"] for row in rows} == {1, 2}
    page.wait_for_function(f"{POINTS} == {NUM_STEPS}", timeout=SLOW_MS)
    assert program.store.job(job.id).state is JobState.FINISHED

    page.click(".run-detail .acts .chat")
    expect(page.locator(COMPOSER)).to_be_visible()
    expect(page.locator("#status")).to_contain_text("ready", timeout=120_000)
    page.fill(COMPOSER, "Hello! Who are you?")
    page.press(COMPOSER, "Enter")
    expect(page.locator(ANSWER).first).not_to_be_empty(timeout=120_000)
    expect(page.locator("#model input")).to_have_value("Fine-tuning · chats")


@pytest.mark.long
def test_a_model_is_evaluated_exported_and_opened_from_the_tree(program: Program, tmp_path: Path) -> None:
    held_out = tmp_path / "held-out.jsonl"
    held_out.write_bytes(own_file())
    page = program.open()
    open_studio(page, "Models")
    node = page.locator(".node", has_text="starter")
    node.locator("[data-act=evaluate]").click()
    expect(page.locator(".toast-body")).to_contain_text("Give the path of files to evaluate on first.")
    page.fill("#evaluation-files textarea, #evaluation-files input", str(held_out))
    node.locator("[data-act=evaluate]").click()
    show_panel(page, "Runs")
    badge(page, "finished")
    expect(page.locator("[data-slot=result]")).to_contain_text("Bits per byte")
    show_panel(page, "Models")
    expect(node.locator(".evaluation")).to_contain_text("bits/byte")
    node.locator("[data-act=train]").click()
    expect(page.locator("#base input")).to_have_value("starter")
    show_panel(page, "Models")
    node.locator("[data-act=chat]").click()
    expect(page.locator(COMPOSER)).to_be_visible()


def test_pairs_are_reviewed_and_what_is_wrong_is_a_sentence(program: Program) -> None:
    preferences = Preferences(program.home / "preferences")
    preferences.correct([{"role": "user", "content": "Who <b>are</b> you?"}], Answer("Nobody."), "Your assistant.")
    preferences.close()
    page = program.open(locale="zh-CN")
    page.get_by_role("tab", name="训练工坊").click()
    page.get_by_role("tab", name="偏好").click()
    pair = page.locator(".pairs li")
    expect(pair).to_contain_text("Who <b>are</b> you?")
    pair.locator("summary").click()
    pair.locator("textarea[name=chosen]").fill("I am your assistant.")
    pair.locator("[data-act=edit]").click()
    expect(page.locator("#pair-counts")).to_contain_text("共 1 对，其中 1 对已接受")
    with page.expect_download() as download:
        page.click("#pair-files a")
    exported = download.value.path().read_bytes()
    assert json.loads(exported)["chosen"] == "I am your assistant."
    added = json.dumps({"prompt": "q", "chosen": "c", "rejected": "r"}).encode()
    file = {"name": "pairs.jsonl", "mimeType": "application/jsonl", "buffer": exported + added + b"\n{broken"}
    page.set_input_files("#pair-files input[type=file]", [file])  # type: ignore[list-item]
    expect(page.locator(".import-report")).to_contain_text("从 pairs.jsonl 新增 1 对；1 对已存在")
    expect(page.locator(".import-report li")).to_contain_text("第 3 行")
    expect(page.locator("#pair-counts")).to_contain_text("共 2 对")
    page.get_by_role("tab", name="新训练").click()
    page.click("#start-run")
    expect(page.locator(".toast-body")).to_contain_text("请先拖入或选择训练数据。")
    page.click("#all-settings > button")
    page.fill("#set-max_steps", "many")
    expect(page.locator("#new-problems li")).to_contain_text("max_steps 的值是 'many'，应为整数")
    expect(page.locator(".setting.wrong label")).to_have_text("max_steps (步)")
