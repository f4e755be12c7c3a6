"""The chat: composer, streaming answers, stop, regenerate, and the model they come from."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.assistant import loading_line
from app.format import NOTICE, short_count, to_html, to_messages, to_seed, to_text, without_notices
from app.i18n import ENGLISH, LANGUAGES, preferred_language, t
from app.models import ModelChoice, ModelState
from app.paths import models_dir
from app.services import Services
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
Messages = list[dict[str, Any]]
Updates = dict[Any, Any]  # component -> what it shows


class ChatTab:
    """Builds the chat and answers its events."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._build()
        self._wire()

    def _build(self) -> None:
        with gr.Row(elem_id="header"):
            self.title = gr.HTML('<div class="brand">AstrAI</div>', elem_id="brand")
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
        self.chatbot = gr.Chatbot(
            show_label=False,
            elem_id="conversation",
            height="100%",
            latex_delimiters=LATEX,
            buttons=["copy"],
            feedback_options=None,
            allow_tags=False,
            group_consecutive_messages=False,
            layout="bubble",
        )
        self.status = gr.HTML("", elem_id="status")
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
        self.saved_chat = gr.BrowserState([], storage_key="astrai-conversation", secret=STORAGE_KEY)
        self.saved_language = gr.BrowserState("", storage_key="astrai-language", secret=STORAGE_KEY)

    def _wire(self) -> None:
        sampling = [self.temperature, self.top_p, self.max_new_tokens, self.seed]
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        busy = [self.chatbot, self.status, self.composer, self.saved_chat]
        answer: dict[str, Any] = {
            "fn": self.answer,
            "inputs": {self.chatbot, self.language, *sampling},
            "outputs": busy,
            "concurrency_limit": 8,
            **private,
        }
        ask: dict[str, Any] = {
            "inputs": [self.composer, self.chatbot],
            "outputs": [self.composer, self.chatbot],
            "queue": False,
            **private,
        }
        self.composer.submit(self.ask, **ask).success(**answer)
        self.chatbot.example_select(self.ask_example, [self.chatbot], [self.chatbot], queue=False, **private).success(
            **answer
        )
        self.chatbot.retry(self.take_back, [self.chatbot], [self.chatbot], queue=False, **private).success(**answer)
        self.composer.stop(self.stop, queue=False, **private)
        emptied = [self.chatbot, self.status, self.saved_chat]
        self.new_chat.click(self.start_over, outputs=emptied, queue=False, **private)
        self.model.input(self.choose_model, [self.model, self.language], [self.status, self.chatbot], **private)
        self.language.input(
            self.switch_language,
            self.language,
            [*self._with_text(), self.status, self.saved_language],
            queue=False,
            **private,
        )
        self.theme.click(None, js=TOGGLE_THEME)

    def on_load(self, blocks: gr.Blocks) -> None:
        """What happens when the page opens: language, models, the conversation of before."""
        outputs = [self.language, *self._with_text()]
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        blocks.load(self.open_page, [self.saved_language, self.saved_chat], outputs, queue=False, **private).then(
            self.report_model, [self.language], [self.status], **private
        )

    # Handlers: plain values in and out.

    def open_page(self, saved_language: str, saved_chat: Messages, request: gr.Request) -> Updates:
        language = saved_language or preferred_language(request.headers.get("accept-language", ""))
        # Not before the page is there: importing torch beside it makes its own start a second longer.
        if self.services.models.choice is None and (choices := self.services.models.choices()):
            self.services.models.select(choices[0])
        return self._texts(language) | {
            self.language: gr.update(value=language, label=t("language", language)),
            self.chatbot: gr.update(**self._welcome(language), value=to_messages(saved_chat)),
        }

    def switch_language(self, language: str) -> Updates:
        return self._texts(language) | {
            self.status: to_html(self._model_line(language)),
            self.saved_language: language,
        }

    def report_model(self, language: str) -> Iterator[str]:
        """The line under the conversation while the model loads, then that it is ready."""
        models = self.services.models
        while models.state == ModelState.LOADING:
            yield to_html(self._model_line(language))
            models.wait(timeout_s=0.5)
        yield to_html(self._model_line(language))

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

    def answer(self, form: dict[Any, Any], request: gr.Request) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Stream the answer to the last question. `form` holds the value of each input component."""
        history = to_messages(form[self.chatbot])
        if not history or history[-1]["role"] != "user":
            return  # nothing was asked
        sampling = {
            "temperature": form[self.temperature],
            "top_p": form[self.top_p],
            "max_new_tokens": int(form[self.max_new_tokens]),
            "seed": to_seed(form[self.seed]),
        }
        language = form[self.language]
        tab = request.session_hash or ""
        reply: dict[str, Any] = {"role": "assistant", "content": ""}
        status = ""
        yield [*history, reply], status, gr.update(submit_btn=False, stop_btn=True), gr.skip()
        updates = self.services.assistant.answer(tab, without_notices(history), sampling, language=language)
        try:
            for update in updates:
                status = to_html(update.status)
                if update.text:
                    reply = {"role": "assistant", "content": update.text}
                if update.is_error:
                    reply["metadata"] = {"title": NOTICE}
                yield [*history, reply], status, gr.skip(), gr.skip()
        finally:
            updates.close()  # type: ignore[attr-defined]
        final = [*history, reply] if reply["content"] else history
        yield final, status, gr.update(submit_btn=True, stop_btn=False), final

    def stop(self, request: gr.Request) -> None:
        self.services.assistant.stop(request.session_hash or "")

    def start_over(self, request: gr.Request) -> tuple[Messages, str, Messages]:
        self.services.assistant.stop(request.session_hash or "")
        return [], "", []

    def _with_text(self) -> list[Any]:
        """Every component that carries text."""
        return list(self._texts(ENGLISH))

    def _texts(self, language: str) -> Updates:
        """What each component with text shows in a language."""
        labels = {
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
            self.new_chat: gr.update(value=t("new_chat", language)),
            self.chatbot: gr.update(**self._welcome(language)),
            self.composer: gr.update(placeholder=t("composer", language), label=t("composer", language)),
            **{component: gr.update(label=t(key, language)) for component, key in labels.items()},
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
        try:
            model = self.services.models.model()
        except AssistantError as exc:
            return str(exc) if self.services.models.choice else t("no_model", language, folder=models_dir())
        count = short_count(model.num_parameters)
        return t("ready", language, name=model.name, parameters=count, quantization=model.quantization)


TOGGLE_THEME = """() => {
    const dark = !document.body.classList.contains('dark');
    document.body.classList.toggle('dark', dark);
    localStorage.setItem('astrai-theme', dark ? 'dark' : 'light');
}"""
