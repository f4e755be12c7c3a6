"""The studio's new run as HTML: what is in the files, tokens, the form of all settings, the estimate.

Pure functions; names and rows of files are escaped.
"""

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app.error_texts import sentence_text
from app.format import short_count
from app.i18n import t
from app.library_view import duration_text, size_text
from app.studio_help import GROUP_TITLES, field_help, field_label
from app.studio_values import value_text

if TYPE_CHECKING:
    from studio.datasets import DataReport, FileReport, Preview
    from studio.estimate import Estimate
    from studio.form import FormField
    from studio.token_inspector import TokenView

MAX_FILES, MAX_BAD, MAX_PREVIEWS = 8, 8, 3
PREVIEW_CHARS = 400
MIN_SHOWN_LIMIT, MAX_SHOWN_LIMIT = 1e-4, 1e6  # beyond them a limit only says that there is one
KINDS = ("pt", "sft", "preference")
ROLES = ("system", "user", "assistant", "chosen", "rejected", "tool", "text")


def drop_zone_html(language: str) -> str:
    """Where files for a new run are dropped."""
    busy, failed = t("copying", language), t("copy_failed", language)
    return (
        f'<div class="drop" data-address="/studio/files" data-busy="{html.escape(busy)}" '
        f'data-failed="{html.escape(failed)}"><p>{t("drop_data", language)}</p>'
        f'<p><label class="pick">{t("pick_files", language)}<input type="file" multiple></label></p>'
        f'<p class="hint">{t("drop_data_hint", language)}</p><p class="note" role="status"></p></div>'
    )


def report_html(report: "DataReport", language: str) -> str:
    """What is in the files: kind, counts, lengths, first rows, duplicates and rows that are left out."""
    if report.kind is None:
        return f'<p class="error">{t("data_nothing", language)}</p>{_bad_html(report, language)}'
    files = "".join(_file_html(file, language) for file in report.files[:MAX_FILES])
    if report.num_files > MAX_FILES:
        files += f"<li>{t('data_more_files', language, count=report.num_files - MAX_FILES)}</li>"
    about = "≈ " if report.is_sampled else ""
    key = "data_rows_tokens" if report.lengths.unit == "tokens" else "data_rows_characters"
    count, median, longest = (
        f"{number:,}" for number in (report.num_rows, report.lengths.median, report.lengths.longest)
    )
    rows = t(key, language, count=about + count, median=median, longest=longest)
    parts = [
        f'<p class="recognised"><b>{t(f"data_{report.kind}", language)}</b> {rows}</p>',
        f'<ul class="files">{files}</ul>',
        _histogram_html(report, language),
        _duplicates_html(report, language),
        _bad_html(report, language),
        _previews_html(report.preview, language),
    ]
    if report.is_sampled:
        parts.insert(1, f'<p class="hint">{t("data_sampled", language)}</p>')
    return f'<div class="report">{"".join(parts)}</div>'


def _file_html(file: "FileReport", language: str) -> str:
    kinds = ", ".join(
        f"{count:,} {t(f'rows_{kind}', language)}" for kind, count in file.kinds.items() if kind in KINDS and count
    )
    bad = f' <span class="error">{t("rows_bad", language, count=f"{file.num_bad:,}")}</span>' if file.num_bad else ""
    return f"<li><b>{html.escape(file.file)}</b> {size_text(file.num_bytes)} · {kinds or '–'}{bad}</li>"


def _histogram_html(report: "DataReport", language: str) -> str:
    """Bars of the rows' lengths."""
    counts, edges = report.lengths.counts, report.lengths.edges
    if not counts or max(counts) == 0:
        return ""
    width, height = 440, 70
    step = width / len(counts)
    bars = "".join(
        f'<rect x="{index * step + 0.5:.1f}" y="{height - height * count / max(counts):.1f}" width="{step - 1:.1f}" '
        f'height="{height * count / max(counts):.1f}">'
        f"<title>{edges[index]:,}–{edges[index + 1]:,}: {count:,}</title></rect>"
        for index, count in enumerate(counts)
    )
    unit = t("unit_tokens" if report.lengths.unit == "tokens" else "unit_characters", language)
    title = t("data_lengths", language, unit=unit)
    return (
        f'<figure class="histogram"><figcaption>{title}</figcaption>'
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" aria-label="{title}">{bars}</svg>'
        f"<p><span>{edges[0]:,}</span><span>{edges[-1]:,}</span></p>"
        f"{_lengths_table(counts, edges, unit, language)}</figure>"
    )


def _lengths_table(counts: Sequence[int], edges: Sequence[int], unit: str, language: str) -> str:
    """What the bars show, for who does not see them."""
    rows = "".join(
        f'<tr><th scope="row">{edges[index]:,}–{edges[index + 1]:,}</th><td>{count:,}</td></tr>'
        for index, count in enumerate(counts)
        if count
    )
    return (
        f'<details class="as-table"><summary>{t("as_table", language)}</summary><table><thead><tr>'
        f'<th scope="col">{unit}</th><th scope="col">{t("data_rows", language)}</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></details>"
    )


def _duplicates_html(report: "DataReport", language: str) -> str:
    exact, near = report.num_exact_duplicates, report.num_near_duplicates
    if not exact and not near:
        return f"<p>{t('data_no_duplicates', language)}</p>"
    examples = "".join(
        f"<li>{' = '.join(html.escape(sentence_text(place, language)) for place in places)}</li>"
        for places in report.duplicate_examples[:5]
    )
    text = t("data_duplicates", language, exact=f"{exact:,}", near=f"{near:,}")
    return f'<details data-name="duplicates"><summary>{text}</summary><ul>{examples}</ul></details>'


def _bad_html(report: "DataReport", language: str) -> str:
    if not report.num_bad:
        return ""
    rows = "".join(
        f"<li><b>{html.escape(bad.file)}{f':{bad.row}' if bad.row else ''}</b>"
        f" {html.escape(sentence_text(bad.reason, language))}</li>"
        for bad in report.bad_rows[:MAX_BAD]
    )
    text = t("data_bad", language, count=f"{report.num_bad:,}")
    return f'<details class="bad" data-name="bad"><summary>{text}</summary><ul>{rows}</ul></details>'


def _previews_html(previews: "Sequence[Preview]", language: str) -> str:
    items = "".join(
        "<li>"
        + "".join(
            f"<p><b>{_role(role, language)}</b> {html.escape(text[:PREVIEW_CHARS])}</p>" for role, text in one.parts
        )
        + "</li>"
        for one in previews[:MAX_PREVIEWS]
    )
    title = t("data_preview", language)
    return f'<details open data-name="preview"><summary>{title}</summary><ol class="preview">{items}</ol></details>'


def _role(role: str, language: str) -> str:
    return t(f"role_{role}", language) if role in ROLES else html.escape(role)


def tokens_html(tokens: "Sequence[TokenView]", language: str) -> str:
    """Each token in its place: what is learnt is coloured, what begins another document has a line before it."""
    if not tokens:
        return f'<p class="hint">{t("tokens_none", language)}</p>'
    num_learnt = sum(token.has_loss for token in tokens)
    head = t(
        "tokens_counted",
        language,
        count=f"{len(tokens):,}",
        learnt=f"{num_learnt:,}",
        share=f"{num_learnt / len(tokens):.0%}",
    )
    parts, document = [], tokens[0].document
    for token in tokens:
        begins = token.document != document
        document = token.document
        parts.append(_token_html(token, begins=begins))
    legend = "".join(
        f'<span class="{name}">{t(f"token_{name}", language)}</span>'
        for name in ("learnt", "read", "special", "begins")
    )
    return f'<p>{head}</p><p class="token-legend">{legend}</p><div class="tokens">{"".join(parts)}</div>'


def _token_html(token: "TokenView", *, begins: bool) -> str:
    names = [
        "learnt" if token.has_loss else "read",
        *(["special"] if token.is_special else []),
        *(["begins"] if begins else []),
    ]
    shown = html.escape(token.text).replace("\n", "⏎").replace(" ", "·") or "∅"
    line = "<br>" if "\n" in token.text else ""
    return f'<span class="{" ".join(names)}" title="{token.id}">{shown}</span>{line}'


def form_html(form: "Sequence[FormField]", values: Mapping[str, Any], edits: Mapping[str, str], language: str) -> str:
    """The form of all settings: what a preset says, and what was changed."""
    groups: dict[str, list[str]] = {}
    for field in form:
        groups.setdefault(field.group, []).append(_field_html(field, values.get(field.name), edits, language))
    return "".join(
        f"<fieldset><legend>{t(GROUP_TITLES.get(name, 'group_run'), language)}</legend>{''.join(fields)}</fieldset>"
        for name, fields in groups.items()
    )


def _field_html(field: "FormField", value: Any, edits: Mapping[str, str], language: str) -> str:
    given = value_text(value)
    shown = edits.get(field.name, given)
    edited = " edited" if shown != given else ""
    identity = f'data-field="{field.name}" id="set-{field.name}" aria-describedby="help-{field.name}"'
    common = f'{identity} data-preset="{html.escape(given)}"'
    if field.kind == "bool":
        control = f'<input type="checkbox" {common}{" checked" if shown == "true" else ""}>'
    elif field.choices:
        options = "".join(
            f"<option{' selected' if one == shown else ''}>{html.escape(one)}</option>" for one in field.choices
        )
        control = f"<select {common}>{options}</select>"
    else:
        mode = {"int": ' inputmode="numeric"', "float": ' inputmode="decimal"'}.get(field.kind, "")
        control = (
            f'<input type="text" {common}{mode} value="{html.escape(shown)}" autocomplete="off" spellcheck="false">'
        )
    unit = f" ({t(f'unit_{field.unit}', language)})" if field.unit in UNITS else ""
    explained = html.escape(field_help(field.name, field.help, language))
    return (
        f'<div class="setting{edited}">'
        f'<label for="set-{field.name}">{html.escape(field_label(field.name))}{unit}</label>'
        f'{control}<p id="help-{field.name}">{explained}{_limits(field)}</p></div>'
    )


UNITS = ("tokens", "rows", "steps", "s")


def _limits(field: "FormField") -> str:
    low, high = field.minimum, field.maximum
    if low is not None and high is not None and high < MAX_SHOWN_LIMIT:
        return f" <i>{low:g} … {high:g}</i>"
    is_telling = low is not None and field.kind in ("int", "float")
    return f" <i>≥ {0 if 0 < low < MIN_SHOWN_LIMIT else low:g}</i>" if is_telling and low is not None else ""


def problems_html(problems: Sequence[str], language: str) -> str:
    """All that is wrong with the settings, at once."""
    if not problems:
        return ""
    items = "".join(f"<li>{html.escape(problem)}</li>" for problem in problems)
    return f'<div class="problems" role="alert"><p>{t("settings_wrong", language)}</p><ul>{items}</ul></div>'


def estimate_html(found: "Estimate", language: str) -> str:
    """What a run will take, and whether it fits."""
    memory = size_text(found.peak_memory_bytes) if found.peak_memory_bytes else "?"
    key = "estimate_fits" if found.fits else "estimate_too_large"
    verdict = t(key, language, needed=memory, free=size_text(found.machine_memory_bytes))
    figures = {
        "estimate_time": duration_text(found.total_s),
        "estimate_steps": f"{found.num_steps:,} × {found.step_s:.2f} s",
        "estimate_memory": f"{memory} / {size_text(found.machine_memory_bytes)}",
        "estimate_speed": f"{found.tokens_per_s:,.0f}",
        "estimate_longest": f"{found.longest_row_tokens:,}",
        "estimate_parameters": f"{short_count(found.num_trained)} / {short_count(found.num_parameters)}",
    }
    cells = "".join(f"<div><dt>{t(name, language)}</dt><dd>{value}</dd></div>" for name, value in figures.items())
    problems = "".join(
        f'<p class="hint">{html.escape(sentence_text(problem, language))}</p>' for problem in found.problems
    )
    name = "fits" if found.fits else "large"
    return f'<div class="estimate {name}"><p>{verdict}</p><dl class="facts">{cells}</dl>{problems}</div>'
