"""One chat turn: from a conversation to the updates that the page shows."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from app.answers import NUM_NEAREST, DocumentAnswers, Grounds
from app.attachments import with_attached
from app.error_texts import error_text
from app.i18n import t
from app.models import ModelHolder, ModelState
from app.passages import (
    cited_markdown,
    extract_markdown,
    lines_markdown,
    nearest_markdown,
    source_numbers,
    sources_markdown,
    to_markdown,
    without_markers,
)
from app.preference_rows import Origin
from app.scope import Scope
from app.seen import passage_rows, seen, usage_of
from app.seen_view import Usage
from app.side_by_side import origin
from core.errors import AssistantError

if TYPE_CHECKING:
    from core.inference.generator import TokenStream

logger = logging.getLogger(__name__)

# Updates of the page; a fast model makes many more tokens than an eye can follow.
UPDATES_PER_S = 20
GUESSED_CONTEXT = 2048  # tokens


@dataclass(frozen=True, slots=True)
class Update:
    """What the page shows now: the text as Markdown, and a plain line. `is_error` marks a text that is not an answer.

    `usage` is what of the context is taken; `sources` lists the passages of documents that an answer was written from;
    `is_refusal` says that they hold none; `origin` is whose an answer is that was made of the conversation alone;
    `details` are stored with the answer.
    """

    text: str
    status: str
    usage: Usage | None = None
    is_error: bool = False
    sources: str = ""
    is_refusal: bool = False
    origin: Origin | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


class Assistant:
    """Answers conversations with the loaded model; each browser tab has at most one answer under way."""

    def __init__(self, models: ModelHolder, documents: DocumentAnswers) -> None:
        self.models, self._documents = models, documents
        self._streams: dict[str, TokenStream] = {}
        self._stopped: set[str] = set()

    def answer(  # noqa: PLR0913 - what an answer is made of has no smaller whole
        self,
        tab: str,
        messages: Sequence[Mapping[str, str]],
        sampling: Mapping[str, Any],
        *,
        language: str,
        scope: Scope | None = None,
        is_alone: bool = False,
        passages: Sequence[Mapping[str, Any]] = (),
    ) -> Iterator[Update]:
        """Yield the growing answer, out of the documents of a scope where one is given.

        A message may hold files that are `attached`; `passages` are those of them that are not the whole file.
        A conversation that ends with an answer has that one gone on with, by the model alone.
        `is_alone` is for a question that documents did not answer: the answer says that none has a part in it.

        Errors come as an update, never as an exception.
        """
        self._stopped.discard(tab)
        try:
            if scope is not None and messages[-1]["role"] == "user":
                yield from self._from_documents(tab, messages, sampling, language, scope, passages)
            else:
                heading = f"*{t('alone', language)}*\n\n" if is_alone else ""
                yield from self._from_model(tab, messages, sampling, language, heading, passages)
        except AssistantError as exc:
            yield Update(error_text(exc, language), "", is_error=True)
        except Exception:
            logger.exception("answering")
            yield Update(t("unexpected", language), "", is_error=True)
        finally:
            self._end(tab)

    def measure(self) -> tuple[int, Callable[[str], int]]:
        """The context in tokens, and what counts the tokens of a text: guesses while no model is there."""
        try:
            model = self.models.model()
        except AssistantError:
            return GUESSED_CONTEXT, lambda text: len(text.encode()) // 3 + 1
        return model.max_seq_len, lambda text: len(model.tokenizer.encode(text))

    def stop(self, tab: str) -> None:
        """Stop the tab's answer within one token."""
        self._stopped.add(tab)
        self._end(tab)

    def _end(self, tab: str) -> None:
        stream = self._streams.pop(tab, None)
        if stream is not None:
            stream.cancel()

    def _wait_for_model(self, tab: str, language: str) -> Iterator[Update]:
        key = "loading_again" if self.models.wake() else "loading"
        while self.models.state == ModelState.LOADING and tab not in self._stopped:
            yield Update("", loading_line(self.models, language, key))
            self.models.wait(timeout_s=0.25)

    def _from_model(
        self,
        tab: str,
        messages: Sequence[Mapping[str, str]],
        sampling: Mapping[str, Any],
        language: str,
        heading: str,
        passages: Sequence[Mapping[str, Any]],
    ) -> Iterator[Update]:
        yield from self._wait_for_model(tab, language)
        if tab in self._stopped:
            return
        model = self.models.model()
        begun = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
        asked = messages[:-1] if begun else messages
        whole = [with_attached({**message, "content": without_markers(message["content"])}) for message in asked]
        kept = model.fitting(whole)
        dropped = _dropped(asked, len(whole) - len(kept))
        version = self.models.version().name
        stream = model.chat(kept, adapter=version or None, begun=begun, **sampling)
        is_bare = not heading and not any("attached" in message for message in asked)
        made_by = origin(model, sampling, version) if is_bare else None
        for update in self._stream(tab, stream, dropped):
            shown = replace(update, text=f"{heading}{begun}{update.text}", origin=made_by)
            yield shown
        yield replace(
            shown,
            details=seen(model, stream, sampling, version=version, dropped=dropped, passages=passages),
        )

    def _from_documents(
        self,
        tab: str,
        messages: Sequence[Mapping[str, str]],
        sampling: Mapping[str, Any],
        language: str,
        scope: Scope,
        passages: Sequence[Mapping[str, Any]],
    ) -> Iterator[Update]:
        """Search, decide whether the documents answer, then let a model that can read write, or quote them.

        A question that came with files is answered out of these where the documents do not, or nobody reads them.
        """
        yield Update("", t("searching", language))
        grounds = self._documents.grounds(messages, scope)
        if grounds.inventory is not None:
            yield Update(lines_markdown(grounds.inventory), "")
            return
        has_files = bool(messages[-1].get("attached"))
        if not grounds.is_answerable and not has_files:
            yield Update(refusal(grounds, scope.collections, language), "", is_refusal=True)
            return
        if self.models.choice is not None and not self.models.choice.is_starter:
            yield from self._wait_for_model(tab, language)
        if tab in self._stopped:
            return
        model = self._documents.reader()
        if has_files and (model is None or not grounds.is_answerable):
            heading = f"*{t('files_alone' if model else 'files_unread', language)}*\n\n"
            yield from self._from_model(tab, messages, sampling, language, heading, passages)
            return
        if model is None:
            yield self._quoted(grounds, language)
            return
        prompt = self._documents.prompt(model, messages, scope)
        version, dropped = self.models.version().name, _dropped(messages, prompt.num_dropped)
        stream = model.chat(prompt.messages, adapter=version or None, **sampling)
        yield from self._stream(tab, stream, dropped)
        sentences = self._documents.attribute(stream.text, prompt.hits)
        numbers = source_numbers(sentences)
        num_supported = sum(sentence.is_supported for sentence in sentences)
        found = [*passages, *passage_rows(prompt.hits)]
        record = seen(model, stream, sampling, version=version, dropped=dropped, passages=found)
        record["supported"] = [num_supported, len(sentences)]
        yield Update(
            cited_markdown(stream.text, sentences, language),
            "",
            usage=Usage.of(record),
            sources=sources_markdown(prompt.hits, numbers, language),
            details=record,
        )

    def _quoted(self, grounds: Grounds, language: str) -> Update:
        answer = self._documents.extract(grounds)
        numbers = source_numbers(answer.sentences)
        text = f"{t('quoted', language)}\n\n{extract_markdown(answer.sentences)}"
        return Update(text, "", sources=sources_markdown(grounds.hits, numbers, language))

    def _stream(self, tab: str, stream: "TokenStream", dropped: Sequence[Mapping[str, Any]]) -> Iterator[Update]:
        self._streams[tab] = stream
        shown_at = 0.0
        for _ in stream:
            now = time.monotonic()
            if now - shown_at >= 1 / UPDATES_PER_S:
                shown_at = now
                yield Update(stream.text, "", usage=usage_of(stream, dropped))
        yield Update(stream.text, "", usage=usage_of(stream, dropped))


def refusal(grounds: Grounds, collections: Sequence[str], language: str) -> str:
    """That the documents do not answer, and what comes nearest."""
    names = to_markdown(", ".join(collections))
    nearest = nearest_markdown(grounds.hits[:NUM_NEAREST], language)
    if not nearest:
        return t("not_found", language, collections=names)
    return f"{t('not_found', language, collections=names)} {t('nearest', language)}\n\n{nearest}"


def loading_line(models: ModelHolder, language: str, key: str = "loading") -> str:
    """What the user waits for while a model loads; `key` is of the text that says so."""
    if models.compiling_s is not None:
        return t("compiling", language, seconds=models.compiling_s)
    return t(key, language, name=models.choice.name if models.choice else "")


def _dropped(messages: Sequence[Mapping[str, Any]], count: int) -> Sequence[Mapping[str, Any]]:
    """The oldest turns, which the model is not given; a system message is never one of them."""
    first = int(bool(messages) and messages[0]["role"] == "system")
    return messages[first : first + count]
