"""The studio's runs as HTML: the list, and what one run shows. Pure functions; names, texts and logs are escaped."""

import html
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app.error_texts import sentence_text
from app.figure_texts import FIGURE_TEXTS
from app.format import short_count, short_time
from app.i18n import t
from app.library_view import duration_text, size_text
from app.studio_parts import act_button, folded
from app.studio_texts import CHECKS, METRICS, REASONS
from core.errors import unpacked

if TYPE_CHECKING:
    from studio import Job
    from studio.bottleneck import Limit

ACTIVE = ("starting", "running", "stopping")
ENDED = ("finished", "stopped", "failed", "interrupted")
RESUMABLE = ("stopped", "failed", "interrupted")
CHART_TEXTS = ("step", "validation")
MAX_SAMPLES = 12


def skeleton_html(language: str) -> str:
    """The places that `studio.js` fills; what it says itself comes along as data."""
    texts = {name: t(f"metric_{name}", language) for name in METRICS}
    texts |= {name: t(name, language) for name in CHART_TEXTS}
    slots = "".join(f'<div data-slot="{name}"></div>' for name in ("head", "facts"))
    below = "".join(
        f'<div data-slot="{name}"></div>'
        for name in ("result", "samples", "checkpoints", "answers", "proofs", "log", "settings")
    )
    return (
        f'<div class="runs" data-texts="{html.escape(json.dumps(texts, ensure_ascii=False))}">'
        f'<div class="run-list" aria-label="{t("tab_runs", language)}"></div>'
        f'<div class="run-detail" hidden>{slots}<div class="charts"></div>'
        f'<p class="no-metrics hint" hidden>{t("no_metrics", language)}</p>'
        f'<details class="folded" data-name="table"><summary>{t("as_table", language)}</summary>'
        f'<div class="chart-table" tabindex="0"></div></details>{below}</div></div>'
    )


def runs_html(jobs: "Sequence[Job]", queue: Sequence[str], language: str) -> str:
    """Every run, newest first, those that wait in the order in which they will run."""
    if not jobs:
        return f'<p class="empty">{t("no_runs", language)}</p>'
    places = {run: place for place, run in enumerate(queue, start=1)}
    waiting = sorted((job for job in jobs if job.id in places), key=lambda job: places[job.id])
    others = [job for job in jobs if job.id not in places]
    items = "".join(_item_html(job, places.get(job.id), len(queue), language) for job in waiting)
    items += "".join(_item_html(job, None, 0, language) for job in others)
    return f"<ul>{items}</ul>"


def _item_html(job: "Job", place: int | None, num_queued: int, language: str) -> str:
    name = html.escape(job.name or job.id)
    share = f'<progress value="{job.step}" max="{job.num_steps}"></progress>' if _is_measured(job) else ""
    meta = " · ".join(filter(None, (_kind_text(job, language), progress_text(job, language))))
    waits = "<progress></progress>" if not share and job.state in ACTIVE else ""
    arrows = ""
    if place is not None:
        arrows = act_button("up", "↑", title=t("queue_up", language), is_off=place == 1)
        arrows += act_button("down", "↓", title=t("queue_down", language), is_off=place == num_queued)
    compare = (
        f'<input type="checkbox" class="compare" aria-label="{t("compare", language)}: {name}" '
        f'title="{t("compare", language)}">'
        if job.spec.kind == "train"
        else ""
    )
    return (
        f'<li data-run="{html.escape(job.id)}" class="{job.state}"><div class="line">{compare}'
        f'<button type="button" class="open-run"><span class="name">{name}</span>'
        f'<span class="meta">{meta}</span></button>'
        f"{state_html(job, language, place)}{arrows}</div>{share if job.state in ACTIVE else ''}{waits}</li>"
    )


def _is_measured(job: "Job") -> bool:
    return job.step is not None and bool(job.num_steps)


def _kind_text(job: "Job", language: str) -> str:
    if job.spec.kind != "train":
        return t(f"kind_{job.spec.kind}" if job.spec.kind in KINDS else "kind_other", language)
    stage = job.id.split("-")[2] if job.id.count("-") >= 3 else ""
    return t(f"stage_{stage}", language) if stage in STAGE_KEYS else t("kind_train", language)


KINDS = ("export", "merge", "quantize", "evaluate", "prove_resume", "preflight", "prepare")
STAGE_KEYS = ("pt", "sft", "rm", "dpo", "ppo", "grpo")


def progress_text(job: "Job", language: str) -> str:
    """How far a run is and how long it will take, or when it was made."""
    parts = []
    if _is_measured(job) and job.state != "finished":
        parts.append(f"{job.step:,} / {job.num_steps:,}")
    if job.state in ACTIVE and job.phase == "preparing":
        parts.append(t("phase_preparing", language))
    elif job.state == "running" and job.eta_s is not None:
        parts.append(t("time_left", language, time=duration_text(job.eta_s)))
    if job.state not in ACTIVE and job.seconds is not None:
        parts.append(duration_text(job.seconds))
    if job.state not in ACTIVE:
        parts.append(short_time(job.spec.created))
    return " · ".join(parts)


def state_html(job: "Job", language: str, place: int | None = None) -> str:
    """The state as a badge."""
    text = t("state_place", language, place=place) if place else t(f"run_{job.state}", language)
    return f'<span class="badge {job.state}">{text}</span>'


def head_html(job: "Job", language: str) -> str:
    """Name, state, what can be done with the run, its note and why it failed."""
    buttons = "".join(act_button(act, t(f"act_{act}", language), sure=_sure(act, language)) for act in _acts(job))
    failure = failure_html(job, language) if job.state in ("failed", "interrupted") else ""
    name, note = html.escape(job.name or job.id), html.escape(job.note)
    return (
        f'<div class="title"><input class="rename" value="{name}" aria-label="{t("run_name", language)}" '
        f'maxlength="80">{state_html(job, language)}</div><div class="acts">{buttons}</div>{failure}'
        f'<textarea class="note" rows="1" maxlength="4000" placeholder="{t("note", language)}" '
        f'aria-label="{t("note", language)}">{note}</textarea>'
    )


def _acts(job: "Job") -> list[str]:
    """What can be done with a run in its state."""
    is_training = job.spec.kind == "train"
    if job.state == "queued":
        return ["cancel", "duplicate"] if is_training else ["cancel"]
    if job.state in ACTIVE:
        return ["stop", "kill", *(["duplicate"] if is_training else [])]
    acts = ["resume"] if job.state in RESUMABLE else []
    if is_training:
        acts += ["chat"] if job.state == "finished" or (job.folder / "checkpoints").is_dir() else []
        acts += ["duplicate", "prove_resume", "preflight"]
    elif job.state == "finished" and (job.folder / "model" / "config.json").exists():
        acts.append("chat")
    return [*acts, "delete"]


def _sure(act: str, language: str) -> str:
    return t("sure", language) if act in ("kill", "delete", "cancel") else ""


def failure_html(job: "Job", language: str) -> str:
    failure = job.failure
    if failure is None:
        return f'<p class="failure">{t("run_lost", language)}</p>'
    sentence, remedy = (html.escape(sentence_text(one, language)) for one in (failure.sentence, failure.remedy))
    return (
        f'<div class="failure"><p><b>{t(f"failure_{failure.kind}", language)}</b> {sentence}</p>'
        f"<p>{t('try_next', language)} {remedy}</p></div>"
    )


def facts_html(row: Mapping[str, Any], job: "Job", limit: "Limit | None", language: str) -> str:
    """The newest figures, and what limits the speed."""
    if not row:
        return ""
    figures = []
    for name, show in FIGURES.items():
        if isinstance(row.get(name), int | float):
            figures.append(f"<div><dt>{t(f'metric_{name}', language)}</dt><dd>{show(row[name])}</dd></div>")
    if job.attempt > 1:
        figures.append(f"<div><dt>{t('attempt', language)}</dt><dd>{job.attempt}</dd></div>")
    sentence = f'<p class="limit">{limit_text(limit, language)}</p>' if limit is not None else ""
    return f'<dl class="facts">{"".join(figures)}</dl>{sentence}'


FIGURES: dict[str, Any] = {
    "loss": lambda value: f"{value:.3f}",
    "tokens_per_s": lambda value: f"{value:,.0f}",
    "tokens": lambda value: short_count(int(value)) if value >= 1e6 else f"{value:,.0f}",
    "memory_bytes": lambda value: size_text(int(value)),
    "efficiency": lambda value: f"{value:.0%}",
    "data_wait": lambda value: f"{value:.0%}",
}


def limit_text(limit: "Limit", language: str) -> str:
    """One sentence on what limits the speed now."""
    return t(f"limit_{limit.kind}", language, share=f"{limit.share:.0%}")


def samples_html(rows: Sequence[Mapping[str, Any]], language: str) -> str:
    """Texts that the model wrote on the way, the newest first."""
    items = "".join(
        f"<li><span>{t('step', language)} {html.escape(str(row.get('step', '')))}</span> "
        f"<b>{html.escape(str(row.get('prompt', '')))}</b> "
        f"{html.escape(str(row.get('text', '')))}</li>"
        for row in list(rows)[-MAX_SAMPLES:][::-1]
    )
    if not items:
        return ""
    return folded("samples", t("samples", language), f'<ul class="samples">{items}</ul>')


def log_html(text: str, language: str) -> str:
    """The end of the log."""
    if not text.strip():
        return ""
    return folded("log", t("log", language), f'<pre class="log" tabindex="0">{html.escape(text)}</pre>')


def settings_html(config: Mapping[str, Any], folder: str, language: str, *, form: str = "") -> str:
    """The run's own config, and where it lies; `form` is that of the weights that it began at rounded."""
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th>'
        f"<td>{html.escape(json.dumps(value, ensure_ascii=False))}</td></tr>"
        for name, value in config.items()
    )
    table = f"<table>{rows}</table>" if rows else ""
    rounded = f'<p class="hint">{t("rounded_base", language, form=form)}</p>' if form else ""
    return folded("settings", t("run_settings", language), f'<p class="hint">{html.escape(folder)}</p>{rounded}{table}')


def checkpoints_html(steps: Sequence[int], language: str) -> str:
    """Where one prompt is answered by every checkpoint."""
    if not steps:
        return ""
    saved, seed = ", ".join(f"{step:,}" for step in steps), t("answer_seed", language)
    asking = (
        f'<p class="hint">{t("checkpoints_hint", language, steps=saved)}</p><div class="asking">'
        f'<input class="answer-prompt" maxlength="2000" value="{t("example_1", language)}" '
        f'aria-label="{t("answer_prompt", language)}">'
        f'<input class="answer-seed" inputmode="numeric" maxlength="9" value="1" aria-label="{seed}" title="{seed}">'
        f"{act_button('answer', t('act_answer', language))}</div>"
    )
    return folded("checkpoints", f"{t('checkpoints', language)} · {len(steps)}", asking)


def answers_html(language: str) -> str:
    """The slider over the answers, which `studio.js` moves and fills."""
    return (
        '<div class="checkpoint-answers" hidden><input type="range" min="0" max="0" value="0" '
        f'aria-label="{t("checkpoints", language)}"><p class="answer-step"></p><p class="answer-text"></p>'
        f'<p class="answer-note hint"><span role="status"></span> '
        f"{act_button('answer_stop', t('act_answer_stop', language))}</p></div>"
    )


def result_html(result: Mapping[str, Any], language: str) -> str:
    """What a program found: a proof's verdict and checks, or any other figures."""
    if not result:
        return ""
    checks, verdict = result.get("checks"), result.get("verdict")
    if isinstance(checks, list) and isinstance(verdict, dict):
        key = "proof_holds" if verdict.get("holds") else "proof_fails"
        rows = "".join(_check_html(check, language) for check in checks if isinstance(check, dict))
        return f'<div class="verdict {key}"><p>{t(key, language)}</p><ul>{rows}</ul></div>'
    return f'<div class="result">{_value_html(result, language)}</div>'


def proofs_html(jobs: "Sequence[Job]", results: Mapping[str, Mapping[str, Any]], language: str) -> str:
    """Proofs of a run and what they found."""
    items = "".join(
        f'<li data-run="{html.escape(job.id)}"><button type="button" class="open-run">'
        f"{_kind_text(job, language)}</button> {state_html(job, language)}"
        f"{result_html(results.get(job.id, {}), language)}</li>"
        for job in jobs
    )
    if not items:
        return ""
    return folded("proofs", t("proofs", language), f'<ul class="proofs">{items}</ul>', is_open=True)


def _check_html(check: Mapping[str, Any], language: str) -> str:
    passed = check.get("passed")
    sign, word = ("✓", "passed") if passed else ("–", "skipped") if passed is None else ("✗", "failed")
    given = check.get("figures")
    figures = given if isinstance(given, dict) else {}
    values = _figures_text(figures, language)
    name = str(check.get("name", ""))
    title = t(f"check_{name}", language) if name in CHECKS else name
    return f'<li class="{word}"><b>{sign} {html.escape(title)}</b> <span>{html.escape(values)}</span></li>'


def _figures_text(figures: Mapping[str, Any], language: str) -> str:
    """What a check found, why it was not made, or why its program failed."""
    if "error" in figures:
        return " ".join(sentence_text(one, language) for one in unpacked(figures["error"]))
    if (reason := figures.get("reason")) in REASONS:
        return t(f"reason_{reason}", language)
    return ", ".join(f"{_figure_name(name, language)} {_short(value, name)}" for name, value in figures.items())


def _figure_name(name: str, language: str) -> str:
    """The name of a figure for people, where it is one that our programs give."""
    return t(f"figure_{name}", language) if f"figure_{name}" in FIGURE_TEXTS else name


def _short(value: object, name: str = "") -> str:
    """A figure as text, with the unit that its name ends with."""
    if isinstance(value, list):
        return ", ".join(_short(one, name) for one in value[:8])
    if isinstance(value, (int, float)) and name.endswith("_bytes"):
        return size_text(int(value))
    if isinstance(value, (int, float)) and name.endswith("_s"):
        return duration_text(value) if value >= 60 else f"{value:.3g} s"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _value_html(value: Any, language: str, name: str = "", depth: int = 0) -> str:
    """Nested figures as lists, four levels deep."""
    if isinstance(value, dict) and depth < 4:
        rows = "".join(
            f"<div><dt>{html.escape(_figure_name(str(key), language))}</dt>"
            f"<dd>{_value_html(one, language, str(key), depth + 1)}</dd></div>"
            for key, one in value.items()
        )
        return f"<dl>{rows}</dl>"
    if isinstance(value, list) and depth < 4 and any(isinstance(one, dict) for one in value):
        return "".join(f"<div>{_value_html(one, language, name, depth + 1)}</div>" for one in value[:20])
    return html.escape(_short(value, name)[:300])
