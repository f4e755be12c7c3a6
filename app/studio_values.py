"""Values of a config as a form holds them: as text, and back."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio.form import FormField

KIND_NAMES = {"int": "a whole number", "float": "a number", "list": "a JSON list", "dict": "a JSON object"}


def parsed(form_field: "FormField", text: str) -> Any:
    """A value from what was typed; an empty text leaves the field out. Raises: ValueError."""
    if text.strip() == "":
        return None
    kind = form_field.kind
    if kind == "bool":
        return text == "true"
    if kind == "int":
        return int(text)
    if kind == "float":
        return float(text)
    if kind in ("list", "dict"):
        value = json.loads(text)
        if not isinstance(value, list if kind == "list" else dict):
            raise ValueError
        return value
    return text.strip()


def value_text(value: Any) -> str:
    """A value as the form holds it; `None` is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:g}" if isinstance(value, float) else str(value)
