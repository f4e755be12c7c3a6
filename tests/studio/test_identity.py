"""A process is known by more than its number."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from unittest.mock import patch

import pytest

from studio import identity
from studio.identity import ProcessIdentity


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def test_this_process_is_alive_and_survives_the_round_trip_to_disk() -> None:
    this = ProcessIdentity.this()
    assert this.is_alive()
    assert ProcessIdentity.from_dict(asdict(this)) == this


def test_a_process_that_has_ended_is_not_alive_even_while_its_parent_has_not_looked(
    sleeper: subprocess.Popen[bytes],
) -> None:
    process = ProcessIdentity.of(sleeper.pid)
    assert process is not None
    assert process.is_alive()
    sleeper.kill()
    deadline = time.monotonic() + 10
    while process.is_alive():
        assert time.monotonic() < deadline
    assert ProcessIdentity.of(sleeper.pid) is None


def test_another_process_of_the_same_number_is_not_meant(sleeper: subprocess.Popen[bytes]) -> None:
    process = ProcessIdentity.of(sleeper.pid)
    assert process is not None
    assert not replace(process, create_time=process.create_time - 1).is_alive()
    assert not replace(process, boot_id="of another boot").is_alive()


def test_a_jump_of_the_clock_changes_nobody(sleeper: subprocess.Popen[bytes]) -> None:
    process = ProcessIdentity.of(sleeper.pid)
    assert process is not None
    with patch.object(time, "time", lambda: 0.0), patch.object(identity.psutil, "boot_time", lambda: 1e9):
        assert ProcessIdentity.of(sleeper.pid) == process
        assert process.is_alive()


@pytest.mark.parametrize("values", [None, {}, {"pid": "x", "create_time": 1, "boot_id": ""}, {"pid": 1}])
def test_a_damaged_record_names_nobody(values: object) -> None:
    assert ProcessIdentity.from_dict(values) is None
