"""Stores killed at random moments, a thousand times: what was acknowledged is there, and nothing is torn."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.stores import check_of, ground_of
from tests.faults.system_calls import Programs, needs_programs, programs
from tests.figures import Figure

pytestmark = [*needs_programs, pytest.mark.long]
SEED = 7
NUM_KILLS = {
    "JSON files": 250,
    "job state": 250,
    "checkpoints": 150,
    "model export": 100,
    "conversations": 230,
    "the library": 20,
}
MOST_TRIES = 4  # for a kill: a program may have ended before it
SHORTER, LONGER = 0.9, 1.05  # the time in which to kill, after a try that came too late or did not


@pytest.fixture(scope="module")
def opened() -> Iterator[Programs]:
    with programs() as process:
        yield process


@pytest.mark.parametrize("kind", NUM_KILLS)
def test_a_kill_at_a_random_moment_loses_nothing_that_was_acknowledged(
    opened: Programs, tmp_path: Path, figure: Figure, kind: str
) -> None:
    ground, check = ground_of(kind, opened, tmp_path), check_of(kind, tmp_path)
    draw = random.Random(f"{SEED} {kind}")
    took_s = min(ground.run_untraced(f"whole-{i}")[1] for i in range(3))
    num_kills, lost = 0, list[str]()
    for i in range(MOST_TRIES * NUM_KILLS[kind]):
        after_s = draw.random() * took_s
        ended, _ = ground.run_untraced(f"killed-{i}", kill_after_s=after_s)
        num_kills += ended.status != 0
        took_s *= SHORTER if ended.status == 0 else LONGER
        try:
            check(ended)
        except Exception as exc:  # noqa: BLE001 — whatever fails is a loss; all of them are told
            lost.append(f"killed after {after_s:.4f} s, said {ended.said[-1:]}: {type(exc).__name__}: {exc}")
        ground.forget(ended)
        if num_kills == NUM_KILLS[kind]:
            break
    sys.stdout.write(f"{kind}: {num_kills} kills within {took_s:.2f} s, {len(lost)} lost\n")
    figure("G1 kills", num_kills, seed=SEED)
    figure("G1 lost", len(lost))
    assert lost == []
