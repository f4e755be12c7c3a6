"""Settings stay over a restart, tell who listens, and refuse what cannot be."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.settings import FILE, Settings, Values
from core.errors import ConfigError


def test_a_change_is_kept_and_told(tmp_path: Path) -> None:
    settings, heard = Settings(tmp_path), []
    settings.listen(heard.append)
    settings.change(idle_minutes=5)
    assert heard == [Values(idle_minutes=5)]
    assert Settings(tmp_path).values == Values(idle_minutes=5)


@pytest.mark.parametrize(
    "values", [{"idle_minutes": -1}, {"idle_minutes": 10_000}, {"idle_minutes": "5"}, {"num_threads": 2000}]
)
def test_what_cannot_be_is_refused_and_changes_nothing(values: dict[str, Any], tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    with pytest.raises(ConfigError, match=f"{next(iter(values))} is"):
        settings.change(**values)
    assert (settings.values, (tmp_path / FILE).exists()) == (Values(), False)


def test_a_broken_file_names_itself_and_a_newer_one_is_read(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"idle_minutes": 7, "from_next_year": 1}), encoding="utf-8")
    assert Settings(tmp_path).values.idle_minutes == 7
    (tmp_path / FILE).write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="delete it"):
        Settings(tmp_path)
