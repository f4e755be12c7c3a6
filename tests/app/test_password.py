"""The password: kept as a hash, private, from a file, the environment or the terminal, never shown."""

import json
from pathlib import Path

import pytest

from app import password
from app.password import PasswordHash, choose_password
from core.errors import ConfigError

WORDS = "correct horse battery"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password, "COST", 2**4)
    monkeypatch.delenv(password.VARIABLE, raising=False)


def test_the_right_password_fits_and_no_other() -> None:
    chosen = PasswordHash.of(WORDS)
    assert chosen.fits(WORDS)
    assert not any(chosen.fits(other) for other in ("", WORDS[:-1], f"{WORDS} ", "x" * 5000))
    assert PasswordHash.of(WORDS).hash != chosen.hash


def test_it_comes_from_a_file_or_the_environment_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, given = tmp_path / "password.json", tmp_path / "given"
    given.write_text(f"{WORDS}\n", encoding="utf-8")
    chosen = choose_password(kept, given)
    assert chosen.fits(WORDS)
    assert WORDS not in kept.read_text(encoding="utf-8")
    assert kept.stat().st_mode & 0o077 == 0
    assert choose_password(kept, None) == chosen
    assert choose_password(kept, given) == chosen  # whoever is logged in stays so
    monkeypatch.setenv(password.VARIABLE, "another sentence")
    assert choose_password(kept, None).fits("another sentence")


def test_without_a_terminal_it_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs a password.*--password-file, set ASTRAI_PASSWORD"):
        choose_password(tmp_path / "none.json", None)


@pytest.mark.parametrize("words", ["short", "x" * 2000, ""])
def test_one_that_is_too_short_or_too_long_is_refused_without_showing_it(tmp_path: Path, words: str) -> None:
    (tmp_path / "given").write_text(words, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        choose_password(tmp_path / "password.json", tmp_path / "given")
    assert not words or words not in str(caught.value)
    assert not (tmp_path / "password.json").exists()


@pytest.mark.parametrize(
    "content",
    ["{}", "[]", "{", '{"scrypt": 3}', '{"scrypt": {"salt": "x", "hash": "y"}}', json.dumps({"scrypt": {"salt": 1}})],
)
def test_a_damaged_record_lets_nobody_in(tmp_path: Path, content: str) -> None:
    (tmp_path / "password.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="Delete it and give the password again"):
        choose_password(tmp_path / "password.json", None)
