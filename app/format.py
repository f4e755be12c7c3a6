"""Values as the page shows them: pure functions."""

from typing import Any


def to_text(content: Any) -> str:
    """The text of a chat message; Gradio gives strings or lists of typed parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(to_text(part) for part in content)
    if isinstance(content, dict):
        return str(content.get("text", ""))
    return ""


def short_count(number: int) -> str:
    """`12.6M`, `1.05B`."""
    if number >= 1e9:
        return f"{number / 1e9:.2f}B"
    return f"{number / 1e6:.1f}M"


def to_seed(text: str) -> int | None:
    """The number that was typed; None, a fresh one for each answer, where it is no number."""
    digits = text.strip()
    return int(digits) if digits.isascii() and digits.isdigit() else None
