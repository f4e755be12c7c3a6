"""The chat: composer, streaming answers, stop, regenerate, the model they come from and the documents they cite."""

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from app.answer_record import AnswerRecord
from app.assistant import Update, loading_line
from app.conversation_rows import Message, Said
from app.conversation_view import shown_messages
from app.error_texts import error_text
from app.format import quantization_name, short_count, to_html, to_names, to_text, with_formulas
from app.i18n import ENGLISH, t
from app.models import ModelChoice, ModelState
from app.paths import models_dir
from app.scope import Scope
from app.seen_view import Usage, usage_html
from app.services import Services
from app.tabs.attachments import AttachmentBar
from app.tabs.blind import BlindPanel
from app.tabs.dialogs import keys_html
from app.tabs.feedback import Feedback
from app.tabs.first import FirstPanel
from app.tabs.header import Header
from app.tabs.personas import PersonaPicker
from app.tabs.sampling import SamplingPanel
from app.tabs.scope import ScopePicker, texts_of
from app.tabs.sidebar import Sidebar
from app.tabs.status import StatusLine, status_html
from app.tabs.thread import TELL_OPENED, Thread, Updates, View
from app.under_way import UnderWay
from core.errors import AssistantError

# Gradio keeps these in the browser's own storage, so that a reload loses nothing. Without a fixed key it
# draws one at each start and cannot read what it wrote; the values never leave the browser.
STORAGE_KEY = "astrai"
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


class ChatTab:
    """Builds the chat and answers its events."""

    def __init__(self, services: Services, header: Header) -> None:
        self.services, self.conversations, self.under_way = services, services.conversations, UnderWay()
        self.model, self.language, self.new_chat = header.model, header.language, header.new_chat
        with gr.Row(elem_id="chat-row"):
            self.sidebar = Sidebar()
            with gr.Column(elem_id="chat"):
                self._build()
        self._wire()

    def _build(self) -> None:
        self.first = FirstPanel(self.services.board, self.services.settings)
        self.thread = Thread(self.services, secret=STORAGE_KEY)
        self.chatbot = self.thread.chatbot
        self.feedback = Feedback(self.thread)
        self.blind = BlindPanel(self.services)
        self.status_line = StatusLine()
        self.status = self.status_line.line
        self.collections = gr.Dropdown([], multiselect=True, elem_id="collections", visible=False)
        self.scope = ScopePicker("chat", visible=False)
        self.asked_outputs = [self.collections, self.scope.row, *self.scope.inputs]
        self.waiting = gr.HTML(waiting_html(ENGLISH), elem_id="composer-waits")
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
        with gr.Row(elem_id="tools"):
            self.attachments = AttachmentBar(self.services.attachments)
            self.persona = PersonaPicker(self.services.personas, self.conversations)
            self.keys = gr.HTML(keys_html(ENGLISH), elem_id="keys-help")
        self.persona.build_panel()
        self.sampling = SamplingPanel()
        self.thread.panels += [self.status_line, self.persona]
        self.saved_collections = gr.BrowserState([], storage_key="astrai-collections", secret=STORAGE_KEY)

    def _wire(self) -> None:
        here, kept = [*self.thread.place, self.language], [self.sidebar.list, *self.feedback.outputs]
        # The browser's work for one update grows with the number of outputs, so the growing answer has three.
        answer: dict[str, Any] = {
            "inputs": {*here, self.collections, *self.scope.inputs, *self.sampling.inputs, self.persona.picker},
            "outputs": [self.thread.live, self.status, self.composer],
            "concurrency_limit": 8,
            **PRIVATE,
        }
        asked: dict[str, Any] = {"outputs": [self.composer, *self.attachments.outputs, *kept], **PRIVATE}

        def then_answer(event: Any, how: Any = self.answer) -> None:
            event.success(how, **answer).then(self.finish, [*here, self.sidebar.search], **asked)

        asking = [*here, self.sidebar.temporary, self.collections, self.persona.picker, self.attachments.batch]
        asking.append(self.sidebar.search)
        at_once = "(typed, ...more) => [astraiComposer.text(typed), ...more]"
        submitted = self.composer.submit(self.ask, [self.composer, *asking], js=at_once, **asked)
        # What was typed since it was sent stays in the composer.
        submitted.success(None, js="() => astraiComposer.taken()", **PRIVATE)
        submitted.failure(None, js="() => astraiComposer.refused()", **PRIVATE)
        then_answer(submitted)
        then_answer(self.chatbot.example_select(self.ask_example, asking, **asked))
        then_answer(self.chatbot.retry(self.take_back, here, **asked))
        then_answer(self.chatbot.option_select(self.take_back, here, **asked), self.answer_alone)
        then_answer(self.feedback.go_on.click(self.hold, here, self.chatbot, **PRIVATE), self.go_on)
        self.collections.input(
            self.pick, [self.collections, self.language],
            [self.saved_collections, self.scope.row, *self.scope.inputs],
            queue=False, **PRIVATE,
        )  # fmt: skip
        self.composer.stop(self.stop, queue=False, **PRIVATE)
        for button in (self.new_chat, self.sidebar.new):
            started = button.click(self.start_over, [self.language, self.sidebar.search], kept, queue=False, **PRIVATE)
            started.then(None, js=TELL_OPENED, **PRIVATE)
        self.sidebar.wire(self.feedback, self.language, self.stop, PRIVATE)
        self.feedback.wire(self.language, PRIVATE, then_answer)
        self.sampling.wire(PRIVATE)
        self.attachments.wire(self.language, PRIVATE)
        self.persona.wire(self.thread.opened, self.language, self.sampling, self.collections, PRIVATE)
        fields = self.sampling.fields
        named = [fields[name] for name in ("temperature", "top_p", "max_new_tokens")]
        self.blind.wire(self.language, named, PRIVATE)
        self.model.input(self.choose_model, [self.model, self.language], [self.status, self.chatbot], **PRIVATE)

    # Handlers: plain values in and out.

    def open_page(self, language: str, opened: Any) -> Updates:
        """The chat as the page opens, with the conversation of before."""
        # Not before the page is there: importing torch beside it makes its own start a second longer.
        if self.services.models.choice is None and (choices := self.services.models.choices()):
            self.services.models.select(choices[0])
        shown = self._shown(to_text(opened), View(), language)
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

    def report_opened(self, opened: str, view: View, language: str) -> Iterator[str]:
        """The line while the model loads, then what the last answer of the open conversation took, if there is one."""
        yield from self.report_model(language)
        path = self.thread.path(opened, view)
        if path and (usage := Usage.of(path[-1].said.details)):
            yield usage_html(usage, language)

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

    def ask(  # noqa: PLR0913, PLR0917 - as many as the composer has parts
        self,
        text: str,
        opened: str,
        view: View,
        language: str,
        is_temporary: bool,
        collections: Any,
        persona: Any,
        batch: str,
        search: str,
    ) -> Updates:
        """Put the question into the conversation, a new one where none is open; the page empties the composer.

        Raises: gr.Error where it cannot be taken; what was typed stays then, and nothing is answered.
        """
        question = to_text(text)
        if not question.strip():
            return {self.composer: gr.skip()}
        try:
            path = self.thread.path(opened, view)
            if not path:
                opened = self.conversations.create(
                    is_temporary=bool(is_temporary), collections=to_names(collections), persona=to_text(persona)
                ).id
            with self.under_way.asking(opened):
                size, count_tokens = self.services.assistant.measure()
                files = self.services.attachments.take(batch, max_seq_len=size, count_tokens=count_tokens)
                said = Said(question, details={"attachments": files} if files else {})
                self.conversations.add(opened, "user", said, parent_id=path[-1].id if path else None)
        except AssistantError as exc:
            raise gr.Error(to_html(error_text(exc, language)), print_exception=False) from exc
        return {
            self.composer: gr.update(submit_btn=False, stop_btn=True),
            **self.attachments.shown("", language),
            **self._shown(opened, view, language, search),
        }

    def ask_example(  # noqa: PLR0913, PLR0917 - as `ask`
        self,
        opened: str,
        view: View,
        language: str,
        is_temporary: bool,
        collections: Any,
        persona: Any,
        batch: str,
        search: str,
        event: gr.SelectData,
    ) -> Updates:
        return self.ask(to_text(event.value), opened, view, language, is_temporary, collections, persona, batch, search)

    def take_back(self, opened: str, view: View, language: str) -> Updates:
        """The conversation up to its last question, which is asked again; the answer stays as a version."""
        try:
            path = self.thread.path(opened, view)
            question = next((message for message in reversed(path) if message.role == "user"), None)
            if question is None:
                return {self.composer: gr.skip()}
            self.conversations.show(opened, question.id)
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
        return self.feedback.shown(opened, view, language)

    def answer_alone(self, form: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        """Stream the model's own answer to what the documents do not answer."""
        yield from self.answer(form | {self.collections: []}, request, is_alone=True)

    def hold(self, opened: str, view: View, language: str) -> Any:
        """The conversation without its last answer, which is about to go on."""
        return shown_messages(self.thread.path(opened, view)[:-1], language).messages

    def go_on(self, form: dict[Any, Any], request: gr.Request) -> Iterator[Updates]:
        """Stream what follows in the last answer."""
        yield from self.answer(form, request, goes_on=True)

    def answer(
        self, form: dict[Any, Any], request: gr.Request, *, is_alone: bool = False, goes_on: bool = False
    ) -> Iterator[Updates]:
        """Stream the answer to the last question. `form` holds the value of each input component."""
        opened, view, language = to_text(form[self.thread.opened]), form[self.thread.view], form[self.language]
        path = self.thread.path(opened, view, whole=True)
        if not path or path[-1].role != ("assistant" if goes_on else "user"):
            yield {self.status: gr.skip()}  # nothing was asked; without any update everything would be emptied
            return
        yield {self.composer: gr.update(submit_btn=False, stop_btn=True)}
        try:
            updates = self._updates(form, path, request.session_hash or "", is_alone=is_alone)
            under_way = self.under_way.answering(opened, lambda: self.stop(request))
            with under_way, closing(updates), AnswerRecord(self.conversations, opened, path[-1]) as record:
                for update in updates:
                    record.take(update)
                    text = "" if update.is_error else with_formulas(update.text)
                    yield {self.thread.live: text, self.status: status_html(update, language)}
                record.complete()
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))

    def _updates(
        self, form: dict[Any, Any], path: list[Message], tab: str, *, is_alone: bool
    ) -> Generator[Update, None, None]:
        language, collections = form[self.language], to_names(form[self.collections])
        narrowed = texts_of(*(form[picker] for picker in self.scope.inputs))
        assistant, attachments = self.services.assistant, self.services.attachments
        try:
            scope = Scope.picked(collections, *narrowed) if collections else None
            system = self.persona.turns(form[self.persona.picker], language)
            size, count_tokens = assistant.measure()
            given, passages = attachments.given(path, max_seq_len=size, count_tokens=count_tokens)
        except AssistantError as exc:
            yield Update(error_text(exc, language), "", is_error=True)
            return
        yield from assistant.answer(
            tab,
            [*system, *given],
            self.sampling.chosen(form),
            language=language,
            scope=scope,
            is_alone=is_alone,
            passages=passages,
        )

    def finish(self, opened: str, view: View, language: str, search: str) -> Updates:
        """The conversation with its answer, as it is stored; not where another one was opened meanwhile."""
        shown = self._shown(opened, view, language, search) if view.opened == opened else {self.thread.live: ""}
        return {self.composer: gr.update(submit_btn=True, stop_btn=False), **shown}

    def stop(self, request: gr.Request) -> None:
        self.services.assistant.stop(request.session_hash or "")

    def start_over(self, language: str, search: str, request: gr.Request) -> Updates:
        return self.sidebar.begin(language, search, request)

    def _shown(self, opened: str, view: View, language: str, search: str = "") -> Updates:
        """The conversation, and its place in the list."""
        return {**self.feedback.shown(opened, view, language), **self.sidebar.shown(opened, language, search)}

    def texts(self, language: str) -> Updates:
        """What each component with text shows in a language."""
        return {
            self.model: gr.update(
                choices=self._model_choices(), value=self._chosen_model(), label=t("model", language)
            ),
            self.chatbot: gr.update(**self._welcome(language)),
            self.composer: gr.update(placeholder=t("composer", language), label=t("composer", language)),
            self.collections: gr.update(label=t("ask_in", language)),
            **self.sampling.texts(language),
            **self.persona.texts(language),
            **self.attachments.texts(language),
            self.keys: keys_html(language),
            self.waiting: waiting_html(language),
            **self.scope.texts(language),
            **self.sidebar.texts(language),
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
            quantization=quantization_name(model.quantization, language),
        )


def waiting_html(language: str) -> str:
    """That what was typed is sent when the answer has ended; `page.js` shows it then."""
    return f'<p role="status" data-text="{t("composer_waits", language)}"></p>'
