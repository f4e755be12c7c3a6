"""The blind comparison under the chat: one question, two answers without names, a vote, and what the votes say."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.ab_test import LEFT, RIGHT, TIE, Trial
from app.error_texts import error_text
from app.format import tally_line, to_html, to_text
from app.i18n import t
from app.services import Services
from app.versions import Version
from core.errors import AssistantError

Updates = dict[Any, Any]  # component -> what it shows


class BlindPanel:
    """Builds the panel, which is there once there are two versions, and answers its events."""

    def __init__(self, services: Services) -> None:
        self.blind_test = services.blind_test
        with gr.Accordion(open=False, visible=False, elem_id="blind") as self.panel:
            self.intro = gr.Markdown()
            with gr.Row():
                self.question = gr.Textbox(
                    show_label=False, lines=1, max_lines=4, max_length=20_000, scale=5, container=False
                )
                self.ask = gr.Button(size="sm", scale=1, elem_id="blind-ask")
            with gr.Row(elem_id="blind-answers"):
                self.left = gr.Markdown(elem_id="blind-left", container=True)
                self.right = gr.Markdown(elem_id="blind-right", container=True)
            with gr.Row(elem_id="blind-votes"):
                self.votes = {side: gr.Button(size="sm", interactive=False) for side in (LEFT, TIE, RIGHT)}
            self.tally = gr.Markdown(elem_id="blind-tally")
            with gr.Row():
                self.adopt = gr.Button(size="sm", elem_id="blind-adopt")
                self.back = gr.Button(size="sm", elem_id="blind-back")
        self.trial = gr.State(None)  # on the server: the browser is not told which answer is whose

    def wire(self, language: Any, sampling: list[Any], options: dict[str, Any]) -> None:
        asked: dict[str, Any] = {"inputs": [self.question, language, *sampling], "outputs": self.answering}
        for trigger in (self.ask.click, self.question.submit):
            trigger(self.compare, concurrency_limit=2, **asked, **options)
        for side, button in self.votes.items():
            button.click(self._voting(side), [self.trial, language], self.outputs, **options)
        self.adopt.click(self.use_new, language, self.outputs, **options)
        self.back.click(self.roll_back, language, self.outputs, **options)

    @property
    def answering(self) -> list[Any]:
        return [self.left, self.right, self.trial, *self.votes.values()]

    @property
    def outputs(self) -> list[Any]:
        return [self.panel, self.intro, self.tally, self.adopt, self.back, *self.answering]

    # Handlers

    def compare(self, question: str, language: str, *sampling: Any) -> Iterator[Updates]:
        """Stream both answers; then a vote is asked for."""
        text = to_text(question)
        if not text.strip():
            yield {self.trial: gr.skip()}  # without any update everything would be emptied
            return
        values = dict(zip(("temperature", "top_p", "max_new_tokens"), sampling, strict=False))
        values["max_new_tokens"] = int(values["max_new_tokens"])
        yield self._voted(None)
        trial = None
        try:
            for trial in self.blind_test.ask([{"role": "user", "content": text}], values):
                left, right = trial.texts
                yield {self.left: left, self.right: right}
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            return
        if trial is None or not trial.is_whole:
            yield self._voted(None)
        elif trial.has_empty_answer:
            gr.Info(t("blind_empty", language))
            yield self._voted(None)
        else:
            yield self._voted(trial)

    def vote(self, side: str, trial: Trial | None, language: str) -> Updates:
        """Count the vote; the answers stay to be read."""
        if trial is not None:
            try:
                self.blind_test.vote(trial, side)
            except AssistantError as exc:
                gr.Warning(to_html(error_text(exc, language)))
        return {**self.show(language), **self._voted(None)}

    def use_new(self, language: str) -> Updates:
        """Let the new version answer from now on."""
        contest = self.blind_test.contest()
        if contest is not None:
            try:
                self.blind_test.adopt(contest)
                self._tell(contest.new, language)
            except AssistantError as exc:
                gr.Warning(to_html(error_text(exc, language)))
        return self.show(language)

    def roll_back(self, language: str) -> Updates:
        """Let the version before answer again."""
        contest = self.blind_test.contest()
        if contest is not None:
            try:
                version = self.blind_test.roll_back(contest)
                self._tell(version, language)
            except AssistantError as exc:
                gr.Warning(to_html(error_text(exc, language)))
        return self.show(language)

    def show(self, language: str) -> Updates:
        """The panel for the contest that there is now."""
        try:
            contest = self.blind_test.contest()
            tally = self.blind_test.tally(contest) if contest else None
        except AssistantError as exc:
            gr.Warning(to_html(error_text(exc, language)))
            contest = tally = None
        if contest is None or tally is None:
            return {self.panel: gr.update(visible=False)}
        return {
            self.panel: gr.update(visible=True, label=t("blind_title", language)),
            self.intro: t(
                "blind_intro",
                language,
                old=to_html(self.blind_test.title(contest.old, language)),
                new=to_html(self.blind_test.title(contest.new, language)),
            ),
            self.tally: tally_line(tally, language),
            self.adopt: gr.update(visible=not self.blind_test.answers_now(contest)),
            self.back: gr.update(visible=self.blind_test.can_roll_back(contest)),
        }

    def texts(self, language: str) -> Updates:
        names = {self.ask: "blind_ask", self.adopt: "adopt", self.back: "roll_back"}
        names |= dict(zip(self.votes.values(), ("vote_left", "vote_tie", "vote_right"), strict=True))
        return {
            self.question: gr.update(placeholder=t("composer", language), label=t("composer", language)),
            self.panel: gr.update(label=t("blind_title", language)),
            **{button: gr.update(value=t(key, language)) for button, key in names.items()},
        }

    def _tell(self, version: Version, language: str) -> None:
        """That a version answers from now on."""
        gr.Info(t("version_now", language, name=to_html(self.blind_test.title(version, language))))

    def _voting(self, side: str) -> Any:
        def vote(trial: Trial | None, language: str) -> Updates:
            return self.vote(side, trial, language)

        return vote

    def _voted(self, trial: Trial | None) -> Updates:
        """The trial that can be voted on, if there is one."""
        can_vote = gr.update(interactive=trial is not None)
        return {self.trial: trial, **dict.fromkeys(self.votes.values(), can_vote)}
