"""Records to examples: what a JSON object or a text is, recognised by its fields.

Text for pre-training, conversations for fine-tuning, pairs of answers for preference training. Known
spellings: alpaca, prompt/completion, question/answer, ShareGPT, OpenAI messages, and their pairs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import Sentence

Messages = list[dict[str, str]]

ROLE_NAMES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function": "tool",
}
PROMPT_FIELDS = ("instruction", "prompt", "question", "query")
ANSWER_FIELDS = ("output", "response", "completion", "answer", "chosen_response")
CHOSEN_FIELDS = (
    ("chosen", "rejected"),
    ("response_chosen", "response_rejected"),
    ("chosen_messages", "rejected_messages"),
)
TEXT_FIELDS = ("text", "content", "article", "body")
# The kinds of prepared data that a stage of training reads, the usual one first.
KINDS_OF_STAGE = {
    "pt": ("pt",),
    "sft": ("sft",),
    "rm": ("preference",),
    "dpo": ("preference",),
    "ppo": ("sft", "preference"),
    "grpo": ("sft", "preference"),
}


@dataclass(frozen=True, slots=True)
class Text:
    """A document to pre-train on."""

    text: str

    kind = "pt"

    def key(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation to fine-tune on."""

    messages: Messages

    kind = "sft"

    def key(self) -> str:
        return "\n".join(message["content"] for message in self.messages)


@dataclass(frozen=True, slots=True)
class Preference:
    """The same conversation ending in a better and a worse answer."""

    messages: Messages
    chosen: str
    rejected: str

    kind = "preference"

    def key(self) -> str:
        return f"{self.prompt()}\n{self.chosen}\n{self.rejected}"

    def prompt(self) -> str:
        """What both answers answer, as one text."""
        return "\n".join(message["content"] for message in self.messages)


Example = Text | Chat | Preference


class UnrecognisedError(ValueError):
    """A record that is no example, with the reason."""

    def __init__(self, reason: str, **values: object) -> None:
        self.sentence = Sentence(reason, **values)
        super().__init__(str(self.sentence))


def recognise(value: str | Mapping[str, Any]) -> Example:
    """What a record is. Raises UnrecognisedError."""
    if isinstance(value, str):
        return _text(value)
    for chosen, rejected in CHOSEN_FIELDS:
        if value.get(chosen) and value.get(rejected):
            return _preference(value, value[chosen], value[rejected])
    turns, prompt = _turns(value), _first(value, PROMPT_FIELDS)
    if value.get("label") is False and (turns or prompt is not None):  # KTO's single answers
        raise UnrecognisedError("the answer is marked as worse (label false), and no better one is beside it")
    if turns:
        return Chat(_finished(_messages(turns, str(value.get("system") or ""))))
    if prompt is not None:
        return _single_turn(value, prompt)
    if value.get("en") and value.get("zh"):
        return _text(f"{value['en']}\n{value['zh']}")
    text = _first(value, TEXT_FIELDS)
    if text is None:
        raise UnrecognisedError("no known fields among {names}", names=_names(value))
    title = value.get("title")
    starts = isinstance(title, str) and bool(title) and not text.startswith(title)
    return _text(f"{title}\n\n{text}" if starts else text)


def prompt_of(value: str | Mapping[str, Any]) -> Messages:
    """The conversation that an answer is wanted to; answers at its end are left out. Raises UnrecognisedError."""
    if isinstance(value, str):
        return [{"role": "user", "content": _text(value).text}]
    turns, prompt = _turns(value), _first(value, PROMPT_FIELDS)
    if any(value.get(chosen) and value.get(rejected) for chosen, rejected in CHOSEN_FIELDS):
        example = recognise(value)
        assert isinstance(example, Preference)
        messages = example.messages
    elif turns:
        messages = _messages(turns, str(value.get("system") or ""))
    elif prompt is not None:
        messages = [*_history(value), {"role": "user", "content": _question(value, prompt)}]
    else:
        raise UnrecognisedError("no prompt among {names}", names=_names(value))
    while messages[-1]["role"] == "assistant":
        messages.pop()
    return messages


def _names(value: Mapping[str, Any]) -> str:
    """Those of a record's first fields."""
    return ", ".join(map(str, list(value)[:6]))


def _turns(value: Mapping[str, Any]) -> Any:
    """The list of a conversation's turns, if there is one."""
    turns = value.get("messages") or value.get("conversations") or value.get("conversation")
    return _json_list(turns) if isinstance(turns, str) else turns


def _question(value: Mapping[str, Any], prompt: str) -> str:
    """A prompt with its `input`."""
    extra = value.get("input")
    return f"{prompt}\n{extra}" if isinstance(extra, str) and extra.strip() else prompt


def _text(text: str) -> Text:
    if not text.strip():
        raise UnrecognisedError("the text is empty")
    return Text(text.strip("\n"))


def _single_turn(value: Mapping[str, Any], prompt: str) -> Chat:
    answer = _first(value, ANSWER_FIELDS)
    if answer is None or not answer.strip():
        raise UnrecognisedError("the answer is empty")
    if value.get("rationale"):
        answer = f"{value['rationale']}\n{answer}"
    question = {"role": "user", "content": _question(value, prompt)}
    return Chat([*_history(value), question, {"role": "assistant", "content": answer}])


def _history(value: Mapping[str, Any]) -> Messages:
    """`system`, and `history` as [[question, answer], …]."""
    messages: Messages = []
    if isinstance(value.get("system"), str) and value["system"].strip():
        messages.append({"role": "system", "content": value["system"]})
    for pair in value.get("history") or ():
        if isinstance(pair, Sequence) and len(pair) == 2:
            messages += [
                {"role": role, "content": str(text)} for role, text in zip(("user", "assistant"), pair, strict=True)
            ]
    return messages


def _preference(value: Mapping[str, Any], chosen: Any, rejected: Any) -> Preference:
    better, worse = _answer(chosen), _answer(rejected)
    if better == worse:
        raise UnrecognisedError("chosen and rejected are equal")
    turns = value.get("conversations") or value.get("messages")
    if not turns and isinstance(value.get("prompt"), list):
        turns = value["prompt"]
    if not turns and isinstance(chosen, list) and len(chosen) > 1:
        turns = chosen[:-1]
    if turns:
        messages = _messages(turns, str(value.get("system") or ""))
    else:
        prompt = _first(value, PROMPT_FIELDS)
        if prompt is None:
            raise UnrecognisedError("a pair without a prompt")
        messages = [*_history(value), {"role": "user", "content": _question(value, prompt)}]
    if messages[-1]["role"] == "assistant":
        raise UnrecognisedError("the conversation before the pair ends with an answer")
    return Preference(messages, better, worse)


def _answer(value: Any) -> str:
    """An answer as text, a message, or a conversation that ends with it."""
    if isinstance(value, list) and value:
        value = value[-1]
    text = _content(value.get("content", value.get("value"))) if isinstance(value, Mapping) else value
    if not isinstance(text, str) or not text.strip():
        raise UnrecognisedError("an answer of the pair is empty")
    return text


def _messages(turns: Any, system: str) -> Messages:
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        raise UnrecognisedError("the conversation is not a list")
    messages: Messages = [{"role": "system", "content": system}] if system.strip() else []
    for number, turn in enumerate(turns):
        if not isinstance(turn, Mapping):
            raise UnrecognisedError("turn {number} is no object", number=number + 1)
        name = turn.get("role") or turn.get("from") or ("user", "assistant")[number % 2]
        role = ROLE_NAMES.get(str(name).lower())
        if role is None:
            raise UnrecognisedError("turn {number} has the role {name}", number=number + 1, name=repr(name))
        content = _content(turn.get("content", turn.get("value", turn.get("message"))))
        if content.strip():
            messages.append({"role": role, "content": content})
    if not any(message["role"] == "user" for message in messages):
        raise UnrecognisedError("nobody asks in this conversation")
    return messages


def _finished(messages: Messages) -> Messages:
    """Up to the last answer."""
    while messages and messages[-1]["role"] != "assistant":
        messages = messages[:-1]
    if not any(message["role"] == "assistant" for message in messages):
        raise UnrecognisedError("nobody answers in this conversation")
    return messages


def _content(content: Any) -> str:
    """Text, or the texts of a list of typed parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text", part.get("value", "")) for part in content if isinstance(part, Mapping)]
        return "".join(part for part in parts if isinstance(part, str))
    return ""


def _first(value: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((value[name] for name in names if isinstance(value.get(name), str) and value[name].strip()), None)


def _json_list(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise UnrecognisedError("the conversation is a text that is no JSON") from None
