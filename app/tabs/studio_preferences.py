"""Preferences: pairs to review, a ranking, runs that learn from them, and what a blind comparison says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from app.error_texts import error_text
from app.format import to_html
from app.i18n import t
from app.preference_rows import ACCEPTED, MAX_RANKED, Answer, Review
from app.services import Services
from app.side_by_side import candidates
from app.studio_preferences_view import (
    MAX_EDIT_CHARS,
    PAGE_PAIRS,
    contest_html,
    counts_html,
    no_contest_html,
    pair_files_html,
    pairs_html,
    ranking_html,
    readiness_html,
)
from core.errors import AssistantError

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
SHOWN: dict[str, tuple[Review, ...]] = {"new": (Review.NEW,), "accepted": ACCEPTED, "rejected": (Review.REJECTED,)}
RANK_SAMPLING = {"temperature": 0.9, "top_p": 0.95, "max_new_tokens": 160}
MAX_PROMPT_CHARS = 4000
Updates = dict[Any, Any]  # component -> what it shows


class PreferencesPanel:
    """Builds the panel and answers its events."""

    def __init__(self, services: Services, language: gr.Radio) -> None:
        self.services, self.language = services, language
        self._build()
        self.inputs: set[Any] = {language, self.shown, self.page, self.prompt, self.count, self.answers, self.reward}
        self.outputs = [self.counts, self.pairs, self.page, self.previous, self.next, self.keep_all, self.readiness,
                        self.contest, self.adopt, self.roll_back, self.reward, self.reinforce]  # fmt: skip
        self._wire()

    def _build(self) -> None:
        self.page, self.answers = gr.State(0), gr.State([])
        with gr.Row(elem_classes="new-run"):
            with gr.Column(min_width=320, scale=3):
                self.counts = gr.HTML("", elem_id="pair-counts")
                with gr.Row(elem_classes="pair-head"):
                    self.shown = gr.Radio(
                        [(name, name) for name in SHOWN], value="new", show_label=False, container=False,
                        elem_id="pair-filter", elem_classes="pills", min_width=240,
                    )  # fmt: skip
                    self.files = gr.HTML(
                        "", elem_id="pair-files", js_on_load="astraiStudio.pairFiles(element, trigger)", min_height=0
                    )
                self.pairs = gr.HTML("", elem_id="pairs", js_on_load="astraiStudio.buttons(element, trigger)")
                with gr.Row(elem_classes="starting"):
                    self.previous = gr.Button("‹", size="sm", min_width=40, scale=0)
                    self.next = gr.Button("›", size="sm", min_width=40, scale=0)
                    self.keep_all = gr.Button(size="sm", min_width=140, scale=0, elem_id="keep-all")
            with gr.Column(min_width=300, scale=2, elem_classes="choices"):
                self.improve_title = gr.HTML("")
                self.readiness = gr.HTML("", elem_id="readiness")
                self.improve = gr.Button(size="sm", variant="primary", elem_id="improve")
                self.train_reward = gr.Button(size="sm", elem_id="train-reward")
                self.reward = gr.Dropdown([], elem_id="rlhf-reward", visible=False)
                self.reinforce = gr.Button(size="sm", elem_id="reinforce", interactive=False)
                self.contest_title = gr.HTML("")
                self.contest = gr.HTML("", elem_id="contest")
                with gr.Row(elem_classes="starting"):
                    self.adopt = gr.Button(size="sm", visible=False, elem_id="adopt")
                    self.roll_back = gr.Button(size="sm", visible=False, elem_id="roll-back")
        with gr.Accordion(open=False, elem_id="rank") as self.rank:
            with gr.Row(elem_classes="starting"):
                self.prompt = gr.Textbox(max_lines=4, max_length=MAX_PROMPT_CHARS, elem_id="rank-prompt", scale=4)
                self.count = gr.Number(value=4, minimum=2, maximum=MAX_RANKED, precision=0, elem_id="rank-count",
                                       min_width=80, scale=1)  # fmt: skip
                self.generate = gr.Button(size="sm", min_width=130, scale=0, elem_id="rank-generate")
            self.ranking = gr.HTML("", elem_id="ranking", js_on_load="astraiStudio.buttons(element, trigger)")
            self.save = gr.Button(size="sm", visible=False, elem_id="rank-save")

    def _wire(self) -> None:
        shown: dict[str, Any] = {"fn": self.show, "inputs": self.inputs, "outputs": self.outputs, **PRIVATE}
        self.pairs.input(self.review, self.inputs, self.outputs, **PRIVATE)
        self.files.input(**shown)
        self.keep_all.click(self.keep_shown, self.inputs, self.outputs, **PRIVATE)
        self.shown.input(lambda: 0, outputs=self.page, queue=False, **PRIVATE).then(**shown)
        self.previous.click(lambda page: max(page - 1, 0), self.page, self.page, queue=False, **PRIVATE).then(**shown)
        self.next.click(lambda page: page + 1, self.page, self.page, queue=False, **PRIVATE).then(**shown)
        self.adopt.click(self.use_new, self.inputs, self.outputs, **PRIVATE)
        self.roll_back.click(self.go_back, self.inputs, self.outputs, **PRIVATE)
        ranked = [self.answers, self.ranking, self.save]
        self.generate.click(self.answer, self.inputs, ranked, **PRIVATE)
        self.ranking.input(self.move, self.inputs, ranked, queue=False, **PRIVATE)
        self.save.click(self.keep_ranking, self.inputs, ranked, **PRIVATE).then(**shown)

    # Handlers: plain values in and out; `form` holds the value of each input component.

    def show(self, form: dict[Any, Any]) -> Updates:
        """The pairs and all that tells how far the loop is."""
        language, services = form[self.language], self.services
        reviews = SHOWN.get(form[self.shown], (Review.NEW,))
        counts = services.preferences.counts()
        total = sum(counts.by_review[review] for review in reviews)
        page = max(0, min(int(form[self.page] or 0), (total - 1) // PAGE_PAIRS))
        pairs = services.preferences.pairs(reviews, limit=PAGE_PAIRS, offset=page * PAGE_PAIRS)
        return {
            self.counts: counts_html(counts, language),
            self.pairs: pairs_html(pairs, language),
            self.page: page,
            self.previous: gr.update(visible=total > PAGE_PAIRS, interactive=page > 0),
            self.next: gr.update(visible=total > PAGE_PAIRS, interactive=(page + 1) * PAGE_PAIRS < total),
            self.keep_all: gr.update(visible=bool(pairs) and form[self.shown] == "new"),
            self.readiness: readiness_html(services.improvement.readiness("dpo"), language),
            **self._contest(language),
            **self._reward_models(),
        }

    def _contest(self, language: str) -> Updates:
        test = self.services.blind_test
        try:
            contest = test.contest()
            tally = test.tally(contest) if contest else None
        except AssistantError as exc:
            return {self.contest: f'<p class="error">{to_html(error_text(exc, language))}</p>'}
        current, shown = self._current(), no_contest_html(language)
        if contest is not None and tally is not None:
            new, old = (test.title(version, language) for version in (contest.new, contest.old))
            shown = contest_html(new, old, tally, language)
        return {
            self.contest: shown,
            self.adopt: gr.update(visible=contest is not None and contest.new.name != current),
            self.roll_back: gr.update(visible=bool(current)),
        }

    def _current(self) -> str:
        """The version that answers in chat; empty for the model itself."""
        models = self.services.models
        return models.versions.current(models.choice.path).name if models.choice else ""

    def _reward_models(self) -> Updates:
        try:
            jobs = self.services.improvement.reward_models()
        except AssistantError:
            jobs = []
        choices = [(job.name, str(job.folder)) for job in jobs]
        return {
            self.reward: gr.update(choices=choices, value=choices[0][1] if choices else None, visible=len(jobs) > 1),
            self.reinforce: gr.update(interactive=bool(jobs)),
        }

    def review(self, form: dict[Any, Any], event: gr.EventData) -> Updates:
        """Do what a button of a pair says."""
        act, given = str(getattr(event, "act", "")), str(getattr(event, "pair", ""))
        preferences = self.services.preferences
        if not (given.isascii() and given.isdigit()):
            return {}
        number = int(given)
        try:
            if act in ("keep", "reject"):
                preferences.review([number], Review.KEPT if act == "keep" else Review.REJECTED)
            elif act == "delete":
                preferences.delete([number])
            elif act == "edit":
                chosen, rejected = (str(getattr(event, name, ""))[:MAX_EDIT_CHARS] for name in ("chosen", "rejected"))
                preferences.edit(number, chosen=chosen, rejected=rejected)
            elif act == "swap":
                pair = next((pair for pair in preferences.pairs() if pair.id == number), None)
                if pair is not None:
                    preferences.edit(number, chosen=pair.rejected.text, rejected=pair.chosen.text)
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, form[self.language])))
        return self.show(form)

    def keep_shown(self, form: dict[Any, Any]) -> Updates:
        """Keep every new pair that is shown."""
        page = int(form[self.page] or 0)
        if form[self.shown] == "new":
            pairs = self.services.preferences.pairs((Review.NEW,), limit=PAGE_PAIRS, offset=page * PAGE_PAIRS)
            self.services.preferences.review([pair.id for pair in pairs], Review.KEPT)
        return self.show(form)

    def begin(self, form: dict[Any, Any], *, what: str) -> str:
        """Start a run on the accepted pairs; its id, or nothing where it could not be."""
        improvement, language = self.services.improvement, form[self.language]
        starts: dict[str, Any] = {
            "improve": improvement.improve,
            "reward": improvement.train_reward_model,
            "reinforce": lambda: improvement.reinforce(Path(str(form[self.reward] or ""))),
        }
        try:
            job = starts[what]()
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return ""
        gr.Info(to_html(t("started", language, name=job.name)))
        return str(job.id)

    def use_new(self, form: dict[Any, Any]) -> Updates:
        """Let the new version answer."""
        return self._change_version(form, is_back=False)

    def go_back(self, form: dict[Any, Any]) -> Updates:
        """Let the version before answer again."""
        return self._change_version(form, is_back=True)

    def _change_version(self, form: dict[Any, Any], *, is_back: bool) -> Updates:
        test, language = self.services.blind_test, form[self.language]
        try:
            contest = test.contest()
            if contest is None:
                return self.show(form)
            if is_back:
                version = test.roll_back(contest)
            else:
                test.adopt(contest)
                version = contest.new
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return {}
        gr.Info(to_html(t("ab_answers_now", language, name=test.title(version, language))))
        return self.show(form)

    def answer(self, form: dict[Any, Any]) -> Iterator[Updates]:
        """Several answers to one prompt, as they grow."""
        models, text = self.services.models, str(form[self.prompt] or "").strip()
        if not text:
            return
        messages = [{"role": "user", "content": text}]
        answers: list[Answer] = []
        try:
            model = models.model()
            for answers in candidates(
                model, messages, count=int(form[self.count] or 2), sampling=RANK_SAMPLING, version=self._current()
            ):
                yield {self.ranking: ranking_html(answers, form[self.language]), self.save: gr.update(visible=False)}
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, form[self.language])))
            return
        different = list({answer.text: answer for answer in answers if answer.text.strip()}.values())
        yield {
            self.answers: [messages, different],
            self.ranking: ranking_html(different, form[self.language]),
            self.save: gr.update(visible=len(different) > 1),
        }

    def move(self, form: dict[Any, Any], event: gr.EventData) -> Updates:
        """Move an answer up or down."""
        if not form[self.answers]:
            return {}
        messages, answers = form[self.answers]
        given, act = str(getattr(event, "place", "")), getattr(event, "act", "")
        place = int(given) if given.isascii() and given.isdigit() else -1
        other = place + (-1 if act == "up" else 1)
        moved = list(answers)
        if 0 <= place < len(moved) and 0 <= other < len(moved):
            moved[place], moved[other] = moved[other], moved[place]
        return {self.answers: [messages, moved], self.ranking: ranking_html(moved, form[self.language])}

    def keep_ranking(self, form: dict[Any, Any]) -> Updates:
        """Make all pairs of a ranking."""
        if not form[self.answers]:
            return {}
        messages, answers = form[self.answers]
        try:
            count = self.services.preferences.rank(messages, answers)
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, form[self.language])))
            return {}
        gr.Info(t("rank_saved", form[self.language], count=count))
        return {self.answers: [], self.ranking: "", self.save: gr.update(visible=False)}

    def texts(self, language: str) -> Updates:
        """What each component with text shows in a language."""
        buttons = {
            self.keep_all: "keep_all", self.improve: "improve", self.train_reward: "train_reward_model",
            self.reinforce: "reinforce", self.adopt: "ab_adopt", self.roll_back: "ab_roll_back",
            self.generate: "rank_generate", self.save: "rank_save",
        }  # fmt: skip
        labels = {
            self.reward: "reward_model",
            self.prompt: "answer_prompt",
            self.count: "rank_count",
            self.rank: "rank_title",
        }
        return {
            self.shown: gr.update(choices=[(t(f"pairs_{name}", language), name) for name in SHOWN]),
            self.files: pair_files_html(language),
            self.improve_title: f"<h3>{t('improve_title', language)}</h3>",
            self.contest_title: f"<h3>{t('ab_title', language)}</h3>",
            **{component: gr.update(value=t(key, language)) for component, key in buttons.items()},
            **{component: gr.update(label=t(key, language)) for component, key in labels.items()},
        }
