"""The library: files in, what became of them, and a search that says why it found what it found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from app.error_texts import error_html, error_text
from app.format import to_html
from app.i18n import t
from app.library_view import (
    PAGE_ROWS,
    activity_html,
    collections_text,
    documents_html,
    drop_zone_html,
)
from app.passages import chunks_html, hits_html
from app.scope import Scope
from app.services import Services
from app.tabs.library_settings import LibrarySettings
from app.tabs.scope import ScopePicker, texts_of
from core.errors import AssistantError

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
POLL_S = 0.7
NUM_HITS = 8
MAX_PATH_CHARS, MAX_QUERY_CHARS = 4096, 1000
MAX_PASSAGES = 200
SHORT_WORK = 200  # files; while there are more, the table waits for their end
DEFAULT = "default"
Updates = dict[Any, Any]  # component -> what it shows


class LibraryTab:
    """Builds the library and answers its events."""

    def __init__(self, services: Services, language: gr.Radio) -> None:
        self.library, self.embedders, self.language = services.library, services.embedders, language
        self._build()
        self.inputs = [self.shown, self.page, self.chosen, language, *self.scope.inputs]
        self.outputs = [self.page, self.table, self.pager, self.shown, self.target, self.destination, self.activity,
                        self.cancel, self.timer, *self.scope.inputs, *self.settings.outputs]  # fmt: skip
        self._wire()

    def _build(self) -> None:
        self.chosen, self.page, self.document = gr.State([]), gr.State(0), gr.State(None)
        self.timer = gr.Timer(POLL_S, active=False)
        with gr.Row(elem_id="intake"):
            self.drop_zone = gr.HTML("", elem_id="drop-zone", js_on_load="astrai.dropZone(element, trigger)")
            with gr.Column(min_width=300, elem_id="by-path"):
                self.target = gr.Dropdown([DEFAULT], value=DEFAULT, allow_custom_value=True, elem_id="target")
                self.path = gr.Textbox(max_lines=1, max_length=MAX_PATH_CHARS, elem_id="path")
                with gr.Row():
                    self.add = gr.Button(size="sm", min_width=80, elem_id="add-path")
                    self.watch = gr.Button(size="sm", min_width=80, elem_id="watch-path")
        with gr.Row(elem_id="work"):
            self.activity = gr.HTML("", elem_id="activity")
            self.cancel = gr.Button(size="sm", min_width=90, scale=0, visible=False, elem_id="cancel-work")
        with gr.Row(elem_id="find"):
            self.query = gr.Textbox(
                show_label=False, container=False, max_lines=1, max_length=MAX_QUERY_CHARS, elem_id="query", scale=3,
                submit_btn=True,
            )  # fmt: skip
            self.shown = gr.Dropdown(
                [("", "")], value="", show_label=False, container=False, elem_id="shown", min_width=160, scale=1
            )
        self.scope = ScopePicker("library")
        self.results = gr.HTML("", elem_id="results")
        self.table = gr.HTML("", elem_id="documents", js_on_load="astrai.documents(element, trigger)")
        with gr.Row(elem_id="actions"):
            self.previous = gr.Button("‹", size="sm", min_width=36, scale=0, elem_id="previous")
            self.pager = gr.HTML("", elem_id="pager")
            self.next = gr.Button("›", size="sm", min_width=36, scale=0, elem_id="next")
            self.move = gr.Button(size="sm", min_width=80, scale=0, elem_id="move")
            self.destination = gr.Dropdown(
                [], allow_custom_value=True, show_label=False, container=False, elem_id="destination", min_width=150
            )
            self.remove = gr.Button(size="sm", min_width=80, scale=0, variant="stop", elem_id="remove")
            self.forget = gr.Button(size="sm", min_width=120, scale=0, elem_id="forget-collection")
            self.ask = gr.Button(size="sm", min_width=140, scale=0, variant="primary", elem_id="ask-documents")
        self.passages = gr.HTML("", elem_id="passages")
        self.settings = LibrarySettings(self.library, self.embedders, self.language, self._begin)

    def _wire(self) -> None:
        begun = [self.activity, self.cancel, self.timer]
        shown: dict[str, Any] = {"fn": self.show, "inputs": self.inputs, "outputs": self.outputs, **PRIVATE}
        self.drop_zone.upload(self.dropped, [self.language], begun, **PRIVATE)
        by_path = [self.path, self.target, self.language]
        self.add.click(self.add_path, by_path, [self.path, *begun], **PRIVATE)
        self.path.submit(self.add_path, by_path, [self.path, *begun], **PRIVATE)
        self.watch.click(self.watch_path, by_path, [self.path, *begun], **PRIVATE)
        self.cancel.click(self.library.cancel, queue=False, **PRIVATE)
        self.timer.tick(**shown | {"fn": self.poll})
        query = [self.query, self.shown, self.language, *self.scope.inputs]
        self.query.submit(self.search, query, self.results, **PRIVATE)
        for picker in (self.shown, *self.scope.inputs):
            picker.input(lambda: 0, outputs=self.page, queue=False, **PRIVATE).then(**shown).then(
                self.search, query, self.results, **PRIVATE
            )
        self.previous.click(lambda page: max(page - 1, 0), self.page, self.page, queue=False, **PRIVATE).then(**shown)
        self.next.click(lambda page: page + 1, self.page, self.page, queue=False, **PRIVATE).then(**shown)
        self.table.input(self.choose, outputs=self.chosen, queue=False, **PRIVATE)
        self.table.select(self.open_document, self.language, self.passages, **PRIVATE)
        moved = [self.chosen, self.destination, self.language]
        self.move.click(self.move_chosen, moved, self.chosen, **PRIVATE).then(**shown)
        removed = [self.chosen, self.language]
        self.remove.click(self.remove_chosen, removed, [self.chosen, self.passages], **PRIVATE).then(**shown)
        self.forget.click(self.forget_collection, [self.shown, self.language], self.shown, **PRIVATE).then(**shown)
        self.settings.wire(self.shown, begun, shown)

    # Handlers: plain values in and out.

    def show(self, collection: str, page: int, chosen: list[int], language: str, *picked: Any) -> list[Any]:
        """The table and all that tells how the library is; the timer goes on while there is work."""
        library = self.library
        try:
            everything = library.open().documents(collection or None) if library.exists else []
            scope = Scope.picked((), *texts_of(*picked))
            documents = [document for document in everything if scope.allows(document)]
            counts = library.collections()
            settings = self.settings.show(language)
        except AssistantError as exc:
            return [
                page,
                error_html(exc, language),
                *[gr.skip()] * (len(self.outputs) - 2),
            ]
        page = max(0, min(page, (len(documents) - 1) // PAGE_ROWS))
        rows = documents[page * PAGE_ROWS : (page + 1) * PAGE_ROWS]
        place = {"first": page * PAGE_ROWS + 1, "last": page * PAGE_ROWS + len(rows), "count": len(documents)}
        names = list(counts) or [DEFAULT]
        all_of_them = (t("all_collections", language, count=sum(counts.values())), "")
        filtered = collection if collection in counts else ""
        running = library.activity.is_running
        return [
            page,
            documents_html(rows, set(chosen), language),
            t("rows", language, **place) if documents else "",
            gr.update(choices=[all_of_them, *collections_text(counts)], value=filtered),
            gr.update(choices=names),
            gr.update(choices=names),
            activity_html(library.activity, language),
            gr.update(visible=running),
            gr.update(active=running),
            *self.scope.choices(everything, library, language),
            *settings,
        ]

    def poll(self, collection: str, page: int, chosen: list[int], language: str, *picked: Any) -> list[Any]:
        """While there is work: how far it is, and the table if it is a short one."""
        activity, outputs = self.library.activity, self.outputs
        is_long = activity.progress is not None and (activity.progress.total or 0) > SHORT_WORK
        if not activity.is_running or not is_long:
            return self.show(collection, page, chosen, language, *picked)
        return [activity_html(activity, language) if one is self.activity else gr.skip() for one in outputs]

    def dropped(self, language: str, event: gr.EventData) -> list[Any]:
        """Read what was dropped and copied."""
        batch, collection = str(getattr(event, "batch", "")), str(getattr(event, "collection", ""))
        return self._begin(lambda: self.library.finish(batch, collection), language)

    def add_path(self, path: str, collection: str, language: str) -> list[Any]:
        return self._by_path(path, lambda given: self.library.add([given], collection), language)

    def watch_path(self, path: str, collection: str, language: str) -> list[Any]:
        return self._by_path(path, lambda given: self.library.watch(given, collection), language)

    def search(self, query: str, collection: str, language: str, *picked: Any) -> str:
        """The passages that are found, each with why."""
        if not query.strip() or not self.library.exists:
            return ""
        try:
            scope = Scope.picked([collection] if collection else (), *texts_of(*picked))
            hits = self.library.open().search(query, NUM_HITS, **scope.search_options)
        except AssistantError as exc:
            return error_html(exc, language)
        return hits_html(query, hits, language) if hits else f'<p class="empty">{t("nothing_found", language)}</p>'

    def choose(self, event: gr.EventData) -> list[int]:
        return _numbers(getattr(event, "documents", []))

    def open_document(self, language: str, event: gr.EventData) -> str:
        """The passages of a document."""
        number = _numbers([getattr(event, "document", "")])
        chunks = self.library.open().chunks(number[0]) if number else []
        if not chunks:
            return f'<p class="empty">{t("no_passages", language)}</p>'
        shown = chunks[:MAX_PASSAGES]
        title = t("passages_of", language, shown=len(shown), count=len(chunks))
        return f"<h3>{title}</h3>{chunks_html(number[0], shown, 1, language)}"

    def move_chosen(self, chosen: list[int], collection: str, language: str) -> list[int]:
        return self._change(chosen, lambda: self.library.move(chosen, collection or ""), language)

    def remove_chosen(self, chosen: list[int], language: str) -> tuple[list[int], str]:
        return self._change(chosen, lambda: self.library.remove(chosen), language), ""

    def forget_collection(self, collection: str, language: str) -> str:
        """Forget the collection that is shown, if it is empty, and show all."""
        try:
            if collection and self.library.exists:
                self.library.open().remove_collection(collection)
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return collection
        return ""

    def _by_path(self, path: str, act: Callable[[Path], None], language: str) -> list[Any]:
        """Do something with a path that was typed, and empty the field if it could be done."""
        given = path.strip().strip("\"'")
        if not given:
            return [gr.skip()] * 4
        begun = self._begin(lambda: act(Path(given).expanduser()), language)
        return ["" if self.library.activity.is_running else gr.skip(), *begun]

    def _begin(self, act: Callable[[], None], language: str) -> list[Any]:
        """Begin work; or the sentence that says why not."""
        try:
            act()
        except AssistantError as exc:
            return [error_html(exc, language), gr.skip(), gr.skip()]
        running = self.library.activity.is_running
        return [activity_html(self.library.activity, language), gr.update(visible=running), gr.update(active=running)]

    def _change(self, chosen: list[int], act: Callable[[], None], language: str) -> list[int]:
        """Change documents and choose none, or keep the choice where it could not be done."""
        if not chosen:
            return chosen
        try:
            act()
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return chosen
        return []

    def texts(self, language: str) -> Updates:
        """What each component with text shows in a language."""
        return {
            self.drop_zone: drop_zone_html(language),
            self.target: gr.update(label=t("target", language)),
            self.path: gr.update(label=t("path", language), placeholder=t("path_example", language)),
            self.add: gr.update(value=t("add_path", language)),
            self.watch: gr.update(value=t("watch_path", language)),
            self.cancel: gr.update(value=t("cancel_work", language)),
            self.query: gr.update(placeholder=t("search_library", language), label=t("search_library", language)),
            self.shown: gr.update(label=t("collection", language)),
            **self.scope.texts(language),
            self.destination: gr.update(label=t("destination", language)),
            self.move: gr.update(value=t("move_chosen", language)),
            self.remove: gr.update(value=t("remove_chosen", language)),
            **self.settings.texts(language),
            self.forget: gr.update(value=t("forget_collection", language)),
            self.ask: gr.update(value=t("ask_documents", language)),
        }


def _numbers(values: Any) -> list[int]:
    """The whole numbers among what a browser sent."""
    return [int(value) for value in values or [] if str(value).isascii() and str(value).isdigit()]
