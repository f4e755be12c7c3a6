"""A power loss in any save: what was acknowledged is there, whatever else of the writes had reached the disk."""

import random
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.power_loss import TRACED, record
from tests.faults.stores import check_of, ground_of
from tests.faults.system_calls import Ended, Programs, needs_strace, programs
from tests.figures import Figure

pytestmark = [*needs_strace, pytest.mark.long]
SEED = 20261126
NUM_STATES = {
    "JSON files": 60,
    "job state": 120,
    "checkpoints": 140,
    "model export": 140,
    "conversations": 200,
    "the library": 30,
}


@pytest.fixture(scope="module")
def opened() -> Iterator[Programs]:
    with programs() as process:
        yield process


@pytest.mark.parametrize("kind", NUM_STATES)
def test_what_was_acknowledged_outlives_a_power_loss(
    opened: Programs, tmp_path: Path, figure: Figure, kind: str
) -> None:
    check = check_of(kind, tmp_path)
    ground = ground_of(kind, opened, tmp_path, calls=TRACED)
    ended, recording = record(ground, "saving")
    lost, tried = [], 0
    for disk, said in recording.states(random.Random(SEED), NUM_STATES[kind]):
        shutil.rmtree(ended.place)
        disk.write(ended.place)
        ground.prepare(ended.place)
        tried += 1
        try:
            check(Ended(ended.place, -signal.SIGKILL, said, ""))
        except Exception as exc:  # noqa: BLE001 — whatever fails is a loss; all of them are told
            lost.append(f"state {tried}, said {said[-1:]}: {type(exc).__name__}: {exc}")
    sys.stdout.write(f"{kind}: {tried} states of {len(recording.changes)} changes, {len(lost)} lost\n")
    figure("G4 states", tried, seed=SEED)
    assert lost == []
