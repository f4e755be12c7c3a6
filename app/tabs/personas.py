"""Who answers: the persona of the open conversation, and the panel in which personas are made and changed."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app.conversation_rows import Conversation, Message
from app.conversations import Conversations
from app.error_texts import error_text
from app.format import to_html, to_names, to_text
from app.i18n import t
from app.personas import MAX_NAME_CHARS, MAX_SYSTEM_CHARS, SAMPLING_NAMES, Persona, Personas, built_in
from app.tabs.sampling import SamplingPanel
from core.errors import AssistantError

Updates = dict[Any, Any]  # component -> what it shows


class PersonaPicker:
    """Builds the picker and, when it is asked to, the panel; choosing one sets the answer settings and collections."""

    def __init__(self, personas: Personas, conversations: Conversations) -> None:
        self.personas, self.conversations = personas, conversations
        self.picker = gr.Dropdown(
            [("", "")], value="", show_label=False, container=False, elem_id="persona", min_width=120, filterable=False
        )
        self.edit = gr.Button("✎", size="sm", min_width=36, scale=0, elem_id="persona-edit")

    def build_panel(self) -> None:
        """The panel, where the layout wants it."""
        with gr.Group(visible=False, elem_id="persona-panel") as self.panel:
            self.name = gr.Textbox(max_length=MAX_NAME_CHARS, lines=1, elem_id="persona-name")
            self.system = gr.Textbox(lines=4, max_lines=12, max_length=MAX_SYSTEM_CHARS, elem_id="persona-system")
            self.hint = gr.HTML("", elem_id="persona-hint")
            with gr.Row(elem_classes="acts"):
                self.save = gr.Button(size="sm", variant="primary", elem_id="persona-save")
                self.new = gr.Button(size="sm", elem_id="persona-new")
                self.duplicate = gr.Button(size="sm", elem_id="persona-duplicate")
                self.delete = gr.Button(size="sm", variant="stop", elem_id="persona-delete")
        self.is_open = gr.State(False)

    def wire(
        self, opened: Any, language: Any, sampling: SamplingPanel, collections: Any, options: dict[str, Any]
    ) -> None:
        self.sampling, self.collections, self.opened, self.language = sampling, collections, opened, language
        shown = [collections, *sampling.inputs, *self.panel_outputs]
        self.picker.input(self.choose, [self.picker, opened, self.is_open, language], shown, **options)
        self.edit.click(
            self.toggle, [self.picker, self.is_open, language], [self.is_open, *self.panel_outputs], **options
        )
        form = {self.picker, self.name, self.system, collections, opened, language, *sampling.inputs}
        outputs = [self.picker, self.is_open, *self.panel_outputs]
        self.save.click(self.save_chosen, form, outputs, **options)
        self.new.click(self.save_new, form, outputs, **options)
        self.duplicate.click(self.copy, form, outputs, **options)
        self.delete.click(self.forget, form, outputs, **options)

    @property
    def panel_outputs(self) -> list[Any]:
        return [self.panel, self.name, self.system, self.hint, self.save, self.delete]

    # As a panel of the conversation

    @property
    def outputs(self) -> list[Any]:
        return [self.picker]

    def shown(self, conversation: Conversation | None, path: Sequence[Message], language: str) -> Updates:
        """The persona of an opened conversation; a new one keeps what is chosen."""
        del path
        # With its label, which stands in no other update of the moment when the page opens.
        given: dict[str, Any] = {"choices": self._choices(language), "label": t("persona", language)}
        if conversation is not None:
            given["value"] = self._known(conversation.persona)
        return {self.picker: gr.update(**given)}

    def texts(self, language: str) -> Updates:
        labels = {self.name: "persona_name", self.system: "persona_system"}
        values = {
            self.save: "persona_save",
            self.new: "persona_new",
            self.duplicate: "persona_duplicate",
            self.delete: "persona_delete",
        }
        return {
            **{component: gr.update(label=t(key, language)) for component, key in labels.items()},
            **{component: gr.update(value=t(key, language)) for component, key in values.items()},
            self.picker: gr.update(choices=self._choices(language), label=t("persona", language)),
            self.hint: t("persona_hint", language),
        }

    def turns(self, persona_id: Any, language: str) -> list[dict[str, str]]:
        """The system message of a persona, if it has one. Raises: DataError for a file that cannot be read."""
        found = self.personas.find(to_text(persona_id), language)
        return found.turns if found else []

    # Handlers

    def choose(self, persona_id: str, opened: str, is_open: bool, language: str) -> Updates:
        """Give the open conversation a persona, and show its settings."""
        try:
            persona = self.personas.find(persona_id, language)
            if opened and self.conversations.find(opened) is not None:
                self.conversations.change(opened, persona=persona.id if persona else "")
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            persona = None
        settings = self.sampling.usual() if persona is None else {}
        collections = {self.collections: list(persona.collections)} if persona and persona.collections else {}
        return {
            **settings,
            **self.sampling.set(persona.sampling if persona else {}),
            **collections,
            **self._panel(persona, language, is_open=is_open),
        }

    def toggle(self, persona_id: str, is_open: bool, language: str) -> Updates:
        """Open or close the panel."""
        return {
            self.is_open: not is_open,
            **self._panel(self._find(persona_id, language), language, is_open=not is_open),
        }

    def save_chosen(self, form: dict[Any, Any]) -> Updates:
        """Keep what stands in the panel in the chosen persona, or as a new one."""
        return self._save(form, to_text(form[self.picker]))

    def save_new(self, form: dict[Any, Any]) -> Updates:
        """Keep what stands in the panel as a new persona."""
        return self._save(form, "")

    def copy(self, form: dict[Any, Any]) -> Updates:
        """A copy of the chosen persona, chosen."""
        language = form[self.language]
        try:
            made = self.personas.duplicate(to_text(form[self.picker]), language)
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, form[self.language])))
            return {self.is_open: True}
        return self._chosen(form, made)

    def forget(self, form: dict[Any, Any]) -> Updates:
        """Delete the chosen persona."""
        try:
            self.personas.delete(to_text(form[self.picker]))
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, form[self.language])))
            return {self.is_open: True}
        return self._chosen(form, None)

    def _save(self, form: dict[Any, Any], persona_id: str) -> Updates:
        chosen = self.sampling.chosen(form)
        sampling = {name: chosen[name] for name in SAMPLING_NAMES if chosen[name] not in (None, [])}
        try:
            made = self.personas.save(
                Persona.checked(
                    id=persona_id,
                    name=to_text(form[self.name]),
                    system=to_text(form[self.system]),
                    sampling=sampling,
                    collections=to_names(form[self.collections]),
                )
            )
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, form[self.language])))
            return {self.is_open: True}
        gr.Info(to_html(t("persona_saved", form[self.language], name=made.name)))
        return self._chosen(form, made)

    def _chosen(self, form: dict[Any, Any], persona: Persona | None) -> Updates:
        """The picker with a persona, which the open conversation gets."""
        language, opened = form[self.language], to_text(form[self.opened])
        value = persona.id if persona else ""
        try:
            if opened and self.conversations.find(opened) is not None:
                self.conversations.change(opened, persona=value)
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
        return {
            self.picker: gr.update(choices=self._choices(language), value=value),
            self.is_open: True,
            **self._panel(persona, language, is_open=True),
        }

    def _panel(self, persona: Persona | None, language: str, *, is_open: bool) -> Updates:
        is_fixed = persona is not None and persona.is_built_in
        return {
            self.panel: gr.update(visible=is_open),
            self.name: gr.update(value=persona.name if persona else "", interactive=not is_fixed),
            self.system: gr.update(value=persona.system if persona else "", interactive=not is_fixed),
            self.hint: t("persona_built_in" if is_fixed else "persona_hint", language),
            self.save: gr.update(interactive=not is_fixed),
            self.delete: gr.update(interactive=persona is not None and not is_fixed),
        }

    def _choices(self, language: str) -> list[tuple[str, str]]:
        try:
            found = self.personas.all(language)
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            found = built_in(language)
        return [(t("persona_none", language), ""), *((one.name, one.id) for one in found)]

    def _known(self, persona_id: str) -> str:
        return persona_id if any(persona_id == value for _, value in self._choices("en")) else ""

    def _find(self, persona_id: str, language: str) -> Persona | None:
        try:
            return self.personas.find(persona_id, language)
        except AssistantError:
            return None
