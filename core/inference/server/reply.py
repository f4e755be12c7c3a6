"""One response: from the pieces of its answers to the whole object, or to server-sent events."""

import logging
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

from core.errors import AssistantError
from core.inference.openai_error import RequestError, as_request_error
from core.inference.openai_writer import ChoiceWriter, Frame, citations_json
from core.inference.server.event_stream import DONE, event
from core.inference.server.generation import Answers

if TYPE_CHECKING:
    from core.inference.token_stream import Piece

logger = logging.getLogger(__name__)

Json = dict[str, Any]


class Reply:
    """Writes a response. Of its answers, each `num_alike` in a row are to the same prompt."""

    def __init__(self, frame: Frame, writers: Sequence[ChoiceWriter], *, num_alike: int) -> None:
        self._frame, self._writers, self._num_alike = frame, writers, num_alike

    async def whole(self, answers: Answers) -> Json:
        """The response with all its answers. Raises what a generation raised."""
        async for index, piece in answers.pieces():
            self._write(index, piece)
        reply = self._frame.whole([writer.whole() for writer in self._writers], self._usage(answers))
        return {**reply, **_citations(answers, 0)}

    async def events(self, answers: Answers, *, includes_usage: bool) -> AsyncGenerator[str, None]:
        """Server-sent events up to [DONE]; an error after the first one is an event, too."""
        no_usage = {"usage": None} if includes_usage else {}
        for writer in self._writers:
            for choice in writer.opening():
                yield event(self._frame.chunk([choice], **no_usage))
        try:
            async for index, piece in answers.pieces():
                for choice in self._write(index, piece):
                    cited = _citations(answers, index) if choice["finish_reason"] else {}
                    yield event(self._frame.chunk([choice], **no_usage, **cited))
            if includes_usage:
                yield event(self._frame.chunk([], usage=self._usage(answers)))
        except (RequestError, AssistantError) as exc:
            yield event(as_request_error(exc).body)
        except Exception as exc:
            logger.exception("answering")
            yield event(as_request_error(exc).body)
        yield DONE

    def _write(self, index: int, piece: "Piece | str") -> list[Json]:
        writer = self._writers[index]
        return writer.end(piece) if isinstance(piece, str) else writer.push(piece)

    def _usage(self, answers: Answers) -> Json:
        """Tokens of all answers; a prompt counts once however many answers it has."""
        stats = [generation.stream.stats for generation in answers.generations]
        prompts = stats[:: self._num_alike]
        prompt_tokens = sum(one.prompt_tokens for one in prompts)
        completion_tokens = sum(one.completion_tokens for one in stats)
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": sum(one.reused_tokens for one in prompts)},
        }


def _citations(answers: Answers, index: int) -> Json:
    """What an answer out of documents cites; nothing for others."""
    citations = getattr(answers.generations[index].stream, "citations", None)
    return {} if citations is None else {"citations": citations_json(citations)}
