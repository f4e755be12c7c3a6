"""llama.cpp as a peer, in another process.

It runs in the Python that ASTRAI_LLAMA_CPP_PYTHON names, or in this one where llama-cpp-python is installed.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "ASTRAI_LLAMA_CPP_PYTHON"
WORKER = Path(__file__).with_name("llama_cpp_worker.py")


def require() -> str:
    """The Python to use; skips the test where there is none."""
    named = os.environ.get(VARIABLE)
    if named is None and importlib.util.find_spec("llama_cpp") is None:
        pytest.skip(f"llama-cpp-python is not installed (pip install llama-cpp-python, or name a Python in {VARIABLE})")
    return named or sys.executable


def ask(*requests: dict[str, Any]) -> list[Any]:
    """The answers of llama.cpp; see the worker for what can be asked."""
    done = subprocess.run(
        [require(), str(WORKER)], input=json.dumps(requests), capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return answers
