"""A new run: data in, what it is, the model, how thorough, what it will take, start."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from app.error_texts import error_text, sentence_text
from app.format import to_html
from app.i18n import t
from app.paths import starter_dir
from app.studio import Studio
from app.studio_draft import (
    MAX_PROCESSES,
    PRESET_NAMES,
    STAGES,
    Draft,
    config_of,
    default_name,
    duplicate,
    form_of,
    preparation,
    preset_values,
    rounded_form,
    row_of,
    stage_for,
)
from app.studio_new_view import (
    drop_zone_html,
    estimate_html,
    form_html,
    problems_html,
    report_html,
    tokens_html,
)
from core.errors import AssistantError, ConfigError
from core.model.folder import find_model

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
MAX_PATH_CHARS = 4096
REWARDED = ("grpo", "ppo")
Form = dict[Any, Any]  # component -> its value
Updates = dict[Any, Any]  # component -> what it shows


class NewRunPanel:
    """Builds the panel and answers its events."""

    def __init__(self, studio: Studio, language: gr.Radio) -> None:
        self.studio, self.language = studio, language
        self._measuring: dict[str, threading.Event] = {}  # by page, what ends its measurement
        self._build()
        self.draft = [self.paths, self.prepared, self.report, self.base, self.reward, self.stage, self.preset,
                      self.edits, self.name, self.nproc]  # fmt: skip
        self.shown = [self.form, self.problems, self.estimate, self.base, self.reward]
        self.inputs: set[Any] = {language, *self.draft, self.path, self.row, self.text}
        self._wire()

    def _build(self) -> None:
        self.paths, self.prepared, self.report, self.edits = gr.State([]), gr.State(""), gr.State(None), gr.State({})
        with gr.Row(elem_classes="new-run"):
            with gr.Column(min_width=320, scale=3, elem_classes="data-column"):
                self.drop_zone = gr.HTML("", elem_id="data-zone", js_on_load="astrai.dropZone(element, trigger)")
                with gr.Row(elem_classes="by-path"):
                    self.path = gr.Textbox(max_lines=1, max_length=MAX_PATH_CHARS, elem_id="data-path", min_width=160)
                    self.look = gr.Button(size="sm", min_width=90, scale=0, elem_id="look")
                self.data = gr.HTML("", elem_id="data-report")
            with gr.Column(min_width=320, scale=2, elem_classes="choices"):
                self.base = gr.Dropdown([], elem_id="base", filterable=True)
                self.stage = gr.Radio(
                    [(name, name) for name in STAGES], value="sft", elem_id="stage", elem_classes="pills"
                )
                self.reward = gr.Dropdown([], elem_id="reward-model", visible=False)
                self.preset = gr.Radio(
                    [(name, name) for name in PRESET_NAMES], value="balanced", elem_id="preset", elem_classes="pills"
                )
                with gr.Row(elem_classes="naming"):
                    self.name = gr.Textbox(max_lines=1, max_length=80, elem_id="new-name", min_width=140, scale=3)
                    self.nproc = gr.Number(
                        value=1, minimum=1, maximum=MAX_PROCESSES, precision=0, elem_id="nproc", min_width=80, scale=1
                    )
                with gr.Row(elem_classes="starting"):
                    self.start = gr.Button(size="sm", min_width=130, variant="primary", elem_id="start-run")
                    self.queue = gr.Button(size="sm", min_width=110, elem_id="start-queued")
                with gr.Row(elem_classes="starting"):
                    self.measure = gr.Button(size="sm", min_width=150, elem_id="estimate")
                    self.stop_measuring = gr.Button(size="sm", min_width=90, visible=False, elem_id="estimate-stop")
                    self.check = gr.Button(size="sm", min_width=110, elem_id="preflight")
                self.problems = gr.HTML("", elem_id="new-problems")
                self.estimate = gr.HTML("", elem_id="estimate-found")
        with gr.Accordion(open=False, elem_id="all-settings") as self.settings:
            self.form = gr.HTML("", elem_id="settings-form", js_on_load="astraiStudio.settings(element, trigger)")
        with gr.Accordion(open=False, elem_id="token-inspector") as self.inspector:
            with gr.Row():
                self.row = gr.Number(
                    value=1, minimum=1, maximum=20, precision=0, elem_id="token-row", min_width=90, scale=0
                )
                self.text = gr.Textbox(max_lines=4, max_length=20_000, elem_id="token-text")
                self.tell = gr.Button(size="sm", min_width=120, scale=0, elem_id="show-tokens")
            self.tokens = gr.HTML("", elem_id="tokens")

    def _wire(self) -> None:
        shown = [self.form, self.problems, self.reward, self.estimate]
        looked = [self.data, self.paths, self.prepared, self.report, self.stage, *shown]
        self.drop_zone.upload(self.dropped, self.inputs, looked, **PRIVATE)
        self.look.click(self.look_at_path, self.inputs, looked, **PRIVATE)
        self.path.submit(self.look_at_path, self.inputs, looked, **PRIVATE)
        for choice in (self.base, self.stage, self.preset):
            choice.input(self.refresh, self.inputs, shown, queue=False, **PRIVATE)
        self.form.input(self.edit, self.inputs, [self.edits, self.problems], queue=False, **PRIVATE)
        self.tell.click(self.show_tokens, self.inputs, self.tokens, **PRIVATE)
        measured = [self.estimate, self.problems, self.stop_measuring]
        self.measure.click(self.estimate_run, self.inputs, measured, **PRIVATE)
        self.stop_measuring.click(self.stop_estimate, queue=False, **PRIVATE)

    # Handlers: plain values in and out; `form` holds the value of each input component.

    def dropped(self, form: Form, event: gr.EventData) -> Iterator[Updates]:
        """Look at what was dropped and copied."""
        try:
            folder = self.studio.dropped(str(getattr(event, "batch", "")))
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, form[self.language])))
            return
        yield from self._look([str(folder)], form)

    def look_at_path(self, form: Form) -> Iterator[Updates]:
        """Look at a file or folder that was typed."""
        given = str(form[self.path] or "").strip().strip("\"'")
        if given:
            yield from self._look([str(Path(given).expanduser())], form)

    def _look(self, paths: list[str], form: Form) -> Iterator[Updates]:
        from core.data.tokenizer import Tokenizer
        from studio.datasets import look_at

        language, draft = form[self.language], self._draft(form)
        yield {self.data: f'<p class="hint">{t("looking", language)}</p>'}
        try:
            report = look_at([Path(path) for path in paths], tokenizer=Tokenizer.load(tokenizer_of(draft.base)))
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            yield {self.data: f'<p class="error">{to_html(error_text(exc, language))}</p>'}
            return
        chosen = {
            self.paths: paths if report.kind is not None else [],
            self.prepared: "",
            self.report: report,
            self.stage: stage_for(report, draft.stage),
        }
        yield {self.data: report_html(report, language), **chosen, **self.refresh(form | chosen)}

    def refresh(self, form: Form) -> Updates:
        """The form of all settings for what is chosen, and what is wrong with it."""
        language, draft = form[self.language], self._draft(form)
        reward = {self.reward: gr.update(visible=draft.stage in REWARDED), self.estimate: ""}
        try:
            values = preset_values(draft, form[self.report])
        except AssistantError as exc:
            return {self.form: "", self.problems: problems_html([error_text(exc, language)], language), **reward}
        shown = form_html(form_of(draft), values, draft.edits, language)
        return {self.form: shown, self.problems: self._problems(draft, form), **reward}

    def edit(self, form: Form, event: gr.EventData) -> Updates:
        """Take over what was typed into the form, and say what is wrong with it."""
        given = getattr(event, "edits", {})
        edits = {str(name): str(text)[:4000] for name, text in given.items()} if isinstance(given, dict) else {}
        changed = form | {self.edits: edits}
        return {self.edits: edits, self.problems: self._problems(self._draft(changed), changed)}

    def _problems(self, draft: Draft, form: Form) -> str:
        """What is wrong with the settings; that no data is chosen yet is no fault of theirs."""
        language = form[self.language]
        if draft.stage != "pt" and not draft.base:
            return problems_html([t("no_base_yet", language)], language)
        try:
            config = config_of(draft, form[self.report])
        except ConfigError as exc:
            return problems_html([sentence_text(problem, language) for problem in exc.problems], language)
        except AssistantError as exc:
            return problems_html([error_text(exc, language)], language)
        rounded = rounded_form(config.to_dict())
        return f'<p class="hint">{t("rounded_base", language, form=rounded)}</p>' if rounded else ""

    def estimate_run(self, form: Form, request: gr.Request | None = None) -> Iterator[Updates]:
        """Measure two steps of the run as it would be started; another measurement of the same page ends."""
        from studio.estimate import estimate

        language, draft = form[self.language], self._draft(form)
        if not draft.has_data:
            gr.Warning(t("no_data_yet", language))
            return
        self.stop_estimate(request)
        stopped = self._measuring[_page_of(request)] = threading.Event()
        try:
            config = config_of(draft, form[self.report])
            waiting = f'<p class="hint">{t("estimating", language)}</p><progress></progress>'
            yield {self.estimate: waiting, self.stop_measuring: gr.update(visible=True)}
            found = estimate(config, prepare=preparation(draft), nproc=draft.nproc, should_stop=stopped.is_set)
            shown = {self.estimate: estimate_html(found, language) if found else ""}
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            shown = {self.estimate: "", self.problems: problems_html([error_text(exc, language)], language)}
        if self._measuring.get(_page_of(request)) is stopped:
            del self._measuring[_page_of(request)]
            yield {**shown, self.stop_measuring: gr.update(visible=False)}

    def stop_estimate(self, request: gr.Request | None = None) -> None:
        """End the measurement of this page, where there is one."""
        running = self._measuring.get(_page_of(request))
        if running is not None:
            running.set()

    def begin(self, form: Form, *, queued: bool) -> str:
        """Start the run, or let it wait; its id, or nothing where it could not be."""
        from studio import start

        language, draft = form[self.language], self._draft(form)
        if not draft.has_data:
            gr.Warning(t("no_data_yet", language))
            return ""
        name = draft.name or default_name(t(f"stage_{draft.stage}", language), draft, form[self.report])
        try:
            config, files = config_of(draft, form[self.report]), preparation(draft)
            job = start(self.studio.store, config, name=name, nproc=draft.nproc, prepare=files, queued=queued)
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return ""
        gr.Info(to_html(t("queued" if queued else "started", language, name=name)))
        return job.id

    def begin_check(self, form: Form) -> str:
        """Start the pre-flight of the run as it would be started; its id, or nothing where it could not be."""
        language, draft = form[self.language], self._draft(form)
        if not draft.has_data:
            gr.Warning(t("no_data_yet", language))
            return ""
        name = draft.name or default_name(t(f"stage_{draft.stage}", language), draft, form[self.report])
        try:
            return self.studio.preflight(config_of(draft, form[self.report]), preparation(draft), name).id
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return ""

    def show_tokens(self, form: Form) -> str:
        """The tokens of a row of the preview, or of a text."""
        from core.data.tokenizer import Tokenizer
        from studio.token_inspector import inspect

        language, draft, text = form[self.language], self._draft(form), str(form[self.text] or "").strip()
        value = text or row_of(form[self.report], int(form[self.row] or 1))
        if not value:
            gr.Warning(t("no_data_yet", language))
            return ""
        try:
            tokenizer = Tokenizer.load(tokenizer_of(draft.base))
            return tokens_html(inspect(value, tokenizer, "pt" if text else draft.stage), language)
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return ""

    def take_over(self, run: str, form: Form) -> Updates:
        """The draft that would start a run again."""
        language = form[self.language]
        try:
            job = self.studio.job(run)
            draft = duplicate(self.studio.config(job), job.spec.prepare, job.name, job.spec.nproc)
            draft = replace(draft, base=str(find_model(draft.base)) if draft.base else "")
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return {}
        source = draft.prepared or ", ".join(draft.paths)
        values = {
            self.paths: list(draft.paths), self.prepared: draft.prepared, self.base: draft.base,
            self.reward: draft.reward_model, self.stage: draft.stage, self.preset: draft.preset,
            self.edits: draft.edits, self.name: draft.name, self.nproc: draft.nproc, self.report: None,
        }  # fmt: skip
        return {
            **values,
            **self.refresh(form | values),
            self.base: gr.update(choices=self._bases(language, draft.base), value=draft.base),
            self.data: f'<p class="hint">{to_html(source)}</p>',
        }

    def start_from(self, path: str, form: Form) -> Updates:
        """Train a model further."""
        bases = self._bases(form[self.language], path)
        return {**self.refresh(form | {self.base: path}), self.base: gr.update(choices=bases, value=path)}

    def _bases(self, language: str, chosen: str = "") -> list[tuple[str, str]]:
        """The models that a run can start from."""
        choices = [(t("base_fresh", language), "")]
        try:
            choices += [(one.name, str(one.path)) for one in self.studio.models() if not one.is_reward_model]
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
        if chosen and chosen not in {path for _, path in choices}:
            choices.append((Path(chosen).name, chosen))
        return choices

    def _rewards(self) -> list[tuple[str, str]]:
        """The reward models of this machine."""
        try:
            return [(one.name, str(one.path)) for one in self.studio.models() if one.is_reward_model]
        except AssistantError:
            return []

    def show(self, form: Form) -> Updates:
        """The panel as it opens: the models there are now."""
        language, draft = form[self.language], self._draft(form)
        base = draft.base or (str(starter_dir()) if starter_dir().is_dir() else "")
        rewards = self._rewards()
        reward = draft.reward_model or next((path for _, path in rewards), None)
        return {
            **self.refresh(form | {self.base: base, self.reward: reward}),
            self.base: gr.update(choices=self._bases(language, base), value=base),
            self.reward: gr.update(choices=rewards, value=reward, visible=draft.stage in REWARDED),
        }

    def _draft(self, form: Form) -> Draft:
        """What is chosen, from values that a browser sent."""
        stage, preset = form[self.stage], form[self.preset]
        return Draft(
            paths=tuple(str(path) for path in form[self.paths] or []),
            prepared=str(form[self.prepared] or ""),
            base=str(form[self.base] or ""),
            reward_model=str(form[self.reward] or ""),
            stage=stage if stage in STAGES else "sft",
            preset=preset if preset in PRESET_NAMES else "balanced",
            edits={str(key): str(value) for key, value in (form[self.edits] or {}).items()},
            name=" ".join(str(form[self.name] or "").split())[:80],
            nproc=max(1, min(int(form[self.nproc] or 1), MAX_PROCESSES)),
        )

    def texts(self, language: str) -> Updates:
        """What each component with text shows in a language."""
        return {
            self.drop_zone: drop_zone_html(language),
            self.path: gr.update(label=t("data_path", language), placeholder=t("data_path_example", language)),
            self.look: gr.update(value=t("look_at_data", language)),
            self.base: gr.update(label=t("base_model", language)),
            self.reward: gr.update(label=t("reward_model", language)),
            self.stage: gr.update(
                label=t("stage", language), choices=[(t(f"stage_{name}", language), name) for name in STAGES]
            ),
            self.preset: gr.update(
                label=t("preset", language), choices=[(t(f"preset_{name}", language), name) for name in PRESET_NAMES]
            ),
            self.name: gr.update(label=t("run_name", language)),
            self.nproc: gr.update(label=t("nproc", language)),
            self.measure: gr.update(value=t("estimate", language)),
            self.stop_measuring: gr.update(value=t("estimate_stop", language)),
            self.queue: gr.update(value=t("start_queued", language)),
            self.check: gr.update(value=t("act_preflight", language)),
            self.start: gr.update(value=t("start_now", language)),
            self.settings: gr.update(label=t("all_settings", language)),
            self.inspector: gr.update(label=t("token_inspector", language)),
            self.row: gr.update(label=t("token_row", language)),
            self.text: gr.update(label=t("token_text", language)),
            self.tell: gr.update(value=t("show_tokens", language)),
        }


def _page_of(request: gr.Request | None) -> str:
    """The page that asks, among those that are open."""
    return str(request.session_hash) if request is not None else ""


def tokenizer_of(base: str) -> Path:
    """The folder whose tokenizer a run uses: the model's, or of a fresh one the starter's."""
    return find_model(base) if base else starter_dir()
