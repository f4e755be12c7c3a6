"""One chat turn: from a conversation to the updates that the page shows."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.i18n import t
from app.models import ModelHolder, ModelState
from core.errors import AssistantError

if TYPE_CHECKING:
    from core.inference.generator import TokenStream

logger = logging.getLogger(__name__)

# Updates of the page; a fast model makes many more tokens than an eye can follow.
UPDATES_PER_S = 20


@dataclass(frozen=True, slots=True)
class Update:
    """What the page shows now. `is_error` marks a text that is not an answer."""

    text: str
    status: str
    is_error: bool = False


class Assistant:
    """Answers conversations with the loaded model; each browser tab has at most one answer under way."""

    def __init__(self, models: ModelHolder) -> None:
        self.models = models
        self._streams: dict[str, TokenStream] = {}
        self._stopped: set[str] = set()

    def answer(
        self, tab: str, messages: Sequence[Mapping[str, str]], sampling: Mapping[str, Any], *, language: str
    ) -> Iterator[Update]:
        """Yield the growing answer. Errors come as an update, never as an exception."""
        self._stopped.discard(tab)
        try:
            yield from self._wait_for_model(tab, language)
            if tab not in self._stopped:
                yield from self._stream(tab, messages, sampling, language)
        except AssistantError as exc:
            yield Update(str(exc), "", is_error=True)
        except Exception:
            logger.exception("answering")
            yield Update(t("unexpected", language), "", is_error=True)
        finally:
            self._end(tab)

    def stop(self, tab: str) -> None:
        """Stop the tab's answer within one token."""
        self._stopped.add(tab)
        self._end(tab)

    def _end(self, tab: str) -> None:
        stream = self._streams.pop(tab, None)
        if stream is not None:
            stream.cancel()

    def _wait_for_model(self, tab: str, language: str) -> Iterator[Update]:
        while self.models.state == ModelState.LOADING and tab not in self._stopped:
            yield Update("", loading_line(self.models, language))
            self.models.wait(timeout_s=0.25)

    def _stream(
        self, tab: str, messages: Sequence[Mapping[str, str]], sampling: Mapping[str, Any], language: str
    ) -> Iterator[Update]:
        model = self.models.model()
        kept = model.fitting(messages)
        num_dropped = len(messages) - len(kept)
        stream = model.chat(kept, **sampling)
        self._streams[tab] = stream
        shown_at = 0.0
        for _ in stream:
            now = time.monotonic()
            if now - shown_at >= 1 / UPDATES_PER_S:
                shown_at = now
                yield Update(stream.text, status_line(stream, language, num_dropped))
        yield Update(stream.text, status_line(stream, language, num_dropped))


def loading_line(models: ModelHolder, language: str) -> str:
    """What the user waits for while a model loads."""
    if models.compiling_s is not None:
        return t("compiling", language, seconds=models.compiling_s)
    return t("loading", language, name=models.choice.name if models.choice else "")


def status_line(stream: "TokenStream", language: str, num_dropped: int) -> str:
    """Speed, time to first token and context used, what the model did not see, and why the answer ended early."""
    stats = stream.stats
    line = t(
        "stats",
        language,
        speed=stats.tokens_per_s,
        first=stats.time_to_first_token_s,
        context=stats.context_tokens,
        limit=stats.max_seq_len,
    )
    if num_dropped:
        line = f"{line} · " + t("dropped", language, count=num_dropped)
    is_full = stats.context_tokens >= stats.max_seq_len
    reason = {"cancelled": "stopped", "length": "full" if is_full else "cut"}.get(stream.finish_reason or "")
    return f"{line} · {t(reason, language)}" if reason else line
