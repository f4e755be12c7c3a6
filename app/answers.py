"""Answers out of the user's documents: what is searched, what a model is given, what is said without one.

The passages stand before the question that they were found for, in its own turn. So a follow-up leaves all that the
model has read as it was, and only its own passages and words are new to it. Citations are found after the answer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.library import Library
from app.passages import page_of, without_markers
from app.scope import Scope
from core.errors import AssistantError, DataError

if TYPE_CHECKING:
    from core.inference.generator import LanguageModel
    from core.inference.protocols import Citation
    from core.inference.token_stream import GenerationStats, Piece, TokenStream
    from rag import KnowledgeBase
    from rag.citations import Sentence
    from rag.hits import Hit

NUM_HITS = 6
NUM_NEAREST = 3  # that are shown where there is no answer
CONTEXT_TOKENS = 1024  # of passages for one question
CONTEXT_SHARE = 0.3  # of the model's context, where that is less
# Smaller models cannot read: they get no passages, and the best sentences are shown instead.
MIN_PARAMETERS = 100_000_000
INSTRUCTION = (
    "Answer the question from the passages before it, briefly and in the language of the question."
    " If they do not say it, say that the documents do not."
)
NOT_FOUND = {
    "en": "The documents do not answer this. The nearest passages are cited.",
    "zh": "文档中没有这个问题的答案；已附上最接近的段落。",
}


@dataclass(frozen=True, slots=True)
class Grounds:
    """What the library says to a question. `inventory` answers one about the files themselves."""

    question: str
    hits: "tuple[Hit, ...]"
    is_answerable: bool
    inventory: str | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation with passages in it, and all passages that are."""

    messages: list[dict[str, Any]]
    hits: "tuple[Hit, ...]"
    num_dropped: int = 0


@dataclass(frozen=True, slots=True)
class CitedText:
    """An answer and where its sentences stand."""

    text: str
    sentences: "tuple[Sentence, ...]"


class DocumentAnswers:
    """Answers conversations from collections of the library; also for programs, as the server's AnswerProvider."""

    def __init__(self, library: Library, current: "Callable[[], LanguageModel]") -> None:
        """`current` gives the loaded model, or raises ModelError while there is none."""
        self._library, self._current = library, current

    # For the page and the server

    def grounds(self, messages: Sequence[Mapping[str, Any]], scope: Scope) -> Grounds:
        """Search for the last question. Raises: DataError for a collection that is not there."""
        from rag.inventory import inventory

        kb = self._library.open()
        known = kb.collections()
        unknown = [name for name in scope.collections if name not in known]
        if unknown:
            names = ", ".join(map(repr, known)) or "-"
            raise DataError(
                "There is no collection {name!r}; there are: {names}.",
                "Choose one of these.",
                name=unknown[0],
                names=names,
            )
        questions = _questions(messages)
        if not questions:
            raise DataError("Nothing was asked of the documents.", "End the conversation with a question.")
        counted = inventory(questions[-1], [one for one in kb.documents() if scope.allows(one)])
        if counted is not None:
            return Grounds(questions[-1], (), is_answerable=True, inventory=counted)
        return _search(kb, questions, scope)

    def reader(self) -> "LanguageModel | None":
        """The loaded model if it can answer from passages, else None."""
        try:
            model = self._current()
        except AssistantError:
            return None
        return model if model.num_parameters >= MIN_PARAMETERS else None

    def prompt(self, model: "LanguageModel", messages: Sequence[Mapping[str, Any]], scope: Scope) -> Prompt:
        """The conversation with each question's passages before it, without the oldest turns if it is too long."""
        kb = self._library.open()
        kept = [{**message, "content": without_markers(message["content"])} for message in messages]
        num_given = len(kept)
        while True:
            prompt = _with_passages(kb, model, kept, scope)
            fitting = model.fitting(prompt.messages)
            if len(fitting) == len(prompt.messages):
                return Prompt(prompt.messages, prompt.hits, num_given - len(kept))
            # Passages that left with their turns are found again for those that stay.
            kept = _without_oldest(kept, len(prompt.messages) - len(fitting))

    def extract(self, grounds: Grounds) -> CitedText:
        """The best sentences of the documents, as they stand."""
        answer = self._library.open().extract(grounds.question, grounds.hits)
        return CitedText(answer.text, answer.sentences)

    def attribute(self, answer: str, hits: "Sequence[Hit]") -> "list[Sentence]":
        """The sentences of an answer with their sources."""
        return self._library.open().attribute(answer, hits)

    # For the server

    def answer(
        self, messages: Sequence[Mapping[str, Any]], *, collections: Sequence[str], sampling: Mapping[str, Any]
    ) -> "FixedAnswer | CitedAnswer":
        """Begin an answer. Without a model that can read, it is the best sentences of the documents.

        Raises: DataError for a collection that is not there, GenerationError when the question does not fit.
        """
        scope = Scope(collections=tuple(collections))
        grounds = self.grounds(messages, scope)
        if grounds.inventory is not None:
            return FixedAnswer(grounds.inventory)
        if not grounds.is_answerable:
            return FixedAnswer(NOT_FOUND[_language(grounds.question)], nearest=grounds.hits[:NUM_NEAREST])
        model = self.reader()
        if model is None:
            cited = self.extract(grounds)
            return FixedAnswer(cited.text, sentences=cited.sentences)
        prompt = self.prompt(model, messages, scope)
        return CitedAnswer(model.chat(prompt.messages, **sampling), self, prompt.hits)


@dataclass(slots=True)
class FixedAnswer:
    """An answer that no model wrote, as the server's stream of one piece."""

    text: str
    sentences: "Sequence[Sentence]" = ()
    nearest: "Sequence[Hit]" = ()
    in_reasoning: bool = False
    finish_reason: str | None = None

    @property
    def stats(self) -> "GenerationStats":
        """It cost no token."""
        from core.inference.token_stream import GenerationStats

        return GenerationStats(0, 0, 0, 0.0, 0.0, 0, 0)

    @property
    def citations(self) -> "Sequence[Citation]":
        """The places of its sentences, or the nearest passages."""
        from core.inference.protocols import Citation

        near = [Citation(str(hit.path), hit.text, hit.page) for hit in self.nearest]
        return [*citations_of(self.sentences), *near]

    def pieces(self) -> "Iterator[Piece]":
        from core.inference.token_stream import Piece

        yield Piece(self.text, ())
        self.finish_reason = "stop"

    def cancel(self) -> None:
        """It ends by itself."""


@dataclass(slots=True)
class CitedAnswer:
    """An answer that a model writes; its sources are known when it has ended."""

    stream: "TokenStream"
    answers: DocumentAnswers
    hits: "Sequence[Hit]"
    citations: "Sequence[Citation]" = field(default_factory=tuple)

    @property
    def in_reasoning(self) -> bool:
        return self.stream.in_reasoning

    @property
    def finish_reason(self) -> str | None:
        return self.stream.finish_reason

    @property
    def stats(self) -> "GenerationStats":
        return self.stream.stats

    def pieces(self) -> "Iterator[Piece]":
        yield from self.stream.pieces()
        self.citations = citations_of(self.answers.attribute(self.stream.text, self.hits))

    def cancel(self) -> None:
        self.stream.cancel()


def citations_of(sentences: "Sequence[Sentence]") -> "list[Citation]":
    """The sources of sentences as the server sends them."""
    from core.inference.protocols import Citation

    return [
        Citation(str(found.hit.path), found.text, page_of(found), sentence.start, sentence.end)
        for sentence in sentences
        for found in sentence.citations
    ]


def _questions(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(message["content"]) for message in messages if message["role"] == "user"]


def _language(text: str) -> str:
    from rag.text import han_share

    return "zh" if han_share(text) > 0.2 else "en"


def _search(kb: "KnowledgeBase", questions: Sequence[str], scope: Scope) -> Grounds:
    """Passages for the last question; those before it tell what it means."""
    *history, question = questions
    hits = kb.search(question, NUM_HITS, history=history, **scope.search_options)
    return Grounds(question, tuple(hits), kb.answerable(question, hits, **scope.search_options))


def _with_passages(
    kb: "KnowledgeBase", model: "LanguageModel", messages: Sequence[dict[str, Any]], scope: Scope
) -> Prompt:
    """Each question after the passages that were found for it and not given before."""
    written: list[dict[str, Any]] = []
    given: dict[int, Hit] = {}
    questions: list[str] = []
    for message in messages:
        if message["role"] != "user":
            written.append(message)
            continue
        questions.append(str(message["content"]))
        grounds = _search(kb, questions, scope)
        new = [hit for hit in grounds.hits if hit.chunk_id not in given] if grounds.is_answerable else []
        packed = _packed(model, new)
        given.update((hit.chunk_id, hit) for hit, _ in packed)
        attached = [message["attached"]] if message.get("attached") else []
        turn = _turn([*attached, *(text for _, text in packed)], questions[-1])
        written.append({"role": "user", "content": turn})
    return Prompt(_instructed(written), tuple(given.values()))


def _packed(model: "LanguageModel", hits: "Sequence[Hit]") -> "list[tuple[Hit, str]]":
    """The best passages that fit the budget, as the model reads them."""
    budget = min(CONTEXT_TOKENS, int(model.max_seq_len * CONTEXT_SHARE))
    packed: list[tuple[Hit, str]] = []
    for hit in hits:
        text = _passage(hit)
        cost = len(model.tokenizer.encode(text))
        if cost > budget and not packed:  # its beginning is better than nothing
            text, cost = text[: len(text) * budget // cost], budget
        if cost <= budget:
            packed.append((hit, text))
            budget -= cost
    return packed


def _passage(hit: "Hit") -> str:
    page = f", page {hit.page}" if hit.page else ""
    return f"[{hit.path.name}{page}]\n{hit.text}"


def _turn(passages: Sequence[str], question: str) -> str:
    return "\n\n".join((*passages, question)) if passages else question


def _instructed(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The instruction after what the caller's system message says, or in one of its own."""
    if messages and messages[0]["role"] == "system":
        return [{"role": "system", "content": f"{messages[0]['content']}\n\n{INSTRUCTION}"}, *messages[1:]]
    return [{"role": "system", "content": INSTRUCTION}, *messages]


def _without_oldest(messages: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The conversation without its oldest turns; a system message stays."""
    first = int(messages[0]["role"] == "system")
    return [*messages[:first], *messages[first + count :]]
