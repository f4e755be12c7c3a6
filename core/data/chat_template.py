"""Conversations to token ids, by the chat template of the checkpoint.

Templates are Jinja source that comes with a model, so they run in the bounds of `template_sandbox`. No
text of a user can become a control token: wherever a message could spell one, a placeholder stands
while the template runs; the rendered text is cut at the control tokens, which now come from the
template alone, and only then are the placeholders turned back and encoded as plain text.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import jinja2

from core.data.template_sandbox import TemplateSandbox
from core.data.tokenizer import CHATML, TURN_END, TURN_START, Tokenizer
from core.errors import DataError, GenerationError, ModelError

ROLES = ("system", "user", "assistant", "tool")
MAX_TEMPLATE_CHARS = 200_000
# Private-use characters of plane 16, which no text in practice holds; see `_placeholders`.
PLACEHOLDER_START = 0x10F000

Message = Mapping[str, str]


class ChatTemplate:
    """Renders conversations of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Raises ModelError when the checkpoint's template does not compile."""
        self.tokenizer = tokenizer
        self._sandbox = TemplateSandbox()
        self._template = _compile(self._sandbox, tokenizer.chat_template)
        controls = sorted(tokenizer.added_tokens, key=len, reverse=True)
        self._control = re.compile("|".join(re.escape(token) for token in controls) or r"(?!)")
        self._controls = controls

    def encode(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool,
        exact_ids: Mapping[int, Sequence[int]] | None = None,
    ) -> list[int]:
        """Ids of a conversation. Raises GenerationError for a bad message, ModelError for a bad template.

        `exact_ids` are the ids that the model itself wrote for some of the messages, by their index. They stand
        where the template shows such a message as it is; where it rewrites one, the text is encoded.
        """
        _check(messages)
        hidden, placeholders = self._hide_controls(messages)
        rendered = self._render(hidden, add_generation_prompt)
        written: dict[str, Sequence[int]] = {}
        if exact_ids:
            rendered, written = self._stand_in(hidden, rendered, add_generation_prompt, exact_ids)
        return [token_id for part in self._split(rendered, placeholders, written) for token_id in part]

    def encode_with_mask(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """Ids of a whole conversation and a mask of 1 on what the assistant says and the end of its turns.

        For ChatML the conversation is closed by the end-of-text token. Raises DataError when the
        template does not render a conversation turn by turn, so that no mask can be found.
        """
        _check(messages)
        if self.tokenizer.chat_template == CHATML:
            return self._chatml_with_mask(messages)
        ids: list[int] = []
        mask: list[int] = []
        for count, message in enumerate(messages, start=1):
            is_reply = message["role"] == "assistant"
            if is_reply:
                opened = self.encode(messages[: count - 1], add_generation_prompt=True)
                _extend(ids, mask, opened, 0)
            _extend(ids, mask, self.encode(messages[:count], add_generation_prompt=False), int(is_reply))
        return ids, mask

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

    def _stand_in(
        self,
        messages: Sequence[Message],
        rendered: str,
        add_generation_prompt: bool,
        exact_ids: Mapping[int, Sequence[int]],
    ) -> tuple[str, dict[str, Sequence[int]]]:
        """The conversation with one character for each message whose ids are known, and the ids behind it.

        Only if putting the texts back gives what the template makes of them: it may cut or rewrite a message.
        """
        fresh = _placeholders("".join([rendered, *(message["content"] for message in messages)]))
        marks = {index: next(fresh) for index in exact_ids}
        marked = [
            {**message, "content": marks.get(index, message["content"])} for index, message in enumerate(messages)
        ]
        result = self._render(marked, add_generation_prompt)
        texts = {mark: messages[index]["content"] for index, mark in marks.items()}
        if any(result.count(mark) != 1 for mark in texts):
            return rendered, {}
        # Some templates strip the messages; what the model wrote is then still what it saw.
        for changed in (texts, {mark: text.strip() for mark, text in texts.items()}):
            if result.translate({ord(mark): text for mark, text in changed.items()}) == rendered:
                return result, {mark: exact_ids[index] for index, mark in marks.items()}
        return rendered, {}

    def _render(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        try:
            with self._sandbox.limits():
                return self._sandbox.concat(
                    self._template.generate(
                        messages=list(messages),
                        add_generation_prompt=add_generation_prompt,
                        bos_token=self._token_text(self.tokenizer.bos_id),
                        eos_token=self._token_text(self.tokenizer.eos_id),
                    )
                )
        except Exception as exc:  # a template is foreign code: it can raise anything
            what = str(exc) or type(exc).__name__
            raise ModelError(f"The chat template fails on this conversation: {what}.", _BAD_TEMPLATE) from exc

    def _token_text(self, token_id: int | None) -> str:
        return next((token for token, other in self.tokenizer.added_tokens.items() if other == token_id), "")

    def _hide_controls(self, messages: Sequence[Message]) -> tuple[list[Message], dict[str, str]]:
        """Roles and contents, with placeholders for every spelling of a control token, whole or begun at an edge."""
        texts = "".join(message["content"] for message in messages)
        fresh = _placeholders(texts)
        placeholders: dict[str, str] = {}

        def hide(text: str) -> str:
            if text not in placeholders:
                placeholders[text] = next(fresh)
            return placeholders[text]

        hidden: list[Message] = []
        for message in messages:
            content = self._control.sub(lambda match: hide(match[0]), message["content"])
            begun = max((overlap(content, token, len(token) - 1) for token in self._controls), default=0)
            if begun:
                content = content[:-begun] + hide(content[-begun:])
            ended = max((overlap(token, content, len(token) - 1) for token in self._controls), default=0)
            if ended:
                content = hide(content[:ended]) + content[ended:]
            hidden.append({"role": message["role"], "content": content})
        return hidden, {placeholder: text for text, placeholder in placeholders.items()}

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


def _placeholders(texts: str) -> Iterator[str]:
    """Private-use characters that do not occur in the conversation."""
    used = set(texts)
    return (chr(code) for code in range(PLACEHOLDER_START, 0x10FFFE) if chr(code) not in used)


def _check(messages: Sequence[Message]) -> None:
    if not messages:
        raise GenerationError("The conversation is empty.", "Give at least one message.")
    for number, message in enumerate(messages, start=1):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise GenerationError(f"Message {number} has the role {role!r}.", f"Use one of {', '.join(ROLES)}.")
        if not isinstance(content, str):
            raise GenerationError(f"Message {number} has no text as content.", "Give content as a string.")


def _compile(sandbox: TemplateSandbox, source: str) -> jinja2.Template:
    if len(source) > MAX_TEMPLATE_CHARS:
        raise ModelError(
            f"The chat template is {len(source):,} characters, over {MAX_TEMPLATE_CHARS:,}.", _BAD_TEMPLATE
        )
    try:
        return sandbox.from_string(source)
    except (jinja2.TemplateError, RecursionError, MemoryError) as exc:
        raise ModelError(f"The chat template does not compile: {exc}.", _BAD_TEMPLATE) from exc
