"""The log-probabilities of an answer's tokens, in the two forms that OpenAI has for them.

Source: https://platform.openai.com/docs/api-reference/chat/object and /completions/object.
"""

import codecs
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.inference.sampling import Choice

# JSON has no infinity; this is OpenAI's number for what cannot be.
LEAST_LOGPROB = -9999.0
TokenBytes = Callable[[int], bytes]


class ChatLogprobs:
    """Lists tokens for a chat: text, logarithm and bytes of each, and of the likeliest beside it."""

    def __init__(self, token_bytes: TokenBytes, num_top: int) -> None:
        self._bytes, self._num_top = token_bytes, num_top

    def of(self, choices: Sequence["Choice"]) -> dict[str, Any]:
        """The form of a message or a chunk."""
        return {"content": [self._token(choice) for choice in choices], "refusal": None}

    def _token(self, choice: "Choice") -> dict[str, Any]:
        top = [self._entry(token, value) for token, value in choice.top_logprobs[: self._num_top]]
        return {**self._entry(choice.token, choice.logprob), "top_logprobs": top}

    def _entry(self, token: int, logprob: float | None) -> dict[str, Any]:
        content = self._bytes(token)
        return {"token": content.decode("utf-8", "replace"), "logprob": _finite(logprob), "bytes": list(content)}


class TextLogprobs:
    """Lists tokens for a continuation. It counts where each begins, so one is for one answer, in order."""

    def __init__(self, token_bytes: TokenBytes, num_top: int) -> None:
        self._bytes, self._num_top = token_bytes, num_top
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0

    def of(self, choices: Sequence["Choice"]) -> dict[str, Any]:
        """The form of a choice or a chunk."""
        offsets = []
        for choice in choices:
            offsets.append(self._offset)
            self._offset += len(self._utf8.decode(self._bytes(choice.token)))
        return {
            "tokens": [self._name(choice.token) for choice in choices],
            "token_logprobs": [_finite(choice.logprob) for choice in choices],
            "top_logprobs": [self._top(choice) for choice in choices] if self._num_top else None,
            "text_offset": offsets,
        }

    def _top(self, choice: "Choice") -> dict[str, float]:
        return {self._name(token): _finite(value) for token, value in choice.top_logprobs[: self._num_top]}

    def _name(self, token: int) -> str:
        """The token's text; its bytes where they are part of a character, so that two tokens keep two names."""
        content = self._bytes(token)
        try:
            return content.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{value:02x}" for value in content)


def _finite(logprob: float | None) -> float:
    return LEAST_LOGPROB if logprob is None else max(LEAST_LOGPROB, logprob)
