"""The whole loop on a tiny model, by real processes: corrections in chat, DPO, the new version, votes, the way back."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import gradio as gr
import pytest

import core
from app.ab_test import LEFT, RIGHT, BlindTest, Trial
from app.answers import DocumentAnswers
from app.assistant import Assistant, Update
from app.conversation_rows import Said
from app.conversations import Conversations
from app.improvement import Improvement
from app.library import Library
from app.models import ModelChoice, ModelHolder, ModelState
from app.paths import preferences_dir, studio_dir
from app.preference_rows import Origin, Review, Source
from app.preferences import Preferences
from app.services import Services
from app.studio import Studio
from app.tabs.feedback import Feedback
from app.tabs.thread import Thread, View
from app.versions import Version
from core.config.model_config import PRESETS
from core.data.formats import Preference
from core.data.tokenizer import Tokenizer
from core.evaluation import preference_margin
from core.files import read_json_object
from core.model.checkpoint import save_model
from core.model.quantize import INT4, INT8
from core.model.transformer import Transformer
from core.trainer.run_folder import read_metrics
from studio import Job, JobState, JobStore
from tests.core.conftest import pairs, tokenizer
from tests.studio.conftest import foreground, processes_under

__all__ = ["foreground", "tokenizer"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NUM_CORRECTED, NUM_HELD_OUT, NUM_VOTES = 40, 10, 3
NUM_REWARDED = 12
RUN_S = 600.0


@pytest.fixture
def tiny_base(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """A model whose weights are large enough to tell answers apart."""
    model = Transformer(replace(PRESETS["tiny"], vocab_size=tokenizer.vocab_size, initializer_range=0.1))
    model.init_weights(seed=1)
    save_model(model, tmp_path / "tiny", tokenizer=tokenizer)
    return tmp_path / "tiny"


@pytest.fixture
def models(tiny_base: Path) -> Iterator[ModelHolder]:
    holder = opened(tiny_base)
    yield holder
    holder.model().close()


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    yield
    for process in processes_under(studio_dir()):
        process.kill()


def opened(path: Path) -> ModelHolder:
    """Chat's model, loaded."""
    holder = ModelHolder()
    holder.select(ModelChoice(path.name, path))
    while holder.state is ModelState.LOADING:
        holder.wait(timeout_s=1)
    return holder


def collect(preferences: Preferences, examples: list[Preference]) -> None:
    """The user rewrites an answer of the model's in English by one in Chinese, in chat, and keeps that as a pair."""
    conversations = Conversations(preferences_dir())
    services = SimpleNamespace(preferences=preferences, conversations=conversations)
    feedback = Feedback(Thread(cast(Services, services), secret="s"))
    for example in examples:
        name, (question,) = conversations.create().id, example.messages
        asked = conversations.add(name, "user", Said(question["content"]), parent_id=None)
        conversations.add(name, "assistant", Said(example.rejected, origin=Origin("tiny")), parent_id=asked)
        view = feedback.shown(name, View(), "en")[feedback.thread.view]
        edit = gr.EditData(None, {"index": 1, "previous_value": example.rejected, "value": example.chosen})
        shown = feedback.edit(name, view, "en", edit)
        like = gr.LikeData(None, {"index": 1, "value": ["?"], "liked": True})
        feedback.rate(name, shown[feedback.thread.view], "en", like)
    conversations.close()
    preferences.review([pair.id for pair in preferences.pairs()], Review.KEPT)


def spoken(blind_test: BlindTest, question: Sequence[Mapping[str, str]], sampling: dict[str, float]) -> Trial:
    """A trial of which both answers say something, which those of a tiny model do not each time."""
    while True:
        *_, trial = blind_test.ask(question, sampling)
        assert trial.is_whole
        if not trial.has_empty_answer:
            return trial


def finished(store: JobStore, job: Job) -> Job:
    until = time.monotonic() + RUN_S
    while not (now := store.job(job.id)).state.is_ended and time.monotonic() < until:
        time.sleep(0.2)
    assert now.state is JobState.FINISHED, f"{now.state} {now.failure} {store.log_tail(job.id)}"
    return now


def test_corrections_become_a_version_that_prefers_them_wins_votes_and_is_rolled_back(models: ModelHolder) -> None:
    preferences, studio = Preferences(preferences_dir()), Studio(studio_dir())
    improvement, blind_test = Improvement(models, preferences, studio), BlindTest(models, preferences, studio)
    examples = pairs(NUM_CORRECTED + NUM_HELD_OUT, seed=5)
    collect(preferences, examples[:NUM_CORRECTED])
    assert preferences.counts().num_accepted == NUM_CORRECTED
    assert improvement.readiness("dpo").num_missing == 0
    assert blind_test.contest() is None

    job = finished(studio.store, improvement.improve())
    validation = [row for row in read_metrics(job.folder / "metrics.jsonl") if "validation_margin" in row][-1]
    assert validation["validation_accuracy"] >= 0.8  # of the held-out share of the user's pairs

    contest = blind_test.contest()
    assert contest is not None
    assert contest.new.name == job.id
    blind_test.adopt(contest)
    assert models.version().name == job.id
    served = preference_margin(models.model(), examples[NUM_CORRECTED:], adapter=job.id)
    assert (served.accuracy >= 0.8, served.margin > 0.1) == (True, True), served

    question, sampling = examples[-1].messages, dict[str, float]({"max_new_tokens": 16, "temperature": 1.0})
    for _ in range(NUM_VOTES):
        trial = spoken(blind_test, question, sampling)
        tally = blind_test.vote(trial, LEFT if trial.new_is_left else RIGHT)
    assert (tally.num_new, tally.num_votes, tally.is_telling) == (NUM_VOTES, NUM_VOTES, False)
    assert preferences.counts().by_source[Source.AB] >= 1

    answered_by = {update.origin.version for update in _chat(models, question, sampling) if update.origin}
    assert answered_by == {job.id}
    blind_test.roll_back(contest)
    assert models.version().name == ""
    assert {update.origin.version for update in _chat(models, question, sampling) if update.origin} == {""}
    assert not blind_test.can_roll_back(contest)
    preferences.close()


@pytest.mark.long
@pytest.mark.parametrize("form", ["int8", "int4"])
def test_a_reward_model_and_rlhf_from_pairs_run_to_their_end_on_a_quantised_model(
    tiny_base: Path, tmp_path: Path, form: str
) -> None:
    core.quantize(tiny_base, tmp_path / form, scheme={"int8": INT8, "int4": INT4}[form])
    models = opened(tmp_path / form)
    preferences, studio = Preferences(preferences_dir()), Studio(studio_dir())
    improvement = Improvement(models, preferences, studio)
    collect(preferences, pairs(NUM_REWARDED, seed=5))
    judge = finished(studio.store, improvement.train_reward_model())
    assert read_json_object(judge.folder / "model" / "config.json")["astrai"]["dequantised_from"] == form
    assert [job.id for job in improvement.reward_models()] == [judge.id]
    job = finished(studio.store, improvement.reinforce(judge.folder))
    assert all("reward" in row for row in read_metrics(job.folder / "metrics.jsonl") if "loss" in row)
    assert models.ready(Version(job.id, str(job.folder))).name == job.id
    models.model().close()
    preferences.close()


def _chat(models: ModelHolder, question: list[dict[str, str]], sampling: dict[str, float]) -> list[Update]:
    documents = DocumentAnswers(Library(preferences_dir()), models.model)
    return list(Assistant(models, documents).answer("tab", question, sampling, language="en"))
