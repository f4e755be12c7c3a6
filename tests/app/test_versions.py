"""The pointer to the version that answers, and the way back."""

from pathlib import Path

import pytest

from app.versions import FILE, Version, Versions
from core.errors import ConfigError, ModelError
from core.files import write_bytes

MODEL, OTHER = Path("/models/small"), Path("/models/other")
ONE, TWO = Version("run-1", "/runs/run-1"), Version("run-2", "/runs/run-2")


def test_a_model_answers_by_itself_until_a_version_takes_over(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    assert versions.current(MODEL) == Version()
    versions.use(MODEL, ONE)
    assert Versions(tmp_path).current(MODEL) == ONE
    assert versions.current(OTHER) == Version()


def test_each_roll_back_undoes_one_change_and_the_history_keeps_all(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.use(MODEL, ONE)
    versions.use(MODEL, TWO)
    assert [versions.roll_back(MODEL), versions.roll_back(MODEL)] == [ONE, Version()]
    with pytest.raises(ModelError, match="no earlier version"):
        versions.roll_back(MODEL)
    versions.use(MODEL, TWO)
    assert versions.before(MODEL) == Version()
    assert [change.name for change in versions.history(MODEL)] == ["run-1", "run-2", "run-1", "", "run-2"]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"/models/small": [{"name": 1}]}', b'{"/models/small": 3}'])
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes) -> None:
    write_bytes(tmp_path / FILE, content)
    with pytest.raises(ConfigError, match="Delete it"):
        Versions(tmp_path).current(MODEL)
