"""The studio's handlers: values of the panel's components in, what the components show out."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import gradio as gr
import pytest

from app.paths import starter_dir
from app.preference_rows import Answer, Review
from app.services import Services, build_services
from app.studio import Studio
from app.tabs.studio_models import ModelsPanel
from app.tabs.studio_new import NewRunPanel
from app.tabs.studio_preferences import PreferencesPanel
from core.config.train_config import TrainConfig

pytestmark = pytest.mark.skipif(not starter_dir().is_dir(), reason="the starter's weights are not in the repository")
STARTER = str(starter_dir())
Form = dict[Any, Any]
Panel = TypeVar("Panel")


def built(make: Callable[[gr.Radio], Panel]) -> Panel:
    """A panel in a page of its own, within an event loop, for Gradio would open one of its own and leave it open."""

    async def build() -> Panel:
        with gr.Blocks(analytics_enabled=False):
            return make(gr.Radio(["en", "zh"]))

    return asyncio.run(build())


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said in a corner of the page."""
    sentences: list[str] = []
    for name in ("Warning", "Info"):
        monkeypatch.setattr(gr, name, sentences.append)
    return sentences


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TrainConfig, dict[str, Any]]]:
    """What would be started."""
    asked: list[tuple[TrainConfig, dict[str, Any]]] = []

    def start(store: object, config: TrainConfig, **options: Any) -> SimpleNamespace:
        asked.append((config, options))
        return SimpleNamespace(id="the-run", name=options["name"])

    monkeypatch.setattr("studio.start", start)
    return asked


@pytest.fixture
def panel(tmp_path: Path) -> NewRunPanel:
    return built(lambda language: NewRunPanel(Studio(tmp_path / "studio"), language))


@pytest.fixture
def form(panel: NewRunPanel) -> Form:
    """The panel as a newcomer meets it."""
    values = {panel.language: "en", panel.base: STARTER, panel.stage: "sft", panel.preset: "quick", panel.nproc: 1}
    return {component: values.get(component) for component in panel.inputs}


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    rows = [{"instruction": f"What is {n} plus {n}?", "output": f"It is {2 * n}."} for n in range(30)]
    path = tmp_path / "sums.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def look(panel: NewRunPanel, form: Form, path: Path) -> Form:
    """The values after a path was looked at."""
    *_, shown = panel.look_at_path(form | {panel.path: f' "{path}" '})
    return form | {component: value for component, value in shown.items() if component in form} | shown


def test_a_path_is_looked_at_and_the_run_started_from_it(
    panel: NewRunPanel, form: Form, chats: Path, told: list[str], started: list[Any]
) -> None:
    form = look(panel, form | {panel.stage: "dpo"}, chats)
    assert form[panel.stage] == "sft"
    assert "Conversations, to fine-tune on." in form[panel.data]
    assert form[panel.problems] == ""
    assert panel.begin(form, queued=True) == "the-run"
    ((config, options),) = started
    assert (config.stage, config.base, options["queued"]) == ("sft", STARTER, True)
    assert options["prepare"] == {"paths": [str(chats)], "tokenizer": STARTER}
    assert told == ["Fine-tuning · sums waits in the queue."]


def test_without_data_nothing_starts_and_a_sentence_says_why(
    panel: NewRunPanel, form: Form, told: list[str], started: list[Any]
) -> None:
    assert panel.begin(form, queued=False) == panel.begin_check(form) == panel.show_tokens(form) == ""
    assert list(panel.estimate_run(form)) == []
    assert started == []
    assert set(told) == {"Drop or choose training data first."}


@pytest.mark.parametrize("path", ["/nowhere/<b>at all</b>", __file__ + "/x"])
def test_a_path_that_is_not_there_is_a_sentence(panel: NewRunPanel, form: Form, told: list[str], path: str) -> None:
    form = look(panel, form, Path(path))
    assert len(told) == 1
    assert "<b>" not in told[0] + form[panel.data]


def test_training_all_weights_of_a_quantised_model_is_no_problem_but_told(panel: NewRunPanel, form: Form) -> None:
    shown = panel.refresh(form | {panel.base: STARTER, panel.stage: "rm"})[panel.problems]
    assert shown.startswith('<p class="hint">The model is stored in int8')
    assert panel.refresh(form | {panel.base: STARTER, panel.stage: "sft"})[panel.problems] == ""


def test_typed_settings_are_taken_over_and_judged(
    panel: NewRunPanel, form: Form, chats: Path, told: list[str], started: list[Any]
) -> None:
    form = look(panel, form, chats)
    wrong = panel.edit(form, SimpleNamespace(edits={"max_steps": "many"}))  # type: ignore[arg-type]
    assert "max_steps is" in wrong[panel.problems]
    assert panel.begin(form | wrong, queued=False) == ""
    right = panel.edit(form, SimpleNamespace(edits={"max_steps": "9", "epochs": "1"}))  # type: ignore[arg-type]
    assert right[panel.problems] == ""
    panel.begin(form | right, queued=False)
    assert started[0][0].max_steps == 9


@pytest.mark.parametrize("sent", [None, "text", {"a": 1}, [1]])
def test_what_a_browser_may_send_instead_does_no_harm(panel: NewRunPanel, form: Form, sent: Any) -> None:
    assert panel.edit(form, SimpleNamespace(edits=sent))[panel.edits] in ({}, {"a": "1"})  # type: ignore[arg-type]
    strange = form | {panel.stage: sent, panel.preset: sent, panel.name: sent}
    assert panel.refresh(strange)[panel.form]


def test_tokens_of_a_row_and_of_a_text_are_shown(panel: NewRunPanel, form: Form, chats: Path) -> None:
    form = look(panel, form, chats)
    assert "are learnt" in panel.show_tokens(form | {panel.row: 1})
    assert "7 tokens, of which 6 (86%) are learnt." in panel.show_tokens(form | {panel.text: "Once upon a time"})


def test_the_panel_opens_with_the_models_there_are(panel: NewRunPanel, form: Form) -> None:
    shown = panel.show(form)
    assert ("starter", STARTER) in shown[panel.base]["choices"]
    assert not shown[panel.reward]["visible"]


def test_a_model_without_files_to_evaluate_on_is_told_so(tmp_path: Path, told: list[str]) -> None:
    models = built(lambda language: ModelsPanel(Studio(tmp_path / "studio"), language))
    assert "starter" in models.show("en")
    models.act("", "en", SimpleNamespace(act="evaluate", model=STARTER))  # type: ignore[arg-type]
    models.act("", "en", SimpleNamespace(act="export", model="/etc/passwd"))  # type: ignore[arg-type]
    assert told[0] == "Give the path of files to evaluate on first."
    assert "none of the models" in told[1]


@pytest.fixture
def services() -> Services:
    return build_services()


@pytest.fixture
def preferences(services: Services) -> PreferencesPanel:
    return built(lambda language: PreferencesPanel(services, language))


@pytest.fixture
def liked(preferences: PreferencesPanel) -> Form:
    values = {preferences.language: "en", preferences.shown: "new", preferences.page: 0}
    return {component: values.get(component) for component in preferences.inputs}


def test_pairs_are_kept_swapped_edited_and_deleted(
    preferences: PreferencesPanel, liked: Form, services: Services, told: list[str]
) -> None:
    store, question = services.preferences, [{"role": "user", "content": "Why?"}]
    store.rank(question, [Answer("one"), Answer("two"), Answer("three")])

    def press(act: str, **values: str) -> None:
        event = SimpleNamespace(act=act, pair=str(store.pairs()[0].id), **values)
        preferences.review(liked, event)  # type: ignore[arg-type]

    assert preferences.show(liked)[preferences.pairs].count("<li>") == 3
    press("keep")
    assert store.counts().by_review[Review.KEPT] == 1
    better = store.pairs()[0].chosen.text
    press("swap")
    assert better in {pair.rejected.text for pair in store.pairs()}
    press("edit", chosen="", rejected="x")
    assert "different answers" in told[-1]
    press("delete")
    assert len(store.pairs()) == 2
    preferences.keep_shown(liked)
    assert store.counts().by_review[Review.NEW] == 0


def test_a_ranking_is_moved_and_kept(
    preferences: PreferencesPanel, liked: Form, services: Services, told: list[str]
) -> None:
    question = [{"role": "user", "content": "Why?"}]
    liked[preferences.answers] = [question, [Answer("worse"), Answer("better")]]
    moved = preferences.move(liked, SimpleNamespace(act="up", place="1"))  # type: ignore[arg-type]
    preferences.keep_ranking(liked | moved)
    (pair,) = services.preferences.pairs()
    assert (pair.chosen.text, pair.rejected.text) == ("better", "worse")
    assert told == ["1 new pairs."]


@pytest.mark.parametrize("what", ["improve", "reward", "reinforce"])
def test_learning_from_nothing_is_refused_in_a_sentence(
    preferences: PreferencesPanel, liked: Form, told: list[str], what: str
) -> None:
    assert preferences.begin(liked, what=what) == ""
    assert len(told) == 1


def test_every_panel_speaks_both_languages(preferences: PreferencesPanel, panel: NewRunPanel) -> None:
    texts: list[Callable[[str], Form]] = [preferences.texts, panel.texts]
    assert all(set(one("en")) == set(one("zh")) for one in texts)
