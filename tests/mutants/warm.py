"""Runs tests in forks of a process that has imported the libraries: `python tests/mutants/warm.py`, in a folder.

An order is a line of JSON, the arguments for pytest; the answer is pytest's status, and told.txt what it said. Nothing
of the program itself is imported before the fork, which therefore sees the folder as it is.
"""

import json
import os
import signal
import sys
from pathlib import Path

import fastapi  # noqa: F401 — for the forks, as the next ones
import gradio  # noqa: F401
import pytest
import torch

sys.path[0] = str(Path.cwd())
QUIET = "ignore::pytest.PytestAssertRewriteWarning"
torch.set_num_threads(1)
for line in sys.stdin:
    order = json.loads(line)
    pid = os.fork()
    if pid == 0:
        signal.alarm(order["limit_s"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number in (1, 2):
            os.dup2(os.open("told.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os._exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-W", QUIET, *order["tests"]]))
    sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")
    sys.stdout.flush()
