"""The library's table, drop zone and progress as HTML. Pure functions; names and sentences of files are escaped."""

import html
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from app.error_texts import error_html
from app.i18n import t
from app.library_work import Activity, VectorProgress
from app.remarks import remark_text
from app.studio_parts import act_button

if TYPE_CHECKING:
    from rag.indexing import Progress
    from rag.remarks import Remark
    from rag.rows import DocumentRow
    from rag.self_test import SelfTest

PAGE_ROWS = 50
OUTCOMES = {
    "added": "outcome_added",
    "updated": "outcome_updated",
    "renamed": "outcome_renamed",
    "removed": "outcome_removed",
    "unchanged": "outcome_unchanged",
    "failed": "outcome_failed",
}
SEPARATORS = {"en": ", ", "zh": "，"}


def drop_zone_html(language: str) -> str:
    """Where files are dropped, with two buttons for who has none in hand."""
    busy, failed = t("copying", language), t("copy_failed", language)
    return (
        f'<div class="drop" data-address="/library/files" data-busy="{html.escape(busy)}" '
        f'data-failed="{html.escape(failed)}">'
        f"<p>{t('drop_here', language)}</p>"
        f'<p><label class="pick">{t("pick_files", language)}<input type="file" multiple></label> '
        f'<label class="pick">{t("pick_folder", language)}<input type="file" webkitdirectory></label></p>'
        f'<p class="hint">{t("drop_hint", language)}</p><p class="note" role="status"></p></div>'
    )


def documents_html(rows: "Sequence[DocumentRow]", chosen: Collection[int], language: str) -> str:
    """A table of documents."""
    if not rows:
        return f'<p class="empty">{t("no_documents", language)}</p>'
    titles = "".join(f"<th>{t(key, language)}</th>" for key in ("document", "state", "collection", "size", "passages"))
    every = f'<input type="checkbox" class="all" aria-label="{t("choose_all", language)}">'
    body = "".join(_row_html(row, row.id in chosen, language) for row in rows)
    return f'<table class="documents"><thead><tr><th>{every}</th>{titles}</tr></thead><tbody>{body}</tbody></table>'


def _row_html(row: "DocumentRow", is_chosen: bool, language: str) -> str:
    name = html.escape(row.path.name)
    state = t("state_failed", language) if row.error else t("state_ready", language)
    remarks = [row.error] if row.error else row.notes
    sentence = html.escape(" · ".join(_of_row(remark, language) for remark in remarks))
    below = f'<div class="sentence">{sentence}</div>' if sentence else ""
    kind = "failed" if row.error else "noted" if row.notes else "ready"
    checked = " checked" if is_chosen else ""
    return (
        f'<tr class="{kind}"><td><input type="checkbox" value="{row.id}" aria-label="{name}"{checked}></td>'
        f'<td><button type="button" class="open" data-document="{row.id}" title="{html.escape(str(row.path))}">'
        f'{name}</button>{below}</td><td><span class="state">{state}</span></td>'
        f"<td>{html.escape(row.collection)}</td><td>{size_text(row.size_bytes)}</td><td>{row.num_chunks:,}</td></tr>"
    )


def _of_row(remark: "Remark", language: str) -> str:
    """A remark below the name of its file."""
    text = remark_text(replace(remark, file=""), language)
    return text[:1].upper() + text[1:]


def activity_html(activity: Activity, language: str) -> str:
    """What is being read, at which rate and until when; or how it ended."""
    if activity.is_running:
        progress = activity.progress
        if isinstance(progress, VectorProgress):
            return _vectors_html(progress, language)
        return _progress_html(progress, language)
    parts = []
    if activity.counts:
        counts = SEPARATORS[language].join(
            t(key, language, count=activity.counts[name]) for name, key in OUTCOMES.items() if name in activity.counts
        )
        key = "work_stopped" if activity.was_stopped else "work_done"
        parts.append(f"<p>{t(key, language, counts=counts, seconds=activity.elapsed_s)}</p>")
    if activity.embedder:
        parts.append(f"<p>{t('embedder_changed', language, name=html.escape(activity.embedder))}</p>")
    if activity.was_stopped and not activity.counts:
        parts.append(f"<p>{t('embedder_kept', language)}</p>")
    if activity.error:
        parts.append(error_html(activity.error, language))
    failed = "".join(f"<li>{html.escape(remark_text(remark, language))}</li>" for remark in activity.failed)
    if failed:
        parts.append(f'<details class="error"><summary>{t("failures", language)}</summary><ul>{failed}</ul></details>')
    return "".join(parts)


def _progress_html(progress: "Progress | None", language: str) -> str:
    if progress is None:
        return f"<p>{t('work_begins', language)}</p><progress></progress>"
    remaining = t("eta", language, time=duration_text(progress.eta_s)) if progress.eta_s is not None else ""
    rate = t("rate", language, done=progress.done, total=progress.total, rate=progress.files_per_s)
    return (
        f'<progress value="{progress.done}" max="{progress.total}"></progress>'
        f"<p>{rate}{remaining} · {html.escape(progress.path.name)}</p>"
    )


def _vectors_html(progress: VectorProgress, language: str) -> str:
    name = html.escape(progress.embedder)
    if progress.total is None:
        return f"<p>{t('embedder_loading', language, name=name)}</p><progress></progress>"
    rate = progress.done / progress.elapsed_s if progress.elapsed_s else 0.0
    eta = t("eta", language, time=duration_text((progress.total - progress.done) / rate)) if rate else ""
    words = t("embedding", language, name=name, done=progress.done, total=progress.total, rate=rate)
    return f'<progress value="{progress.done}" max="{max(progress.total, 1)}"></progress><p>{words}{eta}</p>'


def embedder_html(name: str, language: str) -> str:
    """Which embedder answers."""
    return f"<p>{t('embedder_now', language, name=f'<b>{html.escape(name)}</b>')}</p>"


def missing_embedder_html(name: str, host: str, language: str) -> str:
    """What is asked before an embedder is fetched, with the button that does it."""
    words = t("embedder_missing", language, name=html.escape(name), host=html.escape(host))
    return f"<p>{words}</p>{act_button('begin', t('embedder_fetch', language), data={'download': name})}"


def collections_text(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Choices of a picker: the label with the number of documents, and the name."""
    return [(f"{name} · {count}", name) for name, count in counts.items()]


def self_test_html(found: "SelfTest | None", language: str) -> str:
    """How well and how fast each way of searching was, and whether another weight of meaning would do better."""
    if found is None:
        return f'<p class="empty">{t("measured_nothing", language)}</p>'
    legs = {"keyword": "leg_keyword", "dense": "leg_dense", "hybrid": "leg_both"}
    rows = "".join(
        f"<tr><th>{t(legs[name], language)}</th><td>{leg.recall_at_5:.1%}</td><td>{leg.mrr:.3f}</td>"
        f"<td>{leg.ms:.1f} ms</td></tr>"
        for name, leg in found.figures.items()
    )
    titles = "".join(f"<th>{t(key, language)}</th>" for key in ("way", "among_five", "mrr", "ms_per_search"))
    return (
        f"<p>{t('measured', language, count=found.num_probes)}</p>"
        f'<table class="figures"><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table>'
        f"<p>{_advice(found, language)}</p>"
    )


def _advice(found: "SelfTest", language: str) -> str:
    if found.better_weight is None:
        return t("measured_best", language)
    key = {0.0: "measured_words", 1.0: "measured_usual"}.get(found.better_weight, "measured_better")
    reached = {"now": found.figures["hybrid"].mrr, "better": found.better_mrr}
    return t(key, language, weight=found.better_weight, **reached)


def weight_html(weight: float, language: str) -> str:
    """How much meaning weighs, where that is not the usual."""
    if weight == 1:
        return ""
    return f"<p>{t('weight_now' if weight else 'weight_none', language, weight=weight)}</p>"


def size_text(num_bytes: int) -> str:
    """`312 B`, `4.1 KB`, `12.0 MB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} B"


def duration_text(seconds: float) -> str:
    """`8 s`, `3:20 min`, `1:05 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"
