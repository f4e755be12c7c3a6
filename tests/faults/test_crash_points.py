"""Every save path, ended or refused at any system call that writes: the old state is there or the new one.

A few calls of each kind are tried, and by the long tests all of them. Those of the library and the conversations
are `tests/rag/test_system_calls.py` and `tests/app/test_conversation_crash.py`.
"""

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from core.errors import ModelError
from core.files import read_json_object
from core.model.checkpoint import load_model
from core.trainer.run_folder import RunFolder, read_state
from studio.job_folder import JobFolder
from tests.faults.saving import SAVED, VERSIONS
from tests.faults.system_calls import (
    FEW_AND_ALL,
    Ended,
    Ground,
    Programs,
    fail_at,
    kill_at,
    needs_strace,
    programs,
)
from tests.figures import Figure

pytestmark = needs_strace


@pytest.fixture(scope="module")
def opened() -> Iterator[Programs]:
    with programs() as process:
        yield process


def last(ended: Ended, *words: str) -> int:
    """The last version that was acknowledged with these words; 0 for none."""
    return max((int(line[len(words)]) for line in ended.said if line[: len(words)] == [*words]), default=0)


def is_next(version: int, acknowledged: int) -> bool:
    """Whether this is what was acknowledged or what was being written then."""
    return acknowledged <= version <= acknowledged + 1


def check_json_files(ended: Ended) -> None:
    for name in ("settings.json", "secret.json"):
        path, acknowledged = ended.place / SAVED / name, last(ended, name)
        if acknowledged or path.exists():
            assert is_next(read_json_object(path)["version"], acknowledged)
    for path in (ended.place / SAVED).glob("*secret*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def check_job_state(ended: Ended) -> None:
    folder = JobFolder(ended.place / SAVED)
    begun = [line[1:] for line in ended.said if line[0] == "attempt"]
    attempt = folder.read_attempt()
    phases = [[str(number), phase] for number in VERSIONS for phase in ("starting", "preparing", "running")]
    place = phases.index([str(attempt.number), attempt.phase]) + 1 if attempt else 0
    assert is_next(place, len(begun))
    for number in VERSIONS:
        end = folder.read_end(number)
        assert end is None or end.step == number
        assert end is not None or number > last(ended, "end")
    if (ended.place / SAVED).exists():
        folder.read_job(is_queued=False)


def check_checkpoints(ended: Ended) -> None:
    run, acknowledged = RunFolder(ended.place / SAVED), last(ended, "saved")
    newest = run.newest_checkpoint()
    step = read_state(newest)["step"] if newest else 0
    assert is_next(step, acknowledged)
    if newest:
        values = {value for path in newest.glob("*.safetensors") for value in values_of(path)}
        assert values == {step}
    # A next save is not hindered by what was left.
    assert all(folder.name.startswith("step-") for folder in run.checkpoint_folders())


def check_model_export(ended: Ended) -> None:
    """A model that opens is whole and of one version; one that was being replaced is refused."""
    folder, acknowledged = ended.place / SAVED, last(ended, "exported")
    try:
        version = json.loads((folder / "config.json").read_text(encoding="utf-8"))["version"]
        model = load_model(folder)
    except (OSError, ModelError):
        assert acknowledged < VERSIONS[-1] or ended.status == 3
        return
    assert is_next(version, acknowledged)
    assert {float(value) for parameter in model.parameters() for value in parameter.detach().unique()} == {version}


def values_of(path: Path) -> set[int]:
    return {int(value) for tensor in load_file(path).values() for value in tensor.unique()}


CHECKS: dict[str, Callable[[Ended], None]] = {
    "JSON files": check_json_files,
    "job state": check_job_state,
    "checkpoints": check_checkpoints,
    "model export": check_model_export,
}


@FEW_AND_ALL
@pytest.mark.parametrize("kind", CHECKS)
def test_death_before_any_call_leaves_the_old_state_or_the_new(
    opened: Programs, tmp_path: Path, figure: Figure, kind: str, has_all: bool
) -> None:
    kill_at(Ground(opened, kind, tmp_path), CHECKS[kind], figure, has_all=has_all)


@FEW_AND_ALL
@pytest.mark.parametrize("kind", CHECKS)
def test_a_failing_disk_loses_nothing_and_is_one_sentence(
    opened: Programs, tmp_path: Path, figure: Figure, kind: str, has_all: bool
) -> None:
    fail_at(Ground(opened, kind, tmp_path), CHECKS[kind], figure, has_all=has_all)
