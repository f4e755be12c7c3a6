"""TRL and PEFT as peers, in another process: in the Python that ASTRAI_TRL_PYTHON names."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "ASTRAI_TRL_PYTHON"


def require() -> str:
    """The Python to use; skips the test where none is named."""
    named = os.environ.get(VARIABLE)
    if named is None:
        pytest.skip(f"no Python with TRL and PEFT is named in {VARIABLE} (pip install trl peft in a venv of its own)")
    return named


def ask(worker: str, request: Any) -> Any:
    """The answer of a worker beside this file: JSON on its standard input, JSON in its last line."""
    command = [require(), str(Path(__file__).with_name(worker))]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, input=json.dumps(request), capture_output=True, text=True, check=False, timeout=200, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
