"""Pieces of HTML that the studio's panels share; `studio.js` knows their attributes."""

import html
from collections.abc import Mapping


def act_button(
    act: str,
    text: str,
    *,
    title: str = "",
    sure: str = "",
    is_off: bool = False,
    data: Mapping[str, object] | None = None,
) -> str:
    """A button that is handed to the page by its `act`; with `sure` it asks that back and wants a second click."""
    extra = f' title="{title}" aria-label="{title}"' if title else ""
    extra += f' data-sure="{sure}"' if sure else ""
    extra += "".join(f' data-{name}="{html.escape(str(value))}"' for name, value in (data or {}).items())
    extra += " disabled" if is_off else ""
    return f'<button type="button" class="act {act}" data-act="{act}"{extra}>{text}</button>'


def folded(name: str, title: str, body: str, *, is_open: bool = False) -> str:
    """A part that opens; it stays open by its name when its content is replaced."""
    opened = " open" if is_open else ""
    return f'<details class="folded" data-name="{name}"{opened}><summary>{title}</summary>{body}</details>'
