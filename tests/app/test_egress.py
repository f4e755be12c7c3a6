"""A whole session under the system's own eyes: nothing is connected to but this machine, nothing is readable by others.

strace sees every process and thread of the program: the page, parsers, trainers. The session asks the model, asks a
document, opens the page with all that it loads, and trains two steps on two processes as a detached run of the studio.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.commands.doctor import readable_by_others
from tests.conftest import ROOT
from tests.figures import Figure

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(400),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt install strace)"),
]
CANARY, WRONG_KEY = "zanzibar-otter-4711", "a-key-that-opens-nothing-4711"
QUESTION = f"When does the ferry to Pellworm leave Nordstrand, {CANARY}?"
FACT = "The harbour ferry to Pellworm leaves Nordstrand at half past seven every morning."
CALLS = "trace=connect,sendto,sendmsg,sendmmsg,bind"
ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
LIMIT_S = 120
# torch asks for the name of each address that it talks to; a resolver that does not find 127.0.0.1, written as an IPv6
# address, in its own table asks the name server of this machine. Nothing else may be asked there.
ASKED_NAME = r"\0011\0010\0010\003127\7in-addr"
TRAIN = (
    "--preset", "tiny", "--max-seq-len", "32", "--max-steps", "2", "--num-threads", "1", "--nproc", "2", "--detach",
)  # fmt: skip


INDEX = """
import sys
from pathlib import Path
from rag import KnowledgeBase
with KnowledgeBase(Path(sys.argv[1])) as library:
    library.add([Path(sys.argv[2])], "islands")
"""


@dataclass
class Session:
    """What a session left: its data folder, the traces, what was answered and printed, and its login token."""

    home: Path
    token: str
    printed: str
    traces: list[Path]
    answer: str
    cited: str
    run: Path


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A session that used everything."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("trace")
    environment = os.environ | {"ASTRAI_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    (folder / "ferries.md").write_text(f"# Ferries\n\n{FACT}\n", encoding="utf-8")
    rows = "".join(json.dumps({"text": f"{FACT} {number}"}) + "\n" for number in range(200))
    (folder / "texts.jsonl").write_text(rows, encoding="utf-8")

    def do(name: str, *words: str) -> None:
        command = traced(folder / f"{name}.trace", *words)
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=LIMIT_S)

    do("index", "-c", INDEX, str(home / "library"), str(folder / "ferries.md"))
    with subprocess.Popen(
        traced(folder / "page.trace", "-m", "app", "app", "--no-browser", "--port", "0"),
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        login = next(line for line in process.stdout if line.startswith("AstrAI is at ")).split()[-1]
        address = login.partition("/login")[0]
        with httpx.Client(base_url=address, timeout=LIMIT_S) as client:
            open_page(client, login.removeprefix(address))
            wrong = {"authorization": f"Bearer {WRONG_KEY}"}
            assert client.get("/v1/models", headers=wrong).status_code == 401
            assert client.get(f"/login?token={WRONG_KEY}").status_code == 200  # who is inside already stays there
            answer, cited = ask(client, (home / "api.key").read_text().strip())
        os.killpg(process.pid, signal.SIGINT)
        printed, _ = process.communicate(timeout=LIMIT_S)
    do("prepare", "-m", "app", "prepare", str(folder / "texts.jsonl"), "--output", str(folder / "data"))
    do("train", "-m", "app", "train", "--data", str(folder / "data"), *TRAIN)  # strace ends with the run itself
    (run,) = (home / "studio" / "runs").glob("*-pt-????")
    token = login.partition("token=")[2]
    return Session(home, token, printed, sorted(folder.glob("*.trace")), answer, cited, run)


def traced(trace: Path, *words: str) -> list[str]:
    return ["strace", "--seccomp-bpf", "-f", "-qq", "-e", CALLS, "-o", str(trace), sys.executable, *words]


def open_page(client: httpx.Client, login: str) -> None:
    """Log in, and load the page with every script and style that it names."""
    client.get(login).raise_for_status()
    page = client.get("/")
    page.raise_for_status()
    for name in re.findall(r'(?:src|href)="\.?(/?(?:assets|static|theme)[^"]+)"', page.text)[:40]:
        client.get(f"/{name.lstrip('/')}")


def ask(client: httpx.Client, key: str) -> tuple[str, str]:
    """The model's answer, and the document that an answer from the library cites."""
    client.headers["authorization"] = f"Bearer {key}"
    deadline = time.monotonic() + LIMIT_S
    question = {"model": "starter", "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 16}
    while (reply := client.post("/v1/chat/completions", json=question)).status_code != 200:
        assert time.monotonic() < deadline, reply.text
        time.sleep(0.5)
    grounded = client.post("/v1/chat/completions", json={**question, "collections": ["islands"]}).json()
    return reply.json()["choices"][0]["message"]["content"], Path(grounded["citations"][0]["document"]).name


def addresses(trace: Path) -> list[str]:
    """The internet addresses that a trace names."""
    found = [ADDRESS.search(line) for line in trace.read_text(errors="replace").splitlines()]
    return [match[1] or match[2] for match in found if match]


def name_servers(trace: Path) -> set[str]:
    """The addresses that a trace connects to for nothing but the name of 127.0.0.1."""
    lines = trace.read_text(errors="replace").splitlines()
    connected = [found[1] for line in lines if "htons(53)" in line and (found := ADDRESS.search(line))]
    asked = sum(ASKED_NAME in line for line in lines)
    return set(connected) if len(connected) == asked else set()


def test_nothing_is_connected_to_but_this_machine(session: Session, figure: Figure) -> None:
    assert session.answer
    assert session.cited == "ferries.md"
    assert (session.run / "model" / "config.json").exists()
    assert any(addresses(trace) for trace in session.traces)  # else it saw nothing
    outside = {
        (trace.stem, address)
        for trace in session.traces
        for address in addresses(trace)
        if not address.removeprefix("::ffff:").startswith("127.")
        and address not in ("::1", "0.0.0.0", "::")
        and address not in name_servers(trace)
    }
    figure("G13 connections", len(outside))
    assert outside == set()


def test_the_receipt_says_the_same(session: Session) -> None:
    assert not (session.home / "receipt.json").exists()


def test_nothing_in_the_data_folder_is_readable_by_others(session: Session) -> None:
    made_by_the_page = [name for name in readable_by_others(session.home) if not name.startswith("library")]
    assert made_by_the_page == []


def test_no_log_and_no_file_holds_what_was_asked_or_a_secret(session: Session) -> None:
    key, cookie = ((session.home / name).read_text().strip() for name in ("api.key", "session.key"))
    assert min(map(len, (key, cookie, session.token))) > 40
    own = {key: "api.key", cookie: "session.key"}
    assert any(path.suffix == ".log" for path in session.home.rglob("*"))
    files = [path for path in session.home.rglob("*") if path.is_file()]
    contents = {path: path.read_bytes() for path in files if path.stat().st_size < 2**22}
    for secret in (CANARY, WRONG_KEY, session.token, key, cookie):
        holders = [path.name for path, content in contents.items() if secret.encode() in content]
        assert holders == ([own[secret]] if secret in own else [])
        assert secret not in session.printed
