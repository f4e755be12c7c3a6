"""What opens over the page: the question before a link is followed, and the list of keys. `page.js` opens them."""

import html
from typing import Any

import gradio as gr

from app.i18n import ENGLISH, t

KEYS = (
    ("Enter", "key_enter"),
    ("Shift + Enter", "key_shift_enter"),
    ("Esc", "key_escape"),
    ("Ctrl + K", "key_search"),
    ("↑", "key_up"),
    ("?", "key_help"),
)


class Dialogs:
    """Builds both, closed."""

    def __init__(self) -> None:
        self.content = gr.HTML(dialogs_html(ENGLISH), elem_id="dialogs")

    def texts(self, language: str) -> dict[Any, Any]:
        return {self.content: dialogs_html(language)}


def keys_html(language: str) -> str:
    """The button that opens the list of keys."""
    name = t("keys_title", language)
    return f'<button type="button" id="keys" title="{name}" aria-label="{name}">⌨</button>'


def dialogs_html(language: str) -> str:
    """The dialogs in a language."""
    rows = "".join(f"<tr><th><kbd>{html.escape(key)}</kbd></th><td>{t(text, language)}</td></tr>" for key, text in KEYS)
    return (
        '<dialog id="outside-dialog" aria-labelledby="outside-title"><form method="dialog">'
        f'<h2 id="outside-title">{t("outside_title", language)}</h2><p>{t("outside_why", language)}</p>'
        f'<code></code><p class="buttons"><button value="" autofocus>{t("cancel_dialog", language)}</button>'
        f'<button value="open">{t("outside_open", language)}</button></p></form></dialog>'
        '<dialog id="keys-dialog" aria-labelledby="keys-title"><form method="dialog">'
        f'<h2 id="keys-title">{t("keys_title", language)}</h2><table>{rows}</table>'
        f'<p class="buttons"><button value="">{t("keys_close", language)}</button></p></form></dialog>'
    )
