"""Tokens as the trainer reads them: which are learnt from, where one text ends and the next begins, what is special.

A row is tokenised by what `prepare` runs, and cut and masked as the data sets of `core.data` do it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.data.answers import answer_span, answer_start
from core.data.chat_template import ChatTemplate
from core.data.formats import KINDS_OF_STAGE, Chat, Example, Text, UnrecognisedError, recognise
from core.data.tokenise import Document, documents
from core.data.tokenizer import Tokenizer
from core.errors import DataError

Value = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TokenView:
    """One token.

    `document` counts the texts or conversations; of a pair 0 is the prompt, 1 the better and 2 the worse answer.
    """

    id: int
    text: str  # bytes that are no whole character stand as \\xe4
    has_loss: bool  # the model is taught to say it; stage rm: the score is read here
    document: int
    is_special: bool
    is_read: bool = True  # false for what max_seq_len cuts off


def inspect(
    rows: Value | Sequence[Value], tokenizer: Tokenizer, stage: str, *, max_seq_len: int = 512
) -> list[TokenView]:
    """The tokens of rows (texts, or objects of any form that `prepare` knows) as a stage reads them.

    Raises DataError for a row that this stage does not learn from.
    """
    template = ChatTemplate(tokenizer)
    names = {number: name for name, number in tokenizer.added_tokens.items()}
    views: list[TokenView] = []
    for number, row in enumerate([rows] if isinstance(rows, str | Mapping) else rows):
        example = _example(row, stage, number)
        read = documents(template, example)
        first = views[-1].document + 1 if views else 0
        for token in _tokens(read, example, stage, tokenizer, max_seq_len):
            text = names.get(token.id)
            is_special = text is not None
            if text is None:
                text = tokenizer.token_bytes(token.id).decode("utf-8", "backslashreplace")
            views.append(
                TokenView(token.id, text, token.has_loss, first + token.part, is_special, is_read=token.is_read)
            )
    return views


@dataclass(frozen=True, slots=True)
class _Token:
    id: int
    has_loss: bool
    part: int = 0
    is_read: bool = True


def _example(row: Value, stage: str, number: int) -> Example:
    kinds = KINDS_OF_STAGE[stage]
    try:
        example = recognise(row)
    except UnrecognisedError as exc:
        raise DataError(
            "Row {row} is no example: {reason}.", "Choose another row.", row=number + 1, reason=exc
        ) from exc
    if kinds == ("pt",) and isinstance(example, Chat):
        return Text(example.key())
    if example.kind not in kinds:
        raise DataError(
            "Row {row} is {found} data, and stage {stage} learns from {known}.",
            "Choose another row or another stage.",
            row=number + 1,
            found=example.kind,
            stage=stage,
            known=" or ".join(kinds),
        )
    return example


def _tokens(
    read: list[Document], example: Example, stage: str, tokenizer: Tokenizer, max_seq_len: int
) -> Iterator[_Token]:
    if stage == "pt":
        yield _Token(tokenizer.start_id, has_loss=False)
        yield from (_Token(int(token_id), has_loss=True) for token_id in read[0].ids)
    elif stage == "sft":
        yield from _conversation(read[0], max_seq_len)
    elif stage in ("rm", "dpo"):
        yield from _pair(read, stage, tokenizer, max_seq_len)
    else:  # the answers are drawn by the policy
        mask = read[0].mask
        assert mask is not None, "conversations carry a loss mask"
        yield from (_Token(int(token_id), has_loss=False) for token_id in read[0].ids[: answer_start(mask)])


def _conversation(document: Document, max_seq_len: int) -> Iterator[_Token]:
    """A row holds max_seq_len predictions: the first token is none, and what comes after them is cut off."""
    mask = document.mask
    assert mask is not None, "conversations carry a loss mask"
    for place, token_id in enumerate(document.ids):
        is_read = place <= max_seq_len
        yield _Token(int(token_id), has_loss=bool(mask[place]) and place > 0 and is_read, is_read=is_read)


def _pair(read: list[Document], stage: str, tokenizer: Tokenizer, max_seq_len: int) -> Iterator[_Token]:
    """The prompt once, its beginning cut where it has no room, and both answers up to the ends of their turns."""
    stop_ids = np.array(sorted(tokenizer.stop_ids))
    spans = []
    for document in read:
        assert document.mask is not None, "pairs carry a loss mask"
        spans.append(answer_span(document.ids, document.mask, stop_ids))
    (end, _), (other_end, _) = spans
    prompt = read[0].ids[:end]
    if not np.array_equal(prompt, read[1].ids[:other_end]):
        raise DataError("The prompts of the pair differ.", "Use a chat template that puts the answer last.")
    lengths = [length for _, length in spans]
    fits = end > 0 and min(lengths) > 0 and max(lengths) < max_seq_len
    room = max_seq_len - max(lengths) if fits else 0
    for place, token_id in enumerate(prompt):
        yield _Token(int(token_id), has_loss=False, is_read=end - place <= room)
    for part, (document, length) in enumerate(zip(read, lengths, strict=True), start=1):
        for place, token_id in enumerate(document.ids[end : end + length], start=1):
            has_loss = fits and (stage != "rm" or place == length)
            yield _Token(int(token_id), has_loss, part, is_read=fits)
