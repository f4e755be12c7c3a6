"""The chat: composer, streaming answers, stop, regenerate, the model they come from and the documents they cite."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.assistant import Update, loading_line
from app.chat_record import ChatRecord
from app.error_texts import error_text
from app.format import (
    NOTICE,
    refused,
    short_count,
    titled,
    to_html,
    to_messages,
    to_names,
    to_seed,
    to_text,
    without_notices,
)
from app.i18n import t
from app.models import ModelChoice, ModelState
from app.paths import models_dir
from app.preference_rows import Answer
from app.scope import Scope
from app.services import Services
from app.tabs.blind import BlindPanel
from app.tabs.feedback import DISLIKE, LIKE, Feedback
from app.tabs.first import FirstPanel
from app.tabs.header import Header
from app.tabs.scope import ScopePicker, texts_of
from core.config.param_config import SamplingConfig
from core.errors import AssistantError

LATEX: list[dict[str, str | bool]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
]
# Gradio keeps these in the browser's own storage, so that a reload loses nothing. Without a fixed key it
# draws one at each start and cannot read what it wrote; the values never leave the browser.
STORAGE_KEY = "astrai"
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
Messages = list[dict[str, Any]]
Updates = dict[Any, Any]  # component -> what it shows


class ChatTab:
    """Builds the chat and answers its events."""

    def __init__(self, services: Services, header: Header) -> None:
        self.services = services
        self.model, self.language, self.new_chat = header.model, header.language, header.new_chat
        self._build()
        self._wire()

    def _build(self) -> None:
        self.first = FirstPanel(self.services.board, self.services.settings)
        self.chatbot = gr.Chatbot(
            show_label=False,
            elem_id="conversation",
            height="100%",
            latex_delimiters=LATEX,
            buttons=["copy"],
            editable="all",
            feedback_options=(LIKE, DISLIKE),
            allow_tags=False,
            group_consecutive_messages=False,
            layout="bubble",
        )
        self.saved_chat = gr.BrowserState([], storage_key="astrai-conversation", secret=STORAGE_KEY)
        self.feedback = Feedback(self.services, self.chatbot, self.saved_chat, secret=STORAGE_KEY)
        self.blind = BlindPanel(self.services)
        self.status = gr.HTML("", elem_id="status")
        self.collections = gr.Dropdown([], multiselect=True, elem_id="collections", visible=False)
        self.scope = ScopePicker("chat", visible=False)
        self.asked_outputs = [self.collections, self.scope.row, *self.scope.inputs]
        self.composer = gr.Textbox(
            show_label=False,
            lines=1,
            max_lines=8,
            autofocus=True,
            submit_btn=True,
            stop_btn=False,
            elem_id="composer",
            max_length=100_000,
        )
        usual = SamplingConfig()
        with gr.Accordion(open=False, elem_id="sampling") as self.settings:
            with gr.Row():
                self.temperature = gr.Slider(0, 2, value=usual.temperature, step=0.05)
                self.top_p = gr.Slider(0.05, 1, value=usual.top_p, step=0.05)
            with gr.Row():
                self.max_new_tokens = gr.Slider(16, 2048, value=usual.max_new_tokens, step=16)
                self.seed = gr.Textbox(value="", max_length=19)
        self.saved_collections = gr.BrowserState([], storage_key="astrai-collections", secret=STORAGE_KEY)

    def _wire(self) -> None:
        sampling = [self.temperature, self.top_p, self.max_new_tokens, self.seed]
        kept = self.feedback.outputs
        busy = [self.status, self.composer, *kept]
        answer: dict[str, Any] = {
            "fn": self.answer,
            "inputs": {
                *(self.chatbot, self.language, self.collections, self.feedback.record),
                *(*self.scope.inputs, *sampling),
            },
            "outputs": busy,
            "concurrency_limit": 8,
            **PRIVATE,
        }
        ask: dict[str, Any] = {
            "inputs": [self.composer, self.chatbot],
            "outputs": [self.composer, self.chatbot],
            "queue": False,
            **PRIVATE,
        }
        self.composer.submit(self.ask, **ask).success(**answer)
        self.chatbot.example_select(self.ask_example, [self.chatbot], [self.chatbot], queue=False, **PRIVATE).success(
            **answer
        )
        self.chatbot.retry(self.take_back, [self.chatbot], [self.chatbot], queue=False, **PRIVATE).success(**answer)
        self.chatbot.option_select(
            self.take_refusal_back, [self.chatbot], [self.chatbot], queue=False, **PRIVATE
        ).success(**answer | {"fn": self.answer_alone})
        self.collections.input(
            self.pick, [self.collections, self.language],
            [self.saved_collections, self.scope.row, *self.scope.inputs],
            queue=False, **PRIVATE,
        )  # fmt: skip
        self.composer.stop(self.stop, queue=False, **PRIVATE)
        emptied = [self.status, *kept]
        self.new_chat.click(self.start_over, outputs=emptied, queue=False, **PRIVATE)
        self.feedback.wire(self.language, PRIVATE, answer)
        self.blind.wire(self.language, sampling[:3], PRIVATE)
        self.model.input(self.choose_model, [self.model, self.language], [self.status, self.chatbot], **PRIVATE)

    # Handlers: plain values in and out.

    def open_page(self, language: str, saved_chat: Messages, saved_record: Any) -> Updates:
        """The chat as the page opens, with the conversation of before."""
        # Not before the page is there: importing torch beside it makes its own start a second longer.
        if self.services.models.choice is None and (choices := self.services.models.choices()):
            self.services.models.select(choices[0])
        shown = self.feedback.shown(to_messages(saved_chat), ChatRecord.from_json(saved_record))
        return {**self.texts(language), **shown, self.chatbot: self._welcome(language) | shown[self.chatbot]}

    def status_in(self, language: str) -> Updates:
        """The line under the conversation in another language."""
        return {self.status: to_html(self._model_line(language))}

    def list_collections(self, chosen: list[str] | None, language: str) -> list[Any]:
        """The collections that can be asked, and what narrows them.

        The picker is there once there is one with documents.
        """
        try:
            counts = self.services.library.collections()
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return [gr.update(visible=False), gr.update(visible=False), *[gr.skip()] * 3]
        choices = [(f"{name} · {count}", name) for name, count in counts.items() if count]
        known = {name for _, name in choices}
        kept = [name for name in chosen or [] if name in known]
        picker = gr.update(choices=choices, value=kept, visible=bool(choices), label=t("ask_in", language))
        return [picker, *self._scope_of(kept, language)]

    def pick(self, chosen: list[str] | None, language: str) -> list[Any]:
        """Keep the choice of collections for the next visit, and show what narrows them."""
        names = to_names(chosen)
        return [names, *self._scope_of(names, language)]

    def _scope_of(self, names: list[str], language: str) -> list[Any]:
        """The row that narrows the collections that are asked, there where some are."""
        library = self.services.library
        rows = [row for row in library.open().documents() if row.collection in names] if names else []
        return [gr.update(visible=bool(names)), *self.scope.choices(rows, library, language)]

    def report_model(self, language: str) -> Iterator[str]:
        """The line under the conversation while the model loads, then that it is ready."""
        models = self.services.models
        while models.state == ModelState.LOADING:
            yield to_html(self._model_line(language))
            models.wait(timeout_s=0.5)
        yield to_html(self._model_line(language))

    def show_model(self, language: str) -> Updates:
        """The chosen model among the choices, and its welcome."""
        return {
            self.model: gr.update(choices=self._model_choices(), value=self._chosen_model()),
            self.chatbot: gr.update(**self._welcome(language)),
        }

    def choose_model(self, path: str, language: str) -> Iterator[tuple[Any, Any]]:
        models = self.services.models
        choice = next((choice for choice in models.choices() if str(choice.path) == path), None)
        if choice is None:
            yield to_html(t("no_model", language, folder=models_dir())), gr.update()
            return
        models.select(choice)
        for line in self.report_model(language):
            yield line, gr.update(**self._welcome(language))

    def ask(self, text: str, history: Messages) -> tuple[Any, Messages]:
        """Put the question into the conversation and empty the composer."""
        messages = to_messages(history)
        if not text.strip():
            return gr.skip(), messages
        return gr.update(value="", submit_btn=False, stop_btn=True), [
            *messages,
            {"role": "user", "content": to_text(text)},
        ]

    def ask_example(self, history: Messages, event: gr.SelectData) -> Messages:
        return [*to_messages(history), {"role": "user", "content": to_text(event.value)}]

    def take_back(self, history: Messages, event: gr.RetryData) -> Messages:
        """The conversation up to the question that is asked again."""
        return to_messages(history)[: int(event.index) + 1]  # type: ignore[arg-type]

    def take_refusal_back(self, history: Messages) -> Messages:
        """The conversation without the refusal of the documents at its end."""
        messages = to_messages(history)
        return messages[:-1] if messages and "options" in messages[-1] else messages

    def answer_alone(self, form: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        """Stream the model's own answer to what the documents do not answer."""
        yield from self.answer(form | {self.collections: []}, request, is_alone=True)

    def answer(self, form: dict[Any, Any], request: gr.Request, *, is_alone: bool = False) -> Iterator[Updates]:
        """Stream the answer to the last question. `form` holds the value of each input component."""
        history = to_messages(form[self.chatbot])
        if not history or history[-1]["role"] != "user":
            yield {self.status: gr.skip()}  # nothing was asked; without any update everything would be emptied
            return
        sampling = {
            "temperature": form[self.temperature],
            "top_p": form[self.top_p],
            "max_new_tokens": int(form[self.max_new_tokens]),
            "seed": to_seed(form[self.seed]),
        }
        language, collections = form[self.language], to_names(form[self.collections])
        narrowed = texts_of(*(form[picker] for picker in self.scope.inputs))
        tab = request.session_hash or ""
        reply: dict[str, Any] = {"role": "assistant", "content": ""}
        update = Update("", "")
        yield {self.chatbot: [*history, reply], self.composer: gr.update(submit_btn=False, stop_btn=True)}
        asked = without_notices(history)
        sources: Messages = []
        try:
            scope = Scope.picked(collections, *narrowed) if collections else None
        except AssistantError as exc:
            notice = [*history, reply | {"content": error_text(exc, language), "metadata": titled(NOTICE)}]
            record = ChatRecord.from_json(form[self.feedback.record])
            yield {self.composer: gr.update(submit_btn=True, stop_btn=False), **self.feedback.shown(notice, record)}
            return
        updates = self.services.assistant.answer(
            tab, asked, sampling, language=language, scope=scope, is_alone=is_alone
        )
        try:
            for update in updates:
                if update.text:
                    reply = {"role": "assistant", "content": update.text}
                if update.is_refusal:
                    reply |= refused(language)
                if update.is_error:
                    reply["metadata"] = titled(NOTICE)
                if update.sources:
                    title = titled(t("sources", language))
                    sources = [{"role": "assistant", "content": update.sources, "metadata": title}]
                yield {self.chatbot: [*history, reply], self.status: to_html(update.status)}
        finally:
            updates.close()  # type: ignore[attr-defined]
        record = ChatRecord.from_json(form[self.feedback.record])
        if update.origin is not None and update.text and not update.is_error:
            record.say(history, Answer(update.text, update.origin))
        final = [*history, reply, *sources] if reply["content"] else history
        yield {
            self.composer: gr.update(submit_btn=True, stop_btn=False),
            **self.feedback.shown(final, record),
        }

    def stop(self, request: gr.Request) -> None:
        self.services.assistant.stop(request.session_hash or "")

    def start_over(self, request: gr.Request) -> Updates:
        self.services.assistant.stop(request.session_hash or "")
        return {self.status: "", **self.feedback.shown([], ChatRecord({}))}

    def texts(self, language: str) -> Updates:
        """What each component with text shows in a language."""
        labels = {
            self.collections: "ask_in",
            self.settings: "sampling",
            self.temperature: "temperature",
            self.top_p: "top_p",
            self.max_new_tokens: "max_new_tokens",
            self.seed: "seed",
        }
        return {
            self.model: gr.update(
                choices=self._model_choices(), value=self._chosen_model(), label=t("model", language)
            ),
            self.chatbot: gr.update(**self._welcome(language)),
            self.composer: gr.update(placeholder=t("composer", language), label=t("composer", language)),
            **{component: gr.update(label=t(key, language)) for component, key in labels.items()},
            **self.scope.texts(language),
            **self.feedback.texts(language),
            **self.blind.texts(language),
        }

    def _welcome(self, language: str) -> dict[str, Any]:
        choice = self.services.models.choice
        if choice is None:
            return {"placeholder": t("no_model", language, folder=models_dir()), "examples": []}
        key = "welcome_starter" if choice.is_starter else "welcome"
        return {
            "placeholder": t(key, language),
            "examples": [{"text": t(f"example_{number}", language)} for number in range(1, 5)],
        }

    def _model_choices(self) -> list[tuple[str, str]]:
        return [(choice.name, str(choice.path)) for choice in self.services.models.choices()]

    def _chosen_model(self) -> str | None:
        choice: ModelChoice | None = self.services.models.choice
        return str(choice.path) if choice else None

    def _model_line(self, language: str) -> str:
        """Which model is loading or ready, or why none is."""
        choice = self.services.models.choice
        if choice and self.services.models.state == ModelState.LOADING:
            return loading_line(self.services.models, language)
        if choice and self.services.models.state == ModelState.UNLOADED:
            return t("unloaded", language, name=choice.name)
        try:
            model = self.services.models.model()
        except AssistantError as exc:
            return str(exc) if self.services.models.choice else t("no_model", language, folder=models_dir())
        count = short_count(model.num_parameters)
        return t(
            "ready",
            language,
            name=choice.name if choice else model.name,
            parameters=count,
            quantization=model.quantization,
        )
