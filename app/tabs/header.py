"""The line at the top: name, model, new chat, colours, language."""

from typing import Any

import gradio as gr

from app.i18n import LANGUAGES, t

TOGGLE_THEME = """() => {
    const dark = !document.body.classList.contains('dark');
    document.body.classList.toggle('dark', dark);
    localStorage.setItem('astrai-theme', dark ? 'dark' : 'light');
}"""


class Header:
    """Builds the line; what its parts do is wired where it belongs."""

    def __init__(self) -> None:
        with gr.Row(elem_id="header"):
            self.sidebar = gr.Button("☰", elem_id="sidebar-toggle", size="sm", min_width=40, scale=0)
            self.title = gr.HTML('<h1 class="brand">AstrAI</h1>', elem_id="brand")
            self.model = gr.Dropdown(
                [], show_label=False, container=False, elem_id="model", min_width=120, scale=0, filterable=False
            )
            self.new_chat = gr.Button("+", elem_id="new-chat", size="sm", min_width=90, scale=0)
            self.theme = gr.Button("◐", elem_id="theme", size="sm", min_width=40, scale=0)
            self.language = gr.Radio(
                [(name, code) for code, name in LANGUAGES.items()],
                value="en",
                show_label=False,
                container=False,
                elem_id="language",
                min_width=120,
                scale=0,
            )
        self.theme.click(None, js=TOGGLE_THEME)

    def texts(self, language: str) -> dict[Any, Any]:
        """What each part with text shows in a language, but for the model, which the chat knows."""
        return {self.new_chat: gr.update(value=t("new_chat", language))}
