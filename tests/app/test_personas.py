"""Personas: built in, made, changed, copied, deleted, and a file that somebody has spoilt."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.personas import BUILT_IN, MAX_NAME_CHARS, MAX_SYSTEM_CHARS, Persona, Personas
from core.errors import AssistantError, ConfigError, DataError


@pytest.fixture
def personas(tmp_path: Path) -> Personas:
    return Personas(tmp_path / "personas.json")


def test_the_built_in_ones_speak_the_language_of_the_page(personas: Personas) -> None:
    english, chinese = personas.all("en"), personas.all("zh")
    assert [one.id for one in english] == [one.id for one in chinese] == list(BUILT_IN)
    assert english[0].system != chinese[0].system
    assert english[0].turns == [{"role": "system", "content": english[0].system}]


def test_one_is_made_changed_copied_and_deleted(personas: Personas) -> None:
    made = personas.save(Persona.checked(name=" Pirate ", system="Arr.", sampling={"top_k": 3}, collections=["sea"]))
    assert Personas(personas.path).find(made.id, "en") == made
    assert (made.name, made.sampling, made.collections) == ("Pirate", {"top_k": 3}, ("sea",))
    changed = personas.save(Persona.checked(id=made.id, name="Captain"))
    assert personas.find(made.id, "en") == changed
    copy = personas.duplicate("editor", "en")
    assert (copy.name, copy.is_built_in) == ("Editor (copy)", False)
    personas.delete(made.id)
    assert [one.id for one in personas.all("en")] == [*BUILT_IN, copy.id]
    assert personas.find("", "en") is None


def test_a_built_in_one_stays_as_it_is(personas: Personas) -> None:
    with pytest.raises(DataError, match="built in"):
        personas.save(Persona.checked(id="editor", name="Mine"))


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"name": ""}, DataError, "is no name"),
        ({"name": "a" * (MAX_NAME_CHARS + 1)}, DataError, "is no name"),
        ({"name": "a\nb"}, DataError, "is no name"),
        ({"name": "a", "system": "s" * (MAX_SYSTEM_CHARS + 1)}, DataError, "8,001 characters"),
        ({"name": "a", "sampling": {"logprobs": 3}}, DataError, "'logprobs' is no setting"),
        ({"name": "a", "sampling": {"temperature": 99}}, ConfigError, "temperature"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], error: type[AssistantError], said: str) -> None:
    with pytest.raises(error, match=said):
        Persona.checked(**given)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"format": 2, "personas": []}', '{"format": 1, "personas": [3]}', '{"format": 1, "personas": [{}]}'],
)
def test_a_damaged_file_is_named_and_not_written_over(personas: Personas, content: str) -> None:
    personas.path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="personas"):
        personas.all("en")
    with pytest.raises(DataError, match="personas"):
        personas.save(Persona.checked(name="Pirate"))
    assert personas.path.read_text(encoding="utf-8") == content


def test_the_file_is_readable_for_people(personas: Personas) -> None:
    personas.save(Persona.checked(name="海盗"))
    assert json.loads(personas.path.read_text(encoding="utf-8"))["personas"][0]["name"] == "海盗"
    assert "海盗" in personas.path.read_text(encoding="utf-8")
