"""A new run: data in, what it is, the model, how thorough, what it will take, start."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

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

if TYPE_CHECKING:
    from studio.datasets import DataReport

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
MAX_PATH_CHARS = 4096
REWARDED = ("grpo", "ppo")
Updates = dict[Any, Any]  # component -> what it shows


class NewRunPanel:
    """Builds the panel and answers its events."""

    def __init__(self, studio: Studio, language: gr.Radio) -> None:
        self.studio, self.language = studio, language
        self._build()
        self.draft = [self.paths, self.prepared, self.base, self.reward, self.stage, self.preset, self.edits,
                      self.name, self.nproc]  # fmt: skip
        self._wire()

    def _build(self) -> None:
        self.paths, self.prepared, self.report, self.edits = gr.State([]), gr.State(""), gr.State(None), gr.State({})
        with gr.Row(elem_classes="intake"):
            self.drop_zone = gr.HTML("", elem_id="data-zone", js_on_load="astrai.dropZone(element, trigger)")
            with gr.Column(min_width=280, elem_classes="by-path"):
                self.path = gr.Textbox(max_lines=1, max_length=MAX_PATH_CHARS, elem_id="data-path")
                self.look = gr.Button(size="sm", min_width=80, elem_id="look")
        self.data = gr.HTML("", elem_id="data-report")
        with gr.Row(elem_classes="choices"):
            self.base = gr.Dropdown([], elem_id="base", min_width=220, filterable=True)
            self.reward = gr.Dropdown([], elem_id="reward-model", min_width=220, visible=False)
        self.stage = gr.Radio([(name, name) for name in STAGES], value="sft", elem_id="stage", elem_classes="pills")
        self.preset = gr.Radio(
            [(name, name) for name in PRESET_NAMES], value="balanced", elem_id="preset", elem_classes="pills"
        )
        with gr.Row(elem_classes="start-row"):
            self.name = gr.Textbox(max_lines=1, max_length=80, elem_id="new-name", min_width=160)
            self.nproc = gr.Number(
                value=1, minimum=1, maximum=MAX_PROCESSES, precision=0, elem_id="nproc", min_width=90, scale=0
            )
            self.measure = gr.Button(size="sm", min_width=150, elem_id="estimate", scale=0)
            self.queue = gr.Button(size="sm", min_width=110, elem_id="start-queued", scale=0)
            self.start = gr.Button(size="sm", min_width=130, variant="primary", elem_id="start-run", scale=0)
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
        about = [self.report, self.language, *self.draft]
        by_path = [self.path, *about]
        refresh: dict[str, Any] = {"fn": self.refresh, "inputs": about, "outputs": shown, "queue": False, **PRIVATE}
        self.drop_zone.upload(self.dropped, about, looked, **PRIVATE)
        self.look.click(self.look_at_path, by_path, looked, **PRIVATE)
        self.path.submit(self.look_at_path, by_path, looked, **PRIVATE)
        for choice in (self.base, self.stage, self.preset):
            choice.input(**refresh)
        self.form.input(self.edit, about, [self.edits, self.problems], queue=False, **PRIVATE)
        self.tell.click(self.show_tokens, [self.row, self.text, *about], self.tokens, **PRIVATE)
        self.measure.click(self.estimate_run, about, [self.estimate, self.problems], **PRIVATE)

    # Handlers: plain values in and out.

    def dropped(
        self, report: "DataReport | None", language: str, *chosen: Any, event: gr.EventData
    ) -> Iterator[list[Any]]:
        """Look at what was dropped and copied."""
        try:
            folder = self.studio.dropped(str(getattr(event, "batch", "")))
        except AssistantError as exc:
            gr.Warning(to_html(str(exc)))
            return
        yield from self._look([str(folder)], language, chosen)

    def look_at_path(self, path: str, report: "DataReport | None", language: str, *chosen: Any) -> Iterator[list[Any]]:
        """Look at a file or folder that was typed."""
        given = path.strip().strip("\"'")
        if given:
            yield from self._look([str(Path(given).expanduser())], language, chosen)

    def _look(self, paths: list[str], language: str, chosen: tuple[Any, ...]) -> Iterator[list[Any]]:
        from core.data.tokenizer import Tokenizer
        from studio.datasets import look_at

        yield [f'<p class="hint">{t("looking", language)}</p>', *[gr.skip()] * 8]
        draft = _draft(chosen)
        try:
            tokenizer = Tokenizer.load(tokenizer_of(draft.base))
            report = look_at([Path(path) for path in paths], tokenizer=tokenizer)
        except AssistantError as exc:
            gr.Warning(to_html(str(exc)))
            yield [f'<p class="error">{to_html(str(exc))}</p>', *[gr.skip()] * 8]
            return
        stage = stage_for(report, draft.stage)
        kept = paths if report.kind is not None else []
        now = [kept, "", draft.base, draft.reward_model, stage, *chosen[5:]]
        yield [report_html(report, language), kept, "", report, stage, *self.refresh(report, language, *now)]

    def refresh(self, report: "DataReport | None", language: str, *chosen: Any) -> list[Any]:
        """The form of all settings for what is chosen, and what is wrong with it."""
        draft = _draft(chosen)
        reward = gr.update(visible=draft.stage in REWARDED)
        try:
            values = preset_values(draft, report)
        except AssistantError as exc:
            return ["", problems_html([str(exc)], language), reward, ""]
        return [
            form_html(form_of(draft), values, draft.edits, language),
            self._problems(draft, report, language),
            reward,
            "",
        ]

    def edit(
        self, report: "DataReport | None", language: str, *chosen: Any, event: gr.EventData
    ) -> tuple[dict[str, str], str]:
        """Take over what was typed into the form, and say what is wrong with it."""
        given = getattr(event, "edits", {})
        edits = {str(name): str(text)[:4000] for name, text in given.items()} if isinstance(given, dict) else {}
        draft = _draft([*chosen[:6], edits, *chosen[7:]])
        return edits, self._problems(draft, report, language)

    def _problems(self, draft: Draft, report: "DataReport | None", language: str) -> str:
        """What is wrong with the settings; that nothing is chosen yet is no fault of theirs."""
        if draft.stage != "pt" and not draft.base:
            return problems_html([t("no_base_yet", language)], language)
        try:
            config_of(draft, report)
        except ConfigError as exc:
            return problems_html(exc.message.removesuffix(".").split("; "), language)
        except AssistantError as exc:
            return problems_html([str(exc)], language)
        return ""

    def estimate_run(self, report: "DataReport | None", language: str, *chosen: Any) -> Iterator[tuple[Any, Any]]:
        """Measure two steps of the run as it would be started."""
        from studio.estimate import estimate

        draft = _draft(chosen)
        if not draft.paths and not draft.prepared:
            gr.Warning(t("no_data_yet", language))
            return
        try:
            config = config_of(draft, report)
            yield f'<p class="hint">{t("estimating", language)}</p><progress></progress>', ""
            found = estimate(config, prepare=preparation(draft), nproc=draft.nproc)
        except AssistantError as exc:
            gr.Warning(to_html(str(exc)))
            yield "", problems_html([str(exc)], language)
            return
        yield estimate_html(found, language), gr.skip()

    def begin(self, report: "DataReport | None", language: str, *chosen: Any, queued: bool) -> str:
        """Start the run, or let it wait; its id, or nothing where it could not be."""
        from studio import start

        draft = _draft(chosen)
        if not draft.paths and not draft.prepared:
            gr.Warning(t("no_data_yet", language))
            return ""
        name = draft.name or default_name(draft, t(f"stage_{draft.stage}", language))
        try:
            config = config_of(draft, report)
            job = start(
                self.studio.store, config, name=name, nproc=draft.nproc, prepare=preparation(draft), queued=queued
            )
        except AssistantError as exc:
            gr.Warning(to_html(str(exc)))
            return ""
        gr.Info(to_html(t("queued" if queued else "started", language, name=name)))
        return job.id

    def show_tokens(self, row: float, text: str, report: "DataReport | None", language: str, *chosen: Any) -> str:
        """The tokens of a row of the preview, or of a text."""
        from core.data.tokenizer import Tokenizer
        from studio.token_inspector import inspect

        draft = _draft(chosen)
        try:
            value = text.strip() or row_of(report, int(row or 1))
            if not value:
                gr.Warning(t("no_data_yet", language))
                return ""
            stage = "pt" if text.strip() else draft.stage
            return tokens_html(inspect(value, Tokenizer.load(tokenizer_of(draft.base)), stage), language)
        except AssistantError as exc:
            gr.Warning(to_html(str(exc)))
            return ""

    def take_over(self, run: str, language: str) -> Updates:
        """The draft that would start a run again."""
        try:
            job = self.studio.job(run)
            draft = duplicate(self.studio.config(job), job.spec.prepare, job.name, job.spec.nproc)
        except AssistantError as exc:
            gr.Warning(to_html(str(exc)))
            return {self.path: gr.skip()}
        source = draft.prepared or ", ".join(draft.paths)
        values = [list(draft.paths), draft.prepared, draft.base, draft.reward_model, draft.stage, draft.preset,
                  draft.edits, draft.name, draft.nproc]  # fmt: skip
        shown = dict(
            zip(
                [self.form, self.problems, self.reward, self.estimate],
                self.refresh(None, language, *values),
                strict=True,
            )
        )
        return {
            **dict(zip(self.draft, values, strict=True)),
            **shown,
            self.base: gr.update(choices=self._bases(language, draft.base), value=draft.base),
            self.data: f'<p class="hint">{to_html(source)}</p>',
            self.report: None,
        }

    def start_from(self, path: str, language: str) -> Updates:
        """Train a model further."""
        return {self.base: gr.update(choices=self._bases(language, path), value=path)}

    def _bases(self, language: str, chosen: str = "") -> list[tuple[str, str]]:
        """The models that a run can start from."""
        choices = [(t("base_fresh", language), "")]
        try:
            choices += [(one.name, str(one.path)) for one in self.studio.models() if not one.is_reward_model]
        except AssistantError as exc:
            gr.Warning(to_html(str(exc)))
        if chosen and chosen not in {path for _, path in choices}:
            choices.append((Path(chosen).name, chosen))
        return choices

    def rewards(self) -> list[tuple[str, str]]:
        """The reward models of this machine."""
        try:
            return [(one.name, str(one.path)) for one in self.studio.models() if one.is_reward_model]
        except AssistantError:
            return []

    def show(self, report: "DataReport | None", language: str, *chosen: Any) -> Updates:
        """The panel as it opens: the models there are now."""
        draft = _draft(chosen)
        base = draft.base or (str(starter_dir()) if starter_dir().is_dir() else "")
        now = [*chosen[:2], base, *chosen[3:]]
        shown = dict(
            zip(
                [self.form, self.problems, self.reward, self.estimate],
                self.refresh(report, language, *now),
                strict=True,
            )
        )
        rewards = self.rewards()
        return {
            **shown,
            self.base: gr.update(choices=self._bases(language, base), value=base),
            self.reward: gr.update(
                choices=rewards,
                value=draft.reward_model or (rewards[0][1] if rewards else None),
                visible=draft.stage in REWARDED,
            ),
        }

    @property
    def shown(self) -> list[Any]:
        """What `show` changes."""
        return [self.form, self.problems, self.reward, self.estimate, self.base]

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
            self.queue: gr.update(value=t("start_queued", language)),
            self.start: gr.update(value=t("start_now", language)),
            self.settings: gr.update(label=t("all_settings", language)),
            self.inspector: gr.update(label=t("token_inspector", language)),
            self.row: gr.update(label=t("token_row", language)),
            self.text: gr.update(label=t("token_text", language)),
            self.tell: gr.update(value=t("show_tokens", language)),
        }


def tokenizer_of(base: str) -> Path:
    """The folder whose tokenizer a run uses: the model's, or of a fresh one the starter's."""
    from core.model.folder import find_model

    return find_model(base) if base else starter_dir()


def _draft(chosen: Sequence[Any]) -> Draft:
    """What is chosen, from the values of the panel's components, which a browser sent."""
    paths, prepared, base, reward, stage, preset, edits, name, nproc = chosen
    return Draft(
        paths=tuple(str(path) for path in paths or []),
        prepared=str(prepared or ""),
        base=str(base or ""),
        reward_model=str(reward or ""),
        stage=stage if stage in STAGES else "sft",
        preset=preset if preset in PRESET_NAMES else "balanced",
        edits={str(key): str(value) for key, value in (edits or {}).items()},
        name=" ".join(str(name or "").split())[:80],
        nproc=max(1, min(int(nproc or 1), MAX_PROCESSES)),
    )
