"""A trainer without torch, as quick as a test wants: `python -m tests.studio.trainer RUN/config.json`.

It reports, saves, resumes and stops as core.trainer does. The job's metadata say how it misbehaves.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from core.parallel.failure import Cause, end_process
from core.parallel.launch import STOP_FILE
from core.parallel.program import print_row

# Listens in a session of its own, as a rank of torchrun does.
RANK = """
import socket, sys, time, pathlib
server = socket.create_server(("127.0.0.1", 0))
pathlib.Path(sys.argv[1]).write_text(str(server.getsockname()[1]))
time.sleep(600)
"""


def main() -> int:
    run = Path(sys.argv[1]).parent
    options = json.loads((run / "job/job.json").read_text())["metadata"]
    num_steps, done = options.get("num_steps", 5), saved_step(run)
    plan = {"num_parameters": 1, "device": "cpu", "rows_per_step": 1, "row_tokens": 1, "left_out": []}
    print_row({**plan, "first_step": done, "num_steps": num_steps})
    if options.get("with_rank"):
        subprocess.Popen([sys.executable, "-c", RANK, str(run / "port")], start_new_session=True)
    if options.get("is_deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    attempt = len(list((run / "job").glob("exit-*.json"))) + 1
    stop = Path(os.environ[STOP_FILE])
    for step in range(done + 1, num_steps + 1):
        time.sleep(options.get("step_s", 0.01))
        misbehave(options, step)
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"attempt": attempt, "step": step}) + "\n")
        print_row({"step": step, "num_steps": num_steps, "loss": 1.0, "tokens_per_s": 1.0, "eta_s": 1.0})
        if stop.exists() and not options.get("is_deaf"):
            return end(run, step, options)
    (run / "model").mkdir(exist_ok=True)
    (run / "model/config.json").write_text("{}")
    print_row({"result": str(run / "model")})
    return 0


def saved_step(run: Path) -> int:
    return max((int(path.name.removeprefix("step-")) for path in run.glob("checkpoints/step-*")), default=0)


def end(run: Path, step: int, options: dict[str, Any]) -> int:
    """Save a checkpoint, slowly where that is asked for."""
    folder, temporary = run / f"checkpoints/step-{step:08d}", run / f"checkpoints/.step-{step:08d}.tmp"
    temporary.mkdir(parents=True)
    for _ in range(options.get("save_parts", 1)):
        with (temporary / "model.safetensors").open("ab") as file:
            file.write(b"weights")
        time.sleep(options.get("save_s", 0.0))
    temporary.rename(folder)
    print_row({"result": str(folder)})
    return 0


def misbehave(options: dict[str, Any], step: int) -> None:
    if "fails" in options:
        end_process(Cause(**options["fails"], is_root=True))
    if "exits" in options:
        sys.stderr.write(options.get("says", ""))
        sys.stderr.flush()
        os._exit(options["exits"])
    if "dies_by" in options:
        os.kill(os.getpid(), options["dies_by"])
    for _ in range(options.get("stderr_mb", 0) if step == 1 else 0):
        os.write(2, (b"x" * 99 + b"\n") * 10_000)
    if "hangs_at" in options and step == options["hangs_at"]:
        time.sleep(600)


if __name__ == "__main__":
    raise SystemExit(main())
