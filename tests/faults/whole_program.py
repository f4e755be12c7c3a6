"""The program with a user inside, as a process: started on a data folder, watched, killed, started again."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, Self

import httpx
import psutil

from core.config.model_config import PRESETS, ModelConfig
from core.data.tokenizer import Tokenizer
from core.model.checkpoint import save_model
from core.model.transformer import Transformer
from tests.conftest import ROOT

ANNOUNCEMENT = "AstrAI is at "


class Home:
    """A data folder, a tiny model, and what was acknowledged in all runs."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, data: Path | None = None) -> None:
        self.folder, self.model, self.files = folder / "home", folder / "model", folder / "files"
        self.said, self.log, self.data = folder / "said", folder / "log", data
        for made in (self.folder, self.files):
            made.mkdir()
        values = {**PRESETS["tiny"].to_dict(), "vocab_size": tokenizer.vocab_size}
        model = Transformer(ModelConfig.from_dict(values))
        model.init_weights(seed=1)
        save_model(model, self.model, tokenizer=tokenizer)

    def acknowledged(self) -> list[list[Any]]:
        """What was said; a line that was cut short was not."""
        if not self.said.exists():
            return []
        return [json.loads(line) for line in self.said.read_text(encoding="utf-8").split("\n")[:-1]]


class WholeProgram:
    """One run of it; `ready_s` is how long it took until the page answered."""

    def __init__(self, home: Home, **environment: str) -> None:
        self.home, begin = home, time.monotonic()
        places = [home.model, home.files, home.said, *([home.data] if home.data else [])]
        with home.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.busy_program", *map(str, places)],
                cwd=ROOT,
                env=os.environ | {"ASTRAI_HOME": str(home.folder), "PYTHONUNBUFFERED": "1"} | environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        self.login = next(line for line in self.process.stdout if line.startswith(ANNOUNCEMENT)).split()[-1]
        self.address = self.login.partition("/login")[0]
        self._draining = threading.Thread(target=_drain, args=(self.process.stdout,), daemon=True)
        self._draining.start()
        httpx.get(f"{self.address}/health", timeout=30).raise_for_status()
        self.ready_s = time.monotonic() - begin

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill(with_jobs=True)

    def client(self) -> httpx.Client:
        """For its API."""
        key = (self.home.folder / "api.key").read_text(encoding="ascii").strip()
        return httpx.Client(base_url=self.address, headers={"authorization": f"Bearer {key}"}, timeout=60)

    def kill(self, *, with_jobs: bool) -> list[psutil.Process]:
        """End it at once; jobs, which outlive it, are ended with it or given back."""
        try:
            started = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            started = []
        self.process.kill()
        self.process.wait()
        self._draining.join()
        if not with_jobs:
            return started
        end(started)
        return []


def end(processes: list[psutil.Process]) -> None:
    """Kill those that still run."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=20)


def _drain(output: IO[str]) -> None:
    with output:
        for _ in output:
            pass
