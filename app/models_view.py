"""The models page as HTML: what is here, what can be had, what is on its way. Pure functions; all texts are escaped."""

import html
import time
from collections.abc import Mapping, Sequence
from typing import Any

from app.adding import Addition
from app.catalogue import CATALOGUE, FIRST, Offer
from app.downloads import Download, DownloadState
from app.error_texts import error_html
from app.format import short_count
from app.i18n import t
from app.machine_speed import MachineSpeed
from app.model_shelf import Estimate, ShelfModel, Trashed, estimate
from app.studio_parts import act_button, folded

COMMIT_CHARS = 12
LANGUAGE_SEPARATOR = " · "


def size(num_bytes: float) -> str:
    """`12 KB`, `7 MB`, `3.1 GB`."""
    if num_bytes < 0.95e6:
        return f"{num_bytes / 1e3:.0f} KB"
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 0.95e9 else f"{num_bytes / 1e6:.0f} MB"


def roughly(number: float) -> str:
    """Two figures of an estimate, as `1,500`: more would claim to be known."""
    return f"{float(f'{number:.2g}'):,.0f}"


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def shelf_html(models: Sequence[ShelfModel], trash: Sequence[Trashed], language: str) -> str:
    """The models that are here, and the trash."""
    cards = "".join(_card(model, language) for model in models)
    return f'<div class="shelf">{cards}</div>{_trash_html(trash, language)}'


def memory_line(memory: Mapping[str, int], loaded: str, language: str) -> str:
    """What is in memory, as Markdown-free HTML. `memory` holds own, free and total bytes."""
    sizes = {"memory": size(memory["own"]), "free": size(memory["free"]), "total": size(memory["total"])}
    if not loaded:
        return html.escape(t("shelf_none", language, **sizes))
    before, _, rest = t("shelf_now", language, name="\0", **sizes).partition("**\0**")
    return f"{html.escape(before)}<b>{html.escape(loaded)}</b>{html.escape(rest)}"


def speed_line(speed: MachineSpeed | None, *, is_measuring: bool, language: str) -> str:
    """What is known of this machine's speed, and the button to measure it."""
    if is_measuring:
        return html.escape(t("speed_measuring", language))
    button = act_button("measure", t("measure_again", language))
    if speed is None:
        return f"{html.escape(t('speed_unknown', language))} {button}"
    date = time.strftime("%Y-%m-%d %H:%M", time.localtime(speed.measured_at))
    known = t("speed_known", language, date=date, read=speed.read_gb_per_s, product=speed.fp32_gflop_per_s)
    return f"{html.escape(known)} {button}"


def offers_html(here: Mapping[str, Any], speed: MachineSpeed | None, host: str, language: str) -> str:
    """The catalogue; `here` holds the names of what is on this disk."""
    cards = "".join(_offer(offer, offer.name in here, speed, language) for offer in CATALOGUE)
    note = html.escape(t("get_note", language, host=host))
    return f'<p class="hint">{note}</p><div class="shelf offers">{cards}</div>'


def getting_html(downloads: Sequence[Download], addition: Addition | None, host: str, language: str) -> str:
    """What is on its way."""
    rows = [_download(download, host, language) for download in downloads]
    if addition is not None:
        rows.insert(0, _addition(addition, language))
    return f'<div class="getting">{"".join(rows)}</div>' if rows else ""


def first_html(
    offers: Sequence[Offer], speed: MachineSpeed | None, host: str, language: str, *, is_measuring: bool = False
) -> str:
    """The first page: two models to fetch, the starter, or all of them."""
    measuring = f'<p class="hint">{html.escape(t("speed_measuring", language))}</p>' if is_measuring else ""
    cards = "".join(_first_offer(offer, speed, language) for offer in offers)
    starter = (
        f'<div class="card"><div class="title"><b>{html.escape(t("first_starter_name", language))}</b></div>'
        f"<p>{html.escape(t('first_starter_about', language))}</p>"
        f"{act_button('starter', t('first_starter', language))}</div>"
    )
    return (
        f'<section class="first"><h2>{html.escape(t("first_title", language))}</h2>'
        f'<div class="shelf">{cards}{starter}</div>'
        f'<p class="hint">{html.escape(t("first_note", language, host=host))}'
        f" {act_button('all', t('first_all', language))}</p>{measuring}</section>"
    )


def _first_offer(offer: Offer, speed: MachineSpeed | None, language: str) -> str:
    badge = f'<span class="badge stage">{t("first_recommended", language)}</span>' if offer.name == FIRST[0] else ""
    guess = estimate(offer.config, None, speed)
    button = act_button("download", t("act_download", language, size=size(offer.num_bytes)), data={"offer": offer.name})
    about = html.escape(t(offer.about, language))
    badges = badge + _verdict(guess, language)
    return (
        f'<div class="card"><div class="title"><b>{html.escape(offer.title)}</b>{badges}</div>'
        f'<p>{about}</p><p class="meta">{_offer_facts(offer, guess, language)}</p>{button}</div>'
    )


def _offer(offer: Offer, is_here: bool, speed: MachineSpeed | None, language: str) -> str:
    guess = estimate(offer.config, None, speed)
    text = t("act_download", language, size=size(offer.num_bytes))
    button = act_button("download", text, data={"offer": offer.name})
    end = f'<span class="badge finished">{t("is_here", language)}</span>' if is_here else button
    revision = (
        t("revision_pinned", language, commit=offer.revision[:COMMIT_CHARS])
        if offer.revision
        else t("revision_open", language)
    )
    return (
        f'<div class="card" data-name="{html.escape(offer.name)}"><div class="title"><b>{html.escape(offer.title)}</b>'
        f"{_verdict(guess, language)}</div><p>{html.escape(t(offer.about, language))}</p>"
        f'<p class="meta">{_offer_facts(offer, guess, language)}</p>'
        f'<p class="meta"><code>{html.escape(offer.name)}</code> · {html.escape(revision)}</p>'
        f'<div class="acts">{end}</div></div>'
    )


def _offer_facts(offer: Offer, guess: Estimate, language: str) -> str:
    languages = LANGUAGE_SEPARATOR.join(t(f"language_{code}", language) for code in offer.languages)
    facts = [
        languages,
        t("parameters_of", language, count=short_count(offer.config.num_parameters)),
        _licence(offer.licence, language),
        *_estimate(guess, language),
    ]
    return html.escape(" · ".join(facts))


def _card(model: ShelfModel, language: str) -> str:
    badges = f'<span class="badge">{t(f"origin_{model.origin}", language)}</span>'
    if model.is_loaded:
        badges += f'<span class="badge finished">{t("in_memory", language)}</span>'
    if model.estimate is not None and not model.is_loaded:
        badges += _verdict(model.estimate, language)
    body = f'<p class="error">{html.escape(model.problem)}</p>' if model.facts is None else _facts(model, language)
    return (
        f'<div class="card" data-path="{html.escape(str(model.path))}" title="{html.escape(str(model.path))}">'
        f'<div class="title"><b>{html.escape(model.name)}</b>{badges}</div>{body}'
        f'<div class="acts">{_acts(model, language)}</div></div>'
    )


def _facts(model: ShelfModel, language: str) -> str:
    assert model.facts is not None
    facts, count = model.facts, short_count(model.facts.config.num_parameters)
    key = "adapter_of" if facts.is_adapter else "parameters_of"
    first = [t(key, language, count=count), facts.quantization, t("on_disk", language, size=size(facts.num_bytes))]
    first.append(_licence(model.licence, language))
    second = _estimate(model.estimate, language) if model.estimate else []
    lines = [html.escape(" · ".join(filter(None, line))) for line in (first, second)]
    return "".join(f'<p class="meta">{line}</p>' for line in lines if line)


def _acts(model: ShelfModel, language: str) -> str:
    path, acts = {"model": model.path}, []
    if model.facts is not None:
        act = "unload" if model.is_loaded else "load"
        acts = [act_button(act, t(f"act_{act}", language), data=path)]
        acts.append(act_button("chat", t("act_to_chat", language), data=path))
    more = ""
    if model.facts is not None:
        if model.facts.quantization not in ("int4", "int8"):
            hint = t("quantize_hint", language)
            more += act_button("quantize", t("model_quantize", language), title=hint, data=path)
            more += act_button("export", t("model_export", language), data=path)
        more += act_button("gguf", t("model_gguf", language), data=path)
    name, label = html.escape(model.name), html.escape(t("new_name", language))
    more += (
        f'<span class="rename" data-form><input name="text" maxlength="80" value="{name}" aria-label="{label}">'
        f"{act_button('rename', t('act_rename', language), data=path)}</span>"
    )
    if model.can_be_deleted:
        sure = t("act_delete_sure", language)
        more += act_button("delete", t("act_delete_model", language), sure=sure, data=path)
    return "".join(acts) + folded(f"more-{name}", t("act_more", language), f'<div class="acts">{more}</div>')


def _estimate(guess: Estimate, language: str) -> list[str]:
    needed = guess.need
    form = "fp32" if guess.quantization == "none" else guess.quantization
    sizes = {"running": size(needed.running_bytes), "most": size(needed.most_bytes)}
    parts = [t("fit_memory", language, form=form, **sizes)]
    if guess.tokens_per_s and guess.prompt_tokens_per_s:
        speeds = {"speed": roughly(guess.tokens_per_s), "prompt": roughly(guess.prompt_tokens_per_s)}
        parts.append(t("fit_speed", language, **speeds))
    return parts


def _verdict(guess: Estimate, language: str) -> str:
    colours = {"fits": "finished", "tight": "stopped", "too_large": "failed"}
    return f'<span class="badge {colours[guess.verdict]}">{t(f"verdict_{guess.verdict}", language)}</span>'


def _licence(licence: str, language: str) -> str:
    return t("licence_known", language, licence=licence) if licence else t("licence_unknown", language)


def _trash_html(trash: Sequence[Trashed], language: str) -> str:
    if not trash:
        return ""
    rows = "".join(
        f'<li>{html.escape(one.name)} <span class="meta">{size(one.num_bytes)}</span>'
        f"{act_button('put_back', t('act_put_back', language), data={'trash': one.id})}</li>"
        for one in trash
    )
    empty = act_button("empty", t("act_empty", language), sure=t("act_empty_sure", language))
    return folded("trash", f"{t('trash_title', language)} ({len(trash)})", f'<ul class="trash">{rows}</ul>{empty}')


def _download(download: Download, host: str, language: str) -> str:
    state, data = download.state, {"download": download.name}
    acts = act_button("cancel", t("get_cancel", language), data=data) if download.is_active else ""
    if state in (DownloadState.PAUSED, DownloadState.FAILED):
        acts += act_button("resume", t("get_resume", language), data=data)
    if not download.is_active:
        acts += act_button("forget", t("act_forget", language), data=data)
    bar = ""
    if download.is_active and download.total_bytes:
        bar = f'<progress value="{download.done_bytes}" max="{download.total_bytes}"></progress>'
    elif download.is_active:
        bar = "<progress></progress>"
    error = error_html(download.failure, language) if download.failure else ""
    line = html.escape(_download_line(download, host, language))
    return (
        f'<div class="card row {state}"><div class="title"><b>{html.escape(download.name)}</b>'
        f'<span class="meta">{line}</span>{acts}</div>{bar}{error}</div>'
    )


def _download_line(download: Download, host: str, language: str) -> str:
    done, total = size(download.done_bytes), size(download.total_bytes)
    if download.state == DownloadState.QUEUED:
        return t("download_queued", language)
    if download.state == DownloadState.RUNNING:
        if not download.total_bytes:
            return t("download_starting", language, host=host)
        eta = t("download_eta", language, time=duration(download.eta_s)) if download.eta_s is not None else ""
        return t("download_progress", language, done=done, total=total, rate=size(download.bytes_per_s), eta=eta)
    if download.state == DownloadState.PAUSED:
        return t("download_paused", language, done=done, total=total)
    if download.state == DownloadState.FAILED:
        return t("download_failed", language)
    return t("download_done", language, commit=download.commit[:COMMIT_CHARS])


def _addition(addition: Addition, language: str) -> str:
    name = addition.source.replace("\\", "/").rstrip("/").rpartition("/")[2]
    if addition.is_ended:
        key = "adding_failed" if addition.error else "adding_done"
        error = error_html(addition.error, language) if addition.error else ""
        acts = act_button("forget_addition", t("act_forget", language))
        line = html.escape(t(key, language, name=name))
        return f'<div class="card row"><div class="title">{line}{acts}</div>{error}</div>'
    done, total = size(addition.done_bytes), size(addition.total_bytes)
    line = (
        t("adding_checking", language, name=name)
        if addition.is_checking
        else t("adding_copying", language, name=name, done=done, total=total)
    )
    bar = "<progress></progress>"
    if addition.total_bytes and not addition.is_checking:
        bar = f'<progress value="{addition.done_bytes}" max="{addition.total_bytes}"></progress>'
    acts = act_button("cancel_addition", t("get_cancel", language))
    return f'<div class="card row"><div class="title">{html.escape(line)}{acts}</div>{bar}</div>'
