"""Parts of an answer: the same for any split of its text, and nothing lost."""

import itertools
import json
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.data.tokenizer import MARKUP, Tokenizer
from core.inference.answer_parts import MAX_CALL_CHARS, AnswerParser, Part, PartKind, ToolCall

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "北京"}}\n</tool_call>'
WEATHER = ToolCall("weather", '{"city": "北京"}')
# Fragments that an answer can be made of, whole tags and halves among them.
FRAGMENTS = [
    *MARKUP, CALL, *("<", ">", "</", "think>", "<thi", "nk>", "<tool_", "call>", "</tool_call", "\n", "  ", "a", "文"),
    '{"name": "weather", "arguments": {}}', '{"name": "other"}', '{"name": "time"}', "<tool_call>\n", "\n</tool_call>",
]  # fmt: skip


def parse(*pieces: str, tool_names: tuple[str, ...] = ("weather", "time"), in_reasoning: bool = False) -> list[Part]:
    parser = AnswerParser(tool_names=tool_names, in_reasoning=in_reasoning)
    return [part for piece in pieces for part in parser.push(piece)] + parser.flush()


def joined(parts: list[Part]) -> list[Part]:
    """Neighbours of one kind as one part; calls stay single."""
    result: list[Part] = []
    for part in parts:
        last = result[-1] if result else None
        if last and last.kind == part.kind != PartKind.TOOL_CALL:
            result[-1] = Part(part.kind, last.text + part.text, last.raw + part.raw)
        else:
            result.append(part)
    return result


def shown(parts: list[Part], kind: PartKind) -> str:
    return "".join(part.text for part in parts if part.kind == kind)


def summary(text: str, **options: object) -> tuple[str, str, list[ToolCall | None]]:
    """Content, reasoning and calls."""
    parts = parse(text, **options)  # type: ignore[arg-type]
    calls = [part.call for part in parts if part.kind == PartKind.TOOL_CALL]
    return shown(parts, PartKind.CONTENT), shown(parts, PartKind.REASONING), calls


@settings(max_examples=400, deadline=None)
@given(
    fragments=st.lists(st.sampled_from(FRAGMENTS), max_size=14),
    cuts=st.lists(st.integers(0, 400), max_size=8),
    in_reasoning=st.booleans(),
    tool_names=st.sampled_from([(), ("weather",), ("weather", "time")]),
)
@example(["<think>", "\n", "a", "</think>", "\n", CALL, "\n", CALL], [3, 9, 11, 20, 90], False, ("weather",))
def test_parts_are_the_same_for_any_split_and_join_to_the_text(
    fragments: list[str], cuts: list[int], in_reasoning: bool, tool_names: tuple[str, ...]
) -> None:
    text = "".join(fragments)
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[begin:end] for begin, end in itertools.pairwise(places)]
    at_once = parse(text, tool_names=tool_names, in_reasoning=in_reasoning)
    whole = joined(at_once)
    for split in (pieces, list(text)):
        parts = parse(*split, tool_names=tool_names, in_reasoning=in_reasoning)
        assert joined(parts) == whole
        assert "".join(part.raw for part in parts) == text
    for part in at_once:
        assert part.text in part.raw
        assert (part.call is not None) == (part.kind == PartKind.TOOL_CALL)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello.", ("Hello.", "", [])),
        ("", ("", "", [])),
        ("  Hello\n", ("  Hello\n", "", [])),
        ("<think>\nso\n</think>\n\nHello.", ("Hello.", "so\n", [])),
        ("\n<think>so</think>Hello.", ("Hello.", "so", [])),
        ("<think></think>Hello.", ("Hello.", "", [])),
        ("<think>never ends", ("", "never ends", [])),
        ("The tag <think> opens, </think> closes.", ("The tag <think> opens, </think> closes.", "", [])),
        (CALL, ("", "", [WEATHER])),
        (f"I look.\n{CALL}", ("I look.\n", "", [WEATHER])),
        (f"{CALL}\n{CALL}\n", ("", "", [WEATHER, WEATHER])),
        (f"<think>a</think>\n{CALL}\nDone.", ("Done.", "a", [WEATHER])),
        (f"{CALL}\n<think>b</think>Done.", ("Done.", "b", [WEATHER])),
        (f"<think>{CALL}</think>", ("", CALL, [])),
        (CALL.removesuffix("\n</tool_call>"), ("", "", [WEATHER])),
        ('<tool_call>{"name": "time"}</tool_call>', ("", "", [ToolCall("time", "{}")])),
        (f"<tool_call>{CALL}", ("<tool_call>", "", [WEATHER])),
    ],
)
def test_answers_fall_into_their_parts(text: str, expected: tuple[str, str, list[ToolCall]]) -> None:
    assert summary(text) == expected


@pytest.mark.parametrize(
    "body",
    [
        "not JSON",
        '{"name": "weather", "arguments": {',
        '{"name": "weather", "arguments": {}} and more',
        '{"name": "weather", "arguments": "{}"}',
        '{"name": "weather", "arguments": [1]}',
        '{"name": "weather", "arguments": {"x": NaN}}',
        '{"name": "missiles", "arguments": {}}',
        '{"name": ["weather"], "arguments": {}}',
        '{"arguments": {}}',
        '["weather"]',
        '"weather"',
        "[" * 100_000,
        '{"name": "weather", "arguments": {"x": ' + "9" * 5000 + "}}",
    ],
)
def test_what_is_no_call_of_an_offered_tool_is_content_as_it_stands(body: str) -> None:
    text = f"So: <tool_call>\n{body}\n</tool_call>\n and on."
    assert summary(text) == (text, "", [])
    assert summary(text.removesuffix("\n</tool_call>\n and on.")) == (
        text.removesuffix("\n</tool_call>\n and on."),
        "",
        [],
    )


def test_without_tools_a_call_is_content_that_is_not_held_back() -> None:
    parser = AnswerParser()
    assert parser.push("a <tool_") == [Part(PartKind.CONTENT, "a <tool_", "a <tool_")]
    assert summary(CALL, tool_names=()) == (CALL, "", [])


def test_an_answer_may_begin_inside_reasoning() -> None:
    assert summary("\nso</think>\n\nHello <think>.", in_reasoning=True) == ("Hello <think>.", "so", [])
    assert summary(f"so</think>{CALL}", in_reasoning=True) == ("", "so", [WEATHER])
    assert summary("so", in_reasoning=True) == ("", "so", [])


def test_a_lone_bracket_streams_on_as_soon_as_it_cannot_be_a_tag() -> None:
    parser = AnswerParser(tool_names=["weather"])
    assert shown(parser.push("1 <"), PartKind.CONTENT) == "1 "
    assert shown(parser.push(" 2 <to"), PartKind.CONTENT) == "< 2 "
    assert shown(parser.push("p>"), PartKind.CONTENT) == "<top>"
    assert parser.flush() == []


def test_half_a_tag_at_the_end_is_shown() -> None:
    assert summary("a <tool_ca") == ("a <tool_ca", "", [])
    assert summary("<thin") == ("<thin", "", [])
    assert summary("so </thin", in_reasoning=True) == ("", "so </thin", [])


def test_no_half_tag_is_shown_while_it_may_become_one() -> None:
    text = f"<think>so</think>I look. {CALL}"
    for size in (1, 2, 3, 7):
        parser = AnswerParser(tool_names=["weather"])
        for begin in range(0, len(text), size):
            for part in parser.push(text[begin : begin + size]):
                assert "<" not in part.text


def test_arguments_are_json_whatever_they_hold() -> None:
    arguments = {"text": '</think> "quoted" \\ \n', "n": [1, 2.5, None, {"x": True}]}
    text = f"<tool_call>{json.dumps({'name': 'time', 'arguments': arguments})}</tool_call>"
    (call,) = summary(text)[2]
    assert call is not None
    assert json.loads(call.arguments) == arguments


def test_an_overlong_call_is_content_and_holding_it_back_takes_linear_time() -> None:
    text = "<tool_call>" + "x" * (MAX_CALL_CHARS + 10)
    begin = time.perf_counter()
    parts = parse(*(text[place : place + 8] for place in range(0, len(text), 8)))
    assert time.perf_counter() - begin < 10
    assert shown(parts, PartKind.CONTENT) == text


def test_a_decoder_that_keeps_markup_spells_the_tags_that_are_control_tokens(tokenizer: Tokenizer) -> None:
    added = tokenizer.added_tokens
    call = tokenizer.encode('{"name": "time"}')
    ids = [added["<think>"], *tokenizer.encode("so"), added["</think>"], added["<tool_call>"], *call]
    ids += [added["</tool_call>"], added["<|im_end|>"]]
    decoder = tokenizer.stream_decoder(keeps_markup=True)
    text = "".join(map(decoder.push, ids)) + decoder.flush()
    assert text == '<think>so</think><tool_call>{"name": "time"}</tool_call>'
    assert tokenizer.decode(ids) == 'so{"name": "time"}'
    assert summary(text) == ("", "so", [ToolCall("time", "{}")])


def test_half_a_character_before_a_tag_comes_out_before_it(tokenizer: Tokenizer) -> None:
    byte = next(i for i in range(tokenizer.vocab_size) if tokenizer.token_bytes(i) == b"\xe4")
    decoder = tokenizer.stream_decoder(keeps_markup=True)
    assert decoder.push(byte) + decoder.push(tokenizer.added_tokens["<think>"]) == "\ufffd<think>"
