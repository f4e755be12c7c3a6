"""What the studio shows, as HTML: nothing that a file, a model or a log says becomes markup."""

import dataclasses
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from app.figure_texts import FIGURE_TEXTS
from app.i18n import LANGUAGES
from app.preference_rows import Answer, Counts, Pair, Review, Source, Tally
from app.studio_models_view import tree_html
from app.studio_new_view import estimate_html, form_html, problems_html, report_html, tokens_html
from app.studio_preferences_view import contest_html, counts_html, no_contest_html, pairs_html, ranking_html
from app.studio_runs_view import (
    checkpoints_html,
    facts_html,
    failure_html,
    head_html,
    log_html,
    proofs_html,
    result_html,
    runs_html,
    samples_html,
    settings_html,
    skeleton_html,
)
from app.studio_texts import METRICS
from core.errors import Sentence, TrainingError
from core.evaluation.rewards import PairScore
from core.evaluation.text import Evaluation
from core.parallel.failure import ERROR_FILE, Cause, own_cause, record_cause
from studio import Failure, Job, JobSpec, JobState
from studio.bottleneck import Limit, LimitKind
from studio.datasets import BadRow, DataReport, FileReport, Lengths, Preview, look_at
from studio.estimate import Estimate
from studio.failures import KINDS
from studio.form import fields
from studio.job_folder import End, JobFolder
from studio.model_registry import ModelNode
from studio.proof import Check
from studio.supervisor import read_cause
from studio.token_inspector import TokenView
from tests.conftest import ROOT

HOSTILE = "<img src=x onerror=alert(1)>"
LIVE = ("starting", "running", "stopping")


def job(state: str = "running", *, kind: str = "train", name: str = "My run", **changes: Any) -> Job:
    values: dict[str, Any] = {
        "id": "20261126-084512-sft-a1b2", "folder": Path("/runs/x"), "spec": JobSpec(kind, name, 1e9),
        "state": JobState(state), "attempt": 1, "started": 1e9, "ended": None, "step": 20, "num_steps": 80, "note": "",
        "failure": None, "phase": state if state in LIVE else "", "name": name, "seconds": 60.0, "eta_s": 180.0,
    }  # fmt: skip
    return Job(**values | changes)


def buttons(page: str) -> list[str]:
    return re.findall(r'data-act="(\w+)"', page)


def test_the_list_tells_how_far_a_run_is() -> None:
    page = runs_html([job()], [], "en")
    assert '<progress value="20" max="80">' in page
    assert "Fine-tuning · 20 / 80 · 3:00 min left" in page
    assert "There are no runs yet" in runs_html([], [], "en")


def test_waiting_runs_stand_in_their_order_and_can_be_moved() -> None:
    waiting = [job("queued", name=name, id=f"20261126-084512-sft-{name}", step=None) for name in ("one", "two")]
    page = runs_html([*waiting, job("finished", name="old")], [waiting[1].id, waiting[0].id], "en")
    assert page.index("two") < page.index("one") < page.index("old")
    assert "waits, no. 1" in page
    assert re.search(r'data-act="up"[^>]*disabled', page)


@pytest.mark.parametrize(
    ("state", "acts"),
    [
        ("queued", ["cancel", "duplicate"]),
        ("running", ["stop", "kill", "duplicate"]),
        ("finished", ["chat", "duplicate", "prove_resume", "preflight", "delete"]),
        ("interrupted", ["resume", "duplicate", "prove_resume", "preflight", "delete"]),
    ],
)
def test_a_run_offers_what_its_state_allows(state: str, acts: list[str]) -> None:
    assert buttons(head_html(job(state), "en")) == acts


def test_why_a_rank_ended_is_said_in_chinese_after_all_files_it_goes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = Sentence("The loss of step {step} is {loss}, its gradient's norm {norm}.", step=7, loss="inf", norm="nan")
    remedy = "Lower learning_rate (now {rate}) or use precision fp32, then --resume."
    monkeypatch.setenv(ERROR_FILE, str(tmp_path / "error.json"))
    record_cause(own_cause(1, TrainingError("{reason}", remedy, kind="nan", reason=shape, rate=0.5)))
    folder = JobFolder(tmp_path)
    folder.write_end(1, End(JobState.FAILED, 1, time.time(), failure=read_cause(tmp_path / "error.json")))
    end = folder.read_end(1)
    assert end is not None
    page = failure_html(job("failed", failure=end.failure), "zh")
    assert "进程 1：第 7 步的损失是 inf，梯度范数是 nan。" in page
    assert "请降低 learning_rate（现为 0.5）或把 precision 设为 fp32" in page
    english = failure_html(job("failed", failure=end.failure), "en")
    assert "Rank 1: The loss of step 7 is inf, its gradient&#x27;s norm nan." in english


def test_why_a_row_is_left_out_is_said_in_chinese(tmp_path: Path) -> None:
    rows = ['{"prompt": "a", "completion": ""}', '{"colour": "red"}', "{", '{"text": "Otters swim in the river."}']
    (tmp_path / "rows.jsonl").write_text("\n".join(rows * 2), encoding="utf-8")
    (tmp_path / "empty.txt").write_bytes(b"")
    page = report_html(look_at([tmp_path]), "zh")
    for words in ("回答是空的", "没有可识别的字段，现有：colour", "JSON 已损坏：", "文件是空的"):
        assert words in page, words
    assert not re.search(r"the answer is empty|no known fields|broken JSON|the file is empty", page)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_says_what_happened_and_what_to_try(kind: str, language: str) -> None:
    failed = job("failed", failure=Failure(kind, "The sentence.", "The remedy."))
    page = head_html(failed, language)
    assert "The sentence." in page
    assert "The remedy." in page


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("state", [state.value for state in JobState])
def test_every_state_has_its_word(state: str, language: str) -> None:
    assert f'class="badge {state}"' in head_html(job(state), language)
    assert runs_html([job(state)], [], language)


@pytest.mark.parametrize("kind", list(LimitKind))
def test_what_limits_the_speed_is_a_sentence(kind: LimitKind) -> None:
    page = facts_html({"loss": 2.5, "tokens_per_s": 1234.5, "tokens": 10}, job(), Limit(kind, 0.41, {}), "en")
    assert "41%" in page
    assert "1,234" in page


def test_texts_of_runs_are_escaped() -> None:
    hostile = job("failed", name=HOSTILE, note=HOSTILE, failure=Failure("other", HOSTILE, HOSTILE))
    pages = [
        runs_html([hostile], [], "en"),
        head_html(hostile, "en"),
        samples_html([{"step": HOSTILE, "prompt": HOSTILE, "text": HOSTILE}], "en"),
        log_html(HOSTILE, "en"),
        settings_html({HOSTILE: HOSTILE}, HOSTILE, "en"),
        result_html({HOSTILE: {"a": HOSTILE, "b": [HOSTILE]}}, "en"),
        result_html({"verdict": {"holds": False}, "checks": [{"name": HOSTILE, "figures": {HOSTILE: HOSTILE}}]}, "en"),
        proofs_html([hostile], {hostile.id: {HOSTILE: HOSTILE}}, "en"),
    ]
    assert "<img" not in "".join(pages)


def test_a_proof_says_whether_it_holds_and_which_check_failed() -> None:
    checks = [{"name": "killed", "passed": True, "figures": {"step": 7}}, {"name": "weights", "passed": False}]
    page = result_html({"verdict": {"holds": False}, "checks": checks}, "en")
    assert "It does not hold." in page
    assert page.count("✓") == page.count("✗") == 1
    assert "It holds." in result_html({"verdict": {"holds": True}, "checks": checks[:1]}, "en")


def test_what_a_program_found_is_said_in_the_language_of_the_page() -> None:
    cost = {"name": "cost", "passed": True, "figures": {"memory_bytes": 2.5e9, "step_s": 0.25, "total_s": 7500}}
    page = result_html({"verdict": {"holds": True}, "checks": [cost]}, "zh")
    assert "内存 2.5 GB, 每步 0.25 s, 全程 2:05 h" in page
    error = Sentence("The process ended with exit code {code} and left no word.", code=9)
    ran = Check.failed("ran", Cause(error, is_root=True, remedy="Give a file with text.")).to_dict()
    page = result_html({"verdict": {"holds": False}, "checks": [json.loads(json.dumps(ran))]}, "zh")
    assert "进程以退出码 9 结束，没有留下说明。 请提供含有文本的文件。" in page
    for kind in (Evaluation, PairScore):
        assert {f"figure_{one.name}" for one in dataclasses.fields(kind)} <= FIGURE_TEXTS.keys()
    page = result_html({"model": "m", "results": [{"file": HOSTILE, "num_bytes": 2048, "bits_per_byte": 1.5}]}, "zh")
    assert "每字节比特</dt><dd>1.5<" in page
    assert "大小</dt><dd>2.0 KB<" in page


def test_checkpoints_are_asked_with_a_prompt_and_a_seed() -> None:
    page = checkpoints_html([10, 20], "en")
    assert "Saved at step 10, 20." in page
    assert buttons(page) == ["answer"]
    assert checkpoints_html([], "en") == ""
    assert "data-texts" in skeleton_html("zh")


def report(**changes: Any) -> DataReport:
    file = FileReport(HOSTILE, 2048, {"sft": 3}, 1, 4, is_sampled=False)
    values: dict[str, Any] = {
        "files": (file,), "num_files": 12, "kind": "sft", "kinds": {"sft": 3}, "stages": ("sft",), "num_rows": 4,
        "num_bytes": 2048, "lengths": Lengths("tokens", (0, 16, 32), (1, 2), 30, 20),
        "preview": (Preview("a.jsonl", 1, "sft", (("user", HOSTILE), ("assistant", "Hi"))),),
        "num_exact_duplicates": 1, "num_near_duplicates": 2, "duplicate_examples": ((HOSTILE, "b:2"),),
        "bad_rows": (BadRow("a.jsonl", 3, HOSTILE),), "num_bad": 1, "is_sampled": True,
    }  # fmt: skip
    return DataReport(**values | changes)


@pytest.mark.parametrize("language", LANGUAGES)
def test_data_is_counted_measured_shown_and_escaped(language: str) -> None:
    page = report_html(report(), language)
    assert "<img" not in page
    assert page.count("<rect") == 2
    assert ("4 more files" if language == "en" else "另有 4 个文件") in page
    assert "<img" not in report_html(report(kind=None), language)


def test_tokens_show_what_is_learnt_and_where_a_document_begins() -> None:
    tokens = [
        TokenView(1, "<s>", False, 0, True),
        TokenView(5, HOSTILE, True, 0, False),
        TokenView(6, "b", True, 1, False),
    ]
    page = tokens_html(tokens, "en")
    assert "3 tokens, of which 2 (67%) are learnt." in page
    assert '<span class="learnt begins" title="6">b</span>' in page
    assert "<img" not in page


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("stage", ["pt", "sft", "rm", "dpo", "ppo", "grpo"])
def test_the_form_has_every_field_with_its_help(stage: str, language: str) -> None:
    form = fields(stage)
    page = form_html(form, {"max_steps": 10}, {"data": HOSTILE, "max_steps": "20"}, language)
    assert page.count("data-field=") == page.count('<p id="help-') == len(form)
    assert '<div class="setting edited"><label for="set-max_steps">' in page
    assert "<img" not in page + problems_html([HOSTILE], language)


def test_an_estimate_says_whether_it_fits() -> None:
    found = Estimate(
        device="cpu", peak_memory_bytes=2 * 10**9, machine_memory_bytes=10**9, fits=False, step_s=0.5, num_steps=100,
        total_s=50.0, tokens_per_s=900.0, longest_row_tokens=64, num_parameters=6_000_000,
        num_trained=6_000_000, problems=(HOSTILE,), is_sampled=False,
    )  # fmt: skip
    page = estimate_html(found, "en")
    assert "It does not fit: it needs 2.0 GB, and 1.0 GB is free." in page
    assert "<img" not in page


def test_models_stand_below_those_they_come_from() -> None:
    def node(name: str, stage: str, parent: str | None, **changes: Any) -> ModelNode:
        values: dict[str, Any] = {
            "path": Path("/m") / name, "name": name, "stage": stage, "parent": Path("/m") / parent if parent else None,
            "missing_parent": None, "num_parameters": 6_000_000, "is_adapter": False, "is_reward_model": stage == "rm",
            "is_quantized": stage == "pt",
            "job_id": None, "evaluations": (), "num_steps": 9, "num_tokens": 99,
        }  # fmt: skip
        return ModelNode(**values | changes)

    scores = ({"results": [{"file": HOSTILE, "bits_per_byte": 2.05}], "choices": [{"file": "q", "accuracy": 0.4}]},)
    page = tree_html(
        [node("base", "pt", None, evaluations=scores), node(HOSTILE, "sft", "base"), node("rm", "rm", "base")], "en"
    )
    assert page.count("<ul>") == 2
    assert page.count('data-act="export"') == page.count('data-act="quantize"') == 1  # not of one that is quantised
    assert page.count('data-act="gguf"') == 2
    assert "2.050 bits/byte" in page
    assert "40.0%" in page
    assert "<img" not in page


def pair(text: str = HOSTILE) -> Pair:
    messages = [{"role": "user", "content": text}]
    return Pair(3, messages, Answer(text), Answer("worse"), Source.EDIT, Review.NEW, 1e9)


def test_pairs_are_escaped_and_can_be_decided() -> None:
    page = pairs_html([pair()], "en") + ranking_html([Answer(HOSTILE), Answer("b")], "en")
    assert "<img" not in page
    assert {"keep", "reject", "swap", "delete", "edit"} < set(buttons(page))
    counts = Counts(dict.fromkeys(Review, 1), dict.fromkeys(Source, 0), 0, 0, 1, 0, 2)
    assert "wait for your review: 1. Accepted, and to be trained on: 2 of 4." in counts_html(counts, "en")


def test_every_figure_of_the_trainer_has_a_name_for_people() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "core" / "trainer").glob("*.py")]
    measured = set(re.findall(r'"(\w+)": (?:Mean\(|self\.rewards|self\.lengths|self\.is_cut)', "".join(sources)))
    measured |= set(re.findall(r'metrics\["(\w+)"\]', "".join(sources)))
    assert {"reward", "cut", "accuracy", "kl", "explained_variance"} <= measured
    assert measured <= set(METRICS)


@pytest.mark.parametrize(
    ("tally", "words"),
    [
        (Tally(5, 2, 1), "Too few to tell: under 20 votes."),
        (Tally(30, 2, 1), "The new one is better."),
        (Tally(2, 30, 1), "The old one is better."),
        (Tally(12, 12, 1), "No clear difference."),
        (Tally(), "No votes yet"),
    ],
)
def test_votes_say_only_what_they_can_tell(tally: Tally, words: str) -> None:
    assert words in contest_html("the new", HOSTILE, tally, "en")
    assert "<img" not in contest_html("the new", HOSTILE, tally, "en")
    assert "no second version" in no_contest_html("en")
