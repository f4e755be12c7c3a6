"""Memory of the whole app with a 1.05 B model in int4 while its context fills up.

Starts the page's program on a model of AstrAI's shape with random weights and the starter's tokenizer, asks it through
its interface for programs, and reads what the system says of the process: resident now, and at most so far.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import psutil

from app.paths import ROOT, starter_dir
from core.errors import SetupError

ANNOUNCEMENT = "AstrAI is at "
MODEL = "random-1b"
LIMIT_MB = 2000
LOADING_S = 120
STOP_S = 10


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--context", type=int, default=4000, help="tokens of the prompt (default 4000)")


def run(arguments: Namespace) -> dict[str, Any]:
    from benchmarks.random_models import SCHEMES, SHAPES, write_ours

    with tempfile.TemporaryDirectory() as folder:
        model, home = Path(folder) / MODEL, Path(folder) / "home"
        write_ours(SHAPES["astrai"], SCHEMES["int4"], model)
        for path in starter_dir().glob("tokenizer*"):
            shutil.copy(path, model)
        command = [sys.executable, "-m", "app", "app", "--no-browser", "--port", "0", "--model", str(model)]
        environment = os.environ | {"ASTRAI_HOME": str(home), "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
            try:
                return _measure(process, home, arguments.context)
            finally:
                process.terminate()
                process.wait(STOP_S)


def _measure(process: subprocess.Popen[str], home: Path, context: int) -> dict[str, Any]:
    import openai

    assert process.stdout is not None
    line = next((line for line in process.stdout if line.startswith(ANNOUNCEMENT)), None)
    if line is None:
        raise SetupError("The program ended without announcing its address.", "Start it by hand and read what it says.")
    address = line.removeprefix(ANNOUNCEMENT).partition("/login")[0]
    client = openai.OpenAI(base_url=f"{address}/v1", api_key=(home / "api.key").read_text().strip(), timeout=600)
    deadline = time.monotonic() + LOADING_S
    while not client.models.list().data and time.monotonic() < deadline:
        time.sleep(0.2)
    figures: dict[str, Any] = {"loaded_rss_mb": _rss_mb(process)}
    answer = client.completions.create(model=MODEL, prompt=list(range(10, 10 + context)), max_tokens=16, temperature=0)
    assert answer.usage is not None
    peak_kb = next(
        int(line.split()[1]) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "VmHWM" in line
    )
    return figures | {
        "context_tokens": answer.usage.total_tokens,
        "full_rss_mb": _rss_mb(process),
        "peak_rss_mb": peak_kb // 1024,
        "limit_mb": LIMIT_MB,
    }


def _rss_mb(process: subprocess.Popen[str]) -> int:
    return int(psutil.Process(process.pid).memory_info().rss >> 20)
