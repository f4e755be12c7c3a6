"""What pip's output becomes: progress in one line, failures in one sentence."""

import io
from pathlib import Path

import pytest

from app.bootstrap.pip import Progress, failure

OUTPUT = """\
Ignoring colorama: markers 'sys_platform == "win32"' don't match your environment
Collecting alpha==1.0 (from -r requirements.lock (line 1))
  Downloading alpha-1.0-py3-none-any.whl (30.0 MB)
Progress 0 of 30000000
Progress 30000000 of 30000000
Requirement already satisfied: beta==2.0
Processing ./wheels/gamma-1.0-py3-none-any.whl
  Downloading delta-1.0-py3-none-any.whl (20.0 MB)
Progress 12000000 of 20000000
"""


def test_progress_counts_packages_and_bytes() -> None:
    progress = Progress(title="[1/2] packages", total=5, stream=io.StringIO())
    for line in OUTPUT.splitlines(keepends=True):
        progress.see(line)
    assert (progress.packages, progress.total) == (3, 4)
    assert progress.text().startswith("[1/2] packages: 3 of 4, 42 MB downloaded, 0:0")


def test_the_last_line_of_a_finished_step_says_all() -> None:
    stream = io.StringIO()
    Progress(title="packages", total=4, stream=stream).finish(is_done=True)
    assert stream.getvalue().startswith("packages: 4 of 4, ")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "The disk is full"),
        (
            "WARNING: Retrying ... NewConnectionError: [Errno 101]\nERROR: No matching distribution found for a==1",
            "reached",
        ),
        ("ReadTimeoutError: HTTPSConnectionPool: Read timed out.", "reached"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "not the one that was locked"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "certificate"),
        (
            "ERROR: No matching distribution found for faiss-cpu==1.15.1 (from -r x)",
            "no ready-made faiss-cpu==1.15.1 for",
        ),
        ("ERROR: Something new.", "pip failed: Something new."),
        ("", "pip failed: it gave no reason"),
    ],
)
def test_a_failure_of_pip_becomes_a_sentence(output: str, message: str) -> None:
    error = failure(output, Path("install.log"))
    assert message in error.message
    assert error.remedy
