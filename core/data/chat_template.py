"""Conversations to token ids, by the chat template of the checkpoint.

Templates are Jinja source that comes with a model, so they run in the bounds of `template_sandbox`. No
text of a user can become a control token: wherever a message or a tool could spell one, a placeholder stands
while the template runs; the rendered text is cut at the control tokens, which now come from the
template alone, and only then are the placeholders turned back and encoded as plain text.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import jinja2

from core.data.template_roles import has_repeated_turns, moved_indices, with_merged_turns, without_system
from core.data.template_sandbox import TemplateSandbox
from core.data.tokenizer import CHATML, THINK_START, TURN_END, TURN_START, Tokenizer
from core.data.tool_messages import Message, checked_messages, checked_tools, has_tool_turns, texts_of, with_texts
from core.errors import DataError, ModelError

MAX_TEMPLATE_CHARS = 200_000
# Private-use characters of plane 16, which no text in practice holds; see `_placeholders`.
PLACEHOLDER_START = 0x10F000
# Our ChatML where tools come in: listed, called and answered in the form of Hermes 2 Pro, which Qwen shares
# (https://github.com/NousResearch/Hermes-Function-Calling).
CHATML_WITH_TOOLS = (
    "{% if tools %}"
    "{{ '<|im_start|>system\\n' }}"
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + '\\n\\n' }}{% endif %}"
    "{{ 'These functions can be called; each line describes one as JSON.\\n<tools>\\n' }}"
    "{% for tool in tools %}{{ tool | tojson + '\\n' }}{% endfor %}"
    "{{ '</tools>\\nA call is an answer of this form:\\n<tool_call>\\n' }}"
    '{{ \'{"name": the name, "arguments": an object with the arguments}\\n</tool_call><|im_end|>\\n\' }}'
    "{% endif %}"
    "{% for message in (messages[1:] if tools and messages[0]['role'] == 'system' else messages) %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'tool' %}"
    "{{ '<tool_response>\\n' + message['content'] + '\\n</tool_response>' }}"
    "{% else %}{{ message['content'] }}{% endif %}"
    "{% for call in message['tool_calls'] %}"
    "{{ '\\n' if message['content'] or not loop.first else '' }}"
    "{{ '<tool_call>\\n{\"name\": ' + call['function']['name'] | tojson + ', \"arguments\": ' }}"
    "{{ call['function']['arguments'] | tojson + '}\\n</tool_call>' }}"
    "{% endfor %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
PROBE = "Is this shown?"
# Ids at a prompt's end that may hold the tag which opens reasoning.
TAIL_TOKENS = 16


class ChatTemplate:
    """Renders conversations of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Raises ModelError when the checkpoint's template does not compile."""
        self.tokenizer = tokenizer
        self._sandbox = TemplateSandbox()
        self._is_own = tokenizer.chat_template == CHATML
        self._template = _compile(self._sandbox, tokenizer.chat_template)
        self._with_tools = _compile(self._sandbox, CHATML_WITH_TOOLS) if self._is_own else self._template
        controls = sorted(tokenizer.added_tokens, key=len, reverse=True)
        self._control = re.compile("|".join(re.escape(token) for token in controls) or r"(?!)")
        self._beginnings = frozenset(token[:size] for token in controls for size in range(1, len(token)))
        self._endings = frozenset(token[-size:] for token in controls for size in range(1, len(token)))
        self._longest_part = max(map(len, self._beginnings), default=0)

    def encode(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool,
        tools: Sequence[Mapping[str, Any]] = (),
        exact_ids: Mapping[int, Sequence[int]] | None = None,
    ) -> list[int]:
        """Ids of a conversation, with the tools that the model may call, in OpenAI's form.

        Where the template has no system role, the system's text stands before the first turn of the user; where it
        wants turns that alternate, what the user said twice is one turn.
        `exact_ids` are the ids that the model itself wrote for some of the messages, by their index. They stand
        where the template shows such a message as it is; where it rewrites one, the text is encoded.
        Raises GenerationError for a bad message or tool, ModelError for a bad template.
        """
        checked = checked_messages(messages)
        said: dict[str, Any] = {"messages": self._suited(checked), "tools": checked_tools(tools)}
        hidden, placeholders = self._hide_controls(said)
        template = self._with_tools if tools or has_tool_turns(said["messages"]) else self._template

        def render(shown: Sequence[Message]) -> str:
            return self._render(template, {**hidden, "messages": shown}, add_generation_prompt)

        rendered = render(hidden["messages"])
        written: dict[str, Sequence[int]] = {}
        if exact_ids:
            places = moved_indices(checked, said["messages"])
            exact_ids = {places[index]: ids for index, ids in exact_ids.items()}
            rendered, written = _stand_in(hidden["messages"], rendered, render, exact_ids)
        return [token_id for part in self._split(rendered, placeholders, written) for token_id in part]

    def opens_reasoning(self, prompt_ids: Sequence[int]) -> bool:
        """Whether a prompt ends in an open <think>, so that its answer begins with reasoning."""
        decoder = self.tokenizer.stream_decoder(keeps_markup=True)
        tail = "".join(map(decoder.push, prompt_ids[-TAIL_TOKENS:])) + decoder.flush()
        return tail.rstrip().endswith(THINK_START)

    def encode_with_mask(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """Ids of a whole conversation and a mask of 1 on what the assistant says and the end of its turns.

        For ChatML the conversation is closed by the end-of-text token. Raises DataError when the
        template does not render a conversation turn by turn, so that no mask can be found.
        """
        messages = self._suited(checked_messages(messages))
        if self._is_own and not has_tool_turns(messages):
            return self._chatml_with_mask(messages)
        ids: list[int] = []
        mask: list[int] = []
        for count, message in enumerate(messages, start=1):
            is_reply = message["role"] == "assistant"
            if is_reply:
                opened = self.encode(messages[: count - 1], add_generation_prompt=True)
                _extend(ids, mask, opened, 0)
            _extend(ids, mask, self.encode(messages[:count], add_generation_prompt=False), int(is_reply))
        return ([*ids, self.tokenizer.eos_id], [*mask, 1]) if self._is_own else (ids, mask)

    def _chatml_with_mask(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """What the ChatML template gives, without running it."""
        encode, added = self.tokenizer.encode, self.tokenizer.added_tokens
        newline = encode("\n")
        ids: list[int] = []
        mask: list[int] = []
        for message in messages:
            is_reply = int(message["role"] == "assistant")
            header = [added[TURN_START], *encode(f"{message['role']}\n")]
            body = [*encode(message["content"]), added[TURN_END]]
            ids += [*header, *body, *newline]
            mask += [0] * len(header) + [is_reply] * len(body) + [0] * len(newline)
        return [*ids, self.tokenizer.eos_id], [*mask, 1]

    def _suited(self, messages: Sequence[Message]) -> list[Message]:
        """The conversation with the roles and the order that the template takes."""
        suited = list(messages)
        if suited[0]["role"] == "system" and not self._has_system:
            suited = without_system(suited)
        if has_repeated_turns(suited) and not self._takes_repeated_turns:
            suited = with_merged_turns(suited)
        return suited

    @cached_property
    def _has_system(self) -> bool:
        """Whether the system's text is shown; of a template that shows no text of the user it cannot be told."""
        system, user = {"role": "system", "content": PROBE}, {"role": "user", "content": "1"}
        return self._is_own or self._shows(system, user) or not self._shows({**user, "content": PROBE})

    @cached_property
    def _takes_repeated_turns(self) -> bool:
        return self._is_own or self._shows({"role": "user", "content": "1"}, {"role": "user", "content": PROBE})

    def _shows(self, *messages: Message) -> bool:
        """Whether the template takes a conversation and shows PROBE."""
        try:
            return PROBE in self._render(self._template, {"messages": messages, "tools": []}, True)
        except ModelError:
            return False

    def _render(self, template: jinja2.Template, said: Mapping[str, Any], add_generation_prompt: bool) -> str:
        try:
            with self._sandbox.limits():
                return self._sandbox.concat(
                    template.generate(
                        messages=said["messages"],
                        tools=said["tools"] or None,
                        add_generation_prompt=add_generation_prompt,
                        bos_token=self._token_text(self.tokenizer.bos_id),
                        eos_token=self._token_text(self.tokenizer.eos_id),
                    )
                )
        except Exception as exc:  # a template is foreign code: it can raise anything
            what = str(exc) or type(exc).__name__
            raise ModelError(
                "The chat template fails on this conversation: {reason}.", _BAD_TEMPLATE, reason=what
            ) from exc

    def _token_text(self, token_id: int | None) -> str:
        return next((token for token, other in self.tokenizer.added_tokens.items() if other == token_id), "")

    def _hide_controls(self, said: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """Messages and tools, with placeholders for every spelling of a control token, whole or begun at an edge."""
        fresh = _placeholders(texts_of(said))
        placeholders: dict[str, str] = {}

        def hide(text: str) -> str:
            if text not in placeholders:
                placeholders[text] = next(fresh)
            return placeholders[text]

        def safe(text: str) -> str:
            text = self._control.sub(lambda match: hide(match[0]), text)
            sizes = range(min(self._longest_part, len(text)), 0, -1)
            begun = next((size for size in sizes if text[-size:] in self._beginnings), 0)
            if begun:
                text = text[:-begun] + hide(text[-begun:])
            sizes = range(min(self._longest_part, len(text)), 0, -1)
            ended = next((size for size in sizes if text[:size] in self._endings), 0)
            return hide(text[:ended]) + text[ended:] if ended else text

        hidden = with_texts(said["messages"], safe)
        for message, original in zip(hidden, said["messages"], strict=True):
            message["role"] = original["role"]
        tools = with_texts(said["tools"], safe)
        for tool in tools:
            tool["type"] = "function"
        return {"messages": hidden, "tools": tools}, {place: text for text, place in placeholders.items()}

    def _split(
        self, rendered: str, placeholders: Mapping[str, str], written: Mapping[str, Sequence[int]]
    ) -> Iterator[Sequence[int]]:
        """Control tokens and written messages as ids, the spans between encoded with their placeholders undone."""
        undo = str.maketrans(dict(placeholders))
        known = {**{token: [number] for token, number in self.tokenizer.added_tokens.items()}, **written}
        cuts = re.compile("|".join([*map(re.escape, written), self._control.pattern]))
        end = 0
        for match in cuts.finditer(rendered):
            yield self._encode_plain(rendered[end : match.start()], undo)
            yield known[match[0]]
            end = match.end()
        yield self._encode_plain(rendered[end:], undo)

    def _encode_plain(self, span: str, undo: dict[int, str]) -> list[int]:
        return self.tokenizer.encode(span.translate(undo)) if span else []


def _stand_in(
    messages: Sequence[Message],
    rendered: str,
    render: Callable[[Sequence[Message]], str],
    exact_ids: Mapping[int, Sequence[int]],
) -> tuple[str, dict[str, Sequence[int]]]:
    """The rendered conversation with a mark for each message that has ids, and the ids of each mark.

    Only if putting the texts back gives what the template makes of them: it may cut or rewrite a message.
    """
    fresh = _placeholders([rendered, *texts_of(list(messages))])
    marks = {index: next(fresh) for index in exact_ids}
    result = render(
        [{**message, "content": marks.get(index, message["content"])} for index, message in enumerate(messages)]
    )
    texts = {mark: messages[index]["content"] for index, mark in marks.items()}
    if any(result.count(mark) != 1 for mark in texts):
        return rendered, {}
    # Some templates strip the messages; what the model wrote is then still what it saw.
    for changed in (texts, {mark: text.strip() for mark, text in texts.items()}):
        if result.translate({ord(mark): text for mark, text in changed.items()}) == rendered:
            return result, {mark: exact_ids[index] for index, mark in marks.items()}
    return rendered, {}


_BAD_TEMPLATE = "Choose another version of the model, or remove chat_template from its tokenizer_config.json."


def _extend(ids: list[int], mask: list[int], longer: list[int], value: int) -> None:
    """Let `ids` grow to `longer`, which must continue it."""
    if longer[: len(ids)] != ids:
        raise DataError(
            "This chat template rewrites earlier turns, so the assistant's tokens cannot be found.",
            "Train with a ChatML tokenizer.",
        )
    mask += [value] * (len(longer) - len(ids))
    ids[:] = longer


def overlap(left: str, right: str, longest: int) -> int:
    """Length, at most `longest`, of the longest end of `left` that begins `right`."""
    sizes = range(min(longest, len(left), len(right)), 0, -1)
    return next((size for size in sizes if left.endswith(right[:size])), 0)


def _placeholders(texts: Iterable[str]) -> Iterator[str]:
    """Private-use characters that do not occur in the conversation."""
    used = set[str]().union(*texts)
    return (chr(code) for code in range(PLACEHOLDER_START, 0x10FFFE) if chr(code) not in used)


def _compile(sandbox: TemplateSandbox, source: str) -> jinja2.Template:
    if len(source) > MAX_TEMPLATE_CHARS:
        raise ModelError(
            "The chat template is {size:,} characters, over {most:,}.", _BAD_TEMPLATE,
            size=len(source), most=MAX_TEMPLATE_CHARS,
        )  # fmt: skip
    try:
        return sandbox.from_string(source)
    except (jinja2.TemplateError, RecursionError, MemoryError) as exc:
        raise ModelError("The chat template does not compile: {reason}.", _BAD_TEMPLATE, reason=exc) from exc
