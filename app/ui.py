"""The page: Gradio Blocks with our theme, texts and keys. Nothing in it is fetched from outside."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import gradio as gr
from fastapi import FastAPI
from gradio import processing_utils

from app.error_texts import error_text
from app.format import to_html
from app.i18n import ENGLISH, preferred_language, t
from app.services import Services
from app.tabs.chat import PRIVATE, STORAGE_KEY, ChatTab
from app.tabs.dialogs import Dialogs
from app.tabs.header import Header
from app.tabs.library import LibraryTab
from app.tabs.models import ModelsTab
from app.tabs.settings import SettingsTab
from app.tabs.studio import StudioTab
from app.tabs.thread import TELL_OPENED, Updates
from core.errors import AssistantError, SetupError

STATIC = Path(__file__).parent / "static"
FONTS = ["system-ui", "-apple-system", "Segoe UI", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "sans-serif"]
STYLES = ("style.css", "chatpage.css", "conversations.css", "library.css", "studio.css", "models.css")
SCRIPTS = (
    "page.js", "markup.js", "attachments.js", "conversations.js", "library.js", "charts.js", "studio.js", "upload.js",
)  # fmt: skip
MAX_UPLOAD = "1mb"
QUEUE_WAIT_S = 0.05
PROGRESS_WAIT_S = 1.0
# Each tab of the browser has a conversation of its own, which `conversations.js` notes there; a new tab begins with the
# one that was opened last.
OPENED_HERE = "(language, opened) => [language, sessionStorage.getItem('astrai-opened') ?? opened]"
MONO = ["ui-monospace", "SFMono-Regular", "Consolas", "Noto Sans Mono CJK SC", "monospace"]


def mount_page(app: FastAPI, services: Services, *, host: str, port: int) -> FastAPI:
    """The app with the page at its root, behind whatever routes it has already."""
    # Gradio fetches the address that an event names as a file, whichever component it is for.
    processing_utils.async_ssrf_protected_get = _refuse_address
    return gr.mount_gradio_app(
        app,
        _queued(build_page(services)),
        path="/",
        server_name=host,
        server_port=port,
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        max_file_size=MAX_UPLOAD,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css=style(),
        head=head(),
    )


async def _refuse_address(url: str) -> NoReturn:
    raise SetupError("Nothing is fetched from the network here.", "Give the file itself.")


def _queued(blocks: gr.Blocks) -> gr.Blocks:
    """The page with its queue of events, which looks for new ones QUEUE_WAIT_S after it found none.

    Gradio's own wait is a thousandth of a second, which takes 5 % of a core while nothing happens; for progress, which
    no event here reports, it is a hundredth.
    """
    blocks.queue(max_size=64, default_concurrency_limit=8)
    queue = blocks._queue  # noqa: SLF001 - it has no other door
    queue.sleep_when_free, queue.progress_update_sleep_when_free = QUEUE_WAIT_S, PROGRESS_WAIT_S
    return blocks


def build_page(services: Services) -> gr.Blocks:
    """All tabs in one Blocks."""
    with gr.Blocks(title="AstrAI", analytics_enabled=False) as blocks:
        Page(services).on_load(blocks)
    for event in blocks.fns.values():
        # Gradio tells a screen reader that an event is complete; where it has no word for that, the word's key.
        if event.show_progress == "full":
            event.show_progress = "hidden"
    return blocks


class Page:
    """The header, the tabs, and what they share: language, and what happens when the page opens."""

    def __init__(self, services: Services) -> None:
        self.services, self.header = services, Header()
        with gr.Tabs(elem_id="tabs") as self.tabs:
            with gr.Tab(id="chat", elem_id="chat-tab") as self.chat_tab:
                self.chat = ChatTab(services, self.header)
            with gr.Tab(elem_id="library-tab") as self.library_tab:
                self.library = LibraryTab(services, self.header.language)
            with gr.Tab(id="studio", elem_id="studio-tab") as self.studio_tab:
                self.studio = StudioTab(services, self.header.language)
            with gr.Tab(id="shelf", elem_id="shelf-tab") as self.shelf_tab:
                self.shelf = ModelsTab(services.board, self.header.language)
            with gr.Tab(id="settings", elem_id="settings-tab") as self.settings_tab:
                self.settings = SettingsTab(services, self.header.language)
        self.dialogs = Dialogs()
        self.saved_language = gr.BrowserState("", storage_key="astrai-language", secret=STORAGE_KEY)
        self._name()
        self._wire()

    def _name(self) -> None:
        """Give each part its English text, which is there before the server is asked for that of the language.

        Names of tabs are blank until then: Gradio puts the tabs that have no room into a menu, and never back.
        """
        for part, shown in self.texts(ENGLISH).items():
            texts = shown if isinstance(shown, dict) else {"value": shown}
            named = ["label", "info"]
            if isinstance(part, gr.Button | gr.HTML):
                named += ["value"]
            if isinstance(part, gr.Textbox):
                named += ["placeholder"]
            for name in [name for name in named if name in texts]:
                setattr(part, name, " " if isinstance(part, gr.Tab) else texts[name])

    def _wire(self) -> None:
        language, chat = self.header.language, self.chat
        outputs = [*self.texts(ENGLISH), chat.status, self.saved_language]
        switched = language.input(self.switch_language, language, outputs, queue=False, **PRIVATE)
        switched.then(chat.blind.show, language, chat.blind.outputs, **PRIVATE)
        switched.then(**self._shown_library())
        asked = [chat.collections, language]
        self.chat_tab.select(chat.list_collections, asked, chat.asked_outputs, **PRIVATE)
        self.chat_tab.select(chat.blind.show, language, chat.blind.outputs, **PRIVATE)
        self.library_tab.select(**self._shown_library())
        new = self.studio.new
        self.studio_tab.select(new.show, new.inputs, new.shown, **PRIVATE)
        for board in (self.studio.runs.board, self.studio.models.tree, self.shelf.shelf):
            board.select(self.chat_with, language, [self.tabs, chat.model, chat.status, chat.chatbot], **PRIVATE)
        self.shelf_tab.select(self.shelf.show, language, self.shelf.outputs, **PRIVATE)
        asking = [self.library.shown, self.library.target, language]
        self.library.ask.click(self.ask_documents, asking, [self.tabs, *chat.asked_outputs], **PRIVATE)
        self.settings_tab.select(self.settings.show, language, self.settings.outputs, **PRIVATE)
        self._wire_first()

    def _wire_first(self) -> None:
        """The first page is part of the chat, and leads to the models."""
        language, chat, first = self.header.language, self.chat, self.chat.first
        model = [chat.model, chat.chatbot]
        first.panel.input(first.act, language, first.outputs, **PRIVATE)
        first.panel.copy(lambda: gr.update(selected="shelf"), outputs=self.tabs, queue=False, **PRIVATE).then(
            self.shelf.show, language, self.shelf.outputs, **PRIVATE
        )
        first.timer.tick(first.poll, [first.wanted, language], first.outputs, **PRIVATE).then(
            chat.show_model, language, model, queue=False, **PRIVATE
        )

    def chat_with(self, language: str, event: gr.EventData) -> Iterator[Updates]:
        """Open a model that the studio or the models page shows in the chat."""
        run, path = str(getattr(event, "run", "")), str(getattr(event, "model", ""))
        is_shelf = event.target is self.shelf.shelf
        try:
            choice = self.services.board.choice(path) if is_shelf else self.services.studio.choice(run, path)
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return
        self.services.models.select(choice)
        yield {self.tabs: gr.update(selected="chat"), **self.chat.show_model(language)}
        for line in self.chat.report_model(language):
            yield {self.chat.status: line}

    def ask_documents(self, shown: str, target: str, language: str) -> list[Any]:
        """Go to the chat with a collection picked: the one that is shown, else the one that files go to."""
        try:
            counts = self.services.library.collections()
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return [gr.skip()] * (1 + len(self.chat.asked_outputs))
        picked = [name for name in (shown, target, *counts) if counts.get(name)][:1]
        return [gr.update(selected="chat"), *self.chat.list_collections(picked, language)]

    def on_load(self, blocks: gr.Blocks) -> None:
        """What happens when the page opens: language, models, the conversation of before, then the library."""
        language, chat = self.header.language, self.chat
        shown = [chat.sidebar.list, *chat.feedback.outputs]
        outputs = list({language: None, **self.texts(ENGLISH)} | dict.fromkeys(shown))
        saved = [self.saved_language, chat.thread.opened]
        opened = blocks.load(self.open_page, saved, outputs, queue=False, js=OPENED_HERE, **PRIVATE)
        opened.then(None, js=TELL_OPENED, **PRIVATE)
        opened.then(chat.report_opened, [*chat.thread.place, language], [chat.status], **PRIVATE)
        opened.then(chat.list_collections, [chat.saved_collections, language], chat.asked_outputs, **PRIVATE)
        opened.then(chat.blind.show, language, chat.blind.outputs, **PRIVATE)
        opened.then(chat.first.show, language, chat.first.outputs, **PRIVATE)
        opened.then(**self._shown_library())

    def _shown_library(self) -> dict[str, Any]:
        """The event that shows the library, in the language of the moment."""
        library = self.library
        return {"fn": library.show, "inputs": library.inputs, "outputs": library.outputs, "queue": False, **PRIVATE}

    def open_page(self, saved_language: str, opened: Any, request: gr.Request) -> Updates:
        language = saved_language or preferred_language(request.headers.get("accept-language", ""))
        return {
            **self.texts(language),
            self.header.language: gr.update(value=language, label=t("language", language)),
            **self.chat.open_page(language, opened),
        }

    def switch_language(self, language: str) -> Updates:
        return {**self.texts(language), **self.chat.status_in(language), self.saved_language: language}

    def texts(self, language: str) -> Updates:
        """What each component with text shows in a language."""
        return {
            self.chat_tab: gr.update(label=t("tab_chat", language)),
            self.library_tab: gr.update(label=t("tab_library", language)),
            self.studio_tab: gr.update(label=t("tab_studio", language)),
            self.shelf_tab: gr.update(label=t("tab_shelf", language)),
            self.settings_tab: gr.update(label=t("tab_settings", language)),
            **self.header.texts(language),
            **self.dialogs.texts(language),
            **self.chat.texts(language),
            **self.library.texts(language),
            **self.studio.texts(language),
            **self.shelf.texts(language),
            **self.settings.texts(language),
        }


def theme() -> gr.themes.Base:
    """Calm greys and one accent."""
    base = gr.themes.Base(
        primary_hue=gr.themes.colors.indigo,
        neutral_hue=gr.themes.colors.zinc,
        radius_size=gr.themes.sizes.radius_lg,
        font=FONTS,
        font_mono=MONO,
    )
    return base.set(
        body_background_fill="#fcfcfd",
        body_background_fill_dark="#131316",
        body_text_color_subdued="#6b6b76",
        body_text_color_subdued_dark="#a5a5b0",
        input_placeholder_color="#75757f",
        input_placeholder_color_dark="#8f8f9b",
        # White on them, and they on the page, have a contrast of at least 4.5.
        color_accent="#4f46e5",
        button_primary_background_fill="#4f46e5",
        button_primary_background_fill_hover="#4338ca",
        button_primary_background_fill_dark="#4f46e5",
        button_primary_background_fill_hover_dark="#4338ca",
        color_accent_soft="#eceefe",
        color_accent_soft_dark="#2a2b45",
        background_fill_secondary_dark="#1b1b20",
        button_secondary_background_fill="transparent",
        button_secondary_background_fill_dark="transparent",
        button_secondary_border_color="*border_color_primary",
        input_background_fill="#ffffff",
        input_background_fill_dark="#1b1b20",
    )


def style() -> str:
    return "\n".join((STATIC / name).read_text(encoding="utf-8") for name in STYLES)


def head() -> str:
    script = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return f'<meta name="viewport" content="width=device-width, initial-scale=1"><script>{script}</script>'
