"""Personas: a name, a system prompt, sampling and collections, to be chosen for a conversation.

The user's own ones are in a JSON file; the built-in ones are texts, in the language of the page, and cannot be changed
but copied.
"""

import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from app.i18n import t
from core.config.param_config import SamplingConfig
from core.errors import AssistantError, DataError
from core.files import read_json_object, write_json, writing

FORMAT = 1
MAX_PERSONAS, MAX_NAME_CHARS, MAX_SYSTEM_CHARS, MAX_COLLECTIONS = 200, 60, 8_000, 100
BUILT_IN: dict[str, dict[str, Any]] = {
    "translator": {"temperature": 0.2},
    "editor": {"temperature": 0.3},
    "teacher": {"temperature": 0.7},
}
SAMPLING_NAMES = (
    "temperature", "top_p", "top_k", "repetition_penalty", "max_new_tokens", "seed", "min_p", "presence_penalty",
    "frequency_penalty", "stop",
)  # fmt: skip
_DAMAGED = "Repair it, or move it away to begin anew."


@dataclass(frozen=True, kw_only=True, slots=True)
class Persona:
    """`sampling` has fields of SamplingConfig; those that it lacks stay as the user has set them."""

    id: str = ""
    name: str
    system: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    collections: tuple[str, ...] = ()
    is_built_in: bool = False

    @classmethod
    def checked(cls, *, name: Any, system: Any = "", sampling: Any = None, collections: Any = (), id: Any = "") -> Self:  # noqa: A002
        """A persona of the user out of what a form or a file gives. Raises: DataError, naming what is wrong."""
        if not isinstance(name, str) or not 0 < len(name.strip()) <= MAX_NAME_CHARS or not name.strip().isprintable():
            raise DataError(
                "{name!r} is no name for a persona.", "Take 1 to {most} characters.",
                name=str(name)[:80], most=MAX_NAME_CHARS,
            )  # fmt: skip
        if not isinstance(system, str) or len(system) > MAX_SYSTEM_CHARS:
            size = len(system) if isinstance(system, str) else 0
            raise DataError(
                "The system prompt of {name!r} has {size:,} characters.", "Keep it below {most:,}.",
                name=name, size=size, most=MAX_SYSTEM_CHARS,
            )  # fmt: skip
        given = sampling if isinstance(sampling, dict) else {}
        unknown = sorted(set(given) - set(SAMPLING_NAMES))
        if unknown:
            raise DataError(
                "{name!r} is no setting of a persona.", "Take: {names}.",
                name=unknown[0][:40], names=", ".join(SAMPLING_NAMES),
            )  # fmt: skip
        SamplingConfig.from_dict(given)
        names = [one for one in collections if isinstance(one, str)] if isinstance(collections, list | tuple) else []
        return cls(
            id=str(id), name=name.strip(), system=system.strip(), sampling=given,
            collections=tuple(names[:MAX_COLLECTIONS]),
        )  # fmt: skip

    @property
    def turns(self) -> list[dict[str, str]]:
        """The system message that a conversation begins with, if there is one."""
        return [{"role": "system", "content": self.system}] if self.system else []


class Personas:
    """The built-in personas and those of a file. Methods may be called from several threads."""

    def __init__(self, path: Path) -> None:
        self.path, self._changing = path, threading.Lock()

    def all(self, language: str) -> list[Persona]:
        """The built-in ones in a language, then the user's. Raises: DataError for a file that cannot be read."""
        return [*built_in(language), *self._own()]

    def find(self, persona_id: str, language: str) -> Persona | None:
        """None where it is gone, and for the empty id. Raises as `all`."""
        return next((one for one in self.all(language) if one.id == persona_id), None) if persona_id else None

    def save(self, persona: Persona) -> Persona:
        """Add one without an id, or replace the one that has it. Raises: DataError for a built-in one, or too many."""
        if persona.id in BUILT_IN:
            raise DataError("{name} is built in and stays as it is.", "Copy it and change the copy.", name=persona.name)
        saved = persona if persona.id else replace(persona, id=secrets.token_hex(6))

        def put(own: list[Persona]) -> list[Persona]:
            if len(own) >= MAX_PERSONAS and not persona.id:
                raise DataError("There are {count} personas already.", "Delete one that is not needed.", count=len(own))
            known = any(one.id == saved.id for one in own)
            return [saved if one.id == saved.id else one for one in own] if known else [*own, saved]

        self._change(put)
        return saved

    def duplicate(self, persona_id: str, language: str) -> Persona:
        """A copy that can be changed. Raises: DataError if there is none."""
        found = self.find(persona_id, language)
        if found is None:
            raise DataError("This persona is not there any more.", "Choose another one.")
        name = t("persona_copy", language, name=found.name)[:MAX_NAME_CHARS]
        return self.save(replace(found, id="", name=name, is_built_in=False))

    def delete(self, persona_id: str) -> None:
        """Forget one of the user's. Conversations that had it go on without."""
        self._change(lambda own: [one for one in own if one.id != persona_id])

    def _change(self, change: Callable[[list[Persona]], list[Persona]]) -> None:
        with self._changing:
            rows = [{name: asdict(one)[name] for name in _FIELDS} for one in change(self._own())]
            with writing(self.path):
                write_json(self.path, {"format": FORMAT, "personas": rows})

    def _own(self) -> list[Persona]:
        if not self.path.exists():
            return []
        content = read_json_object(self.path, DataError, _DAMAGED)
        rows = content.get("personas")
        if (
            content.get("format") != FORMAT
            or not isinstance(rows, list)
            or not all(isinstance(row, dict) for row in rows)
        ):
            raise DataError("{path} holds no personas of format {version}.", _DAMAGED, path=self.path, version=FORMAT)
        try:
            return [Persona.checked(**{name: row.get(name) for name in _FIELDS}) for row in rows]
        except AssistantError as exc:
            raise DataError(
                "{path} holds a bad persona: {reason}", _DAMAGED, path=self.path, reason=exc.sentence
            ) from exc


_FIELDS = ("id", "name", "system", "sampling", "collections")


def built_in(language: str) -> list[Persona]:
    """The personas that come with the program."""
    return [
        Persona(
            id=key, name=t(f"persona_{key}", language), system=t(f"persona_{key}_system", language),
            sampling=sampling, is_built_in=True,
        )
        for key, sampling in BUILT_IN.items()
    ]  # fmt: skip
