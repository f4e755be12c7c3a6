"""Requests: what is read, what is dropped, what is refused and with which words; and the form of answers."""

import json
from typing import Any

import pytest

from core.config.param_config import SamplingConfig
from core.inference.openai_schema import (
    IGNORED,
    UNSUPPORTED,
    ChatReply,
    ChatRequest,
    RequestError,
    TextReply,
    TextRequest,
    Usage,
)

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
NEUTRAL = [(name, value) for name, values in UNSUPPORTED.items() for value in (*values, None)]


def read_chat(**fields: Any) -> ChatRequest:
    return ChatRequest.read(json.dumps({**CHAT, **fields}).encode())


def read_text(**fields: Any) -> TextRequest:
    return TextRequest.read(json.dumps(fields).encode())


def refusal(**fields: Any) -> dict[str, Any]:
    """The error object of a chat request with these fields."""
    with pytest.raises(RequestError) as caught:
        read_chat(**fields)
    assert caught.value.status == 400
    error: dict[str, Any] = caught.value.body["error"]
    return error


def test_what_was_given_reaches_the_sampling_config_and_nothing_else() -> None:
    options = {"temperature": 0, "top_p": 0.5, "top_k": 3, "min_p": 0.1, "repetition_penalty": 1.5, "seed": 7}
    sampling = read_chat(**options, stop=["a", "b"], max_tokens=9).sampling(longest=50)
    assert sampling == {**options, "stop": ["a", "b"], "max_new_tokens": 9}
    assert SamplingConfig.from_dict(sampling).max_new_tokens == 9
    assert read_chat().sampling(longest=50) == {"stop": [], "max_new_tokens": 50}


def test_a_text_without_a_limit_is_16_tokens_as_openai_has_it() -> None:
    assert read_text(prompt="a").sampling(longest=50)["max_new_tokens"] == 16


def test_equal_limits_are_one_and_different_ones_a_conflict() -> None:
    assert read_chat(max_tokens=4, max_completion_tokens=4).sampling(longest=9)["max_new_tokens"] == 4
    with pytest.raises(RequestError, match="max_tokens is 4 and max_completion_tokens is 5; give one"):
        read_chat(max_tokens=4, max_completion_tokens=5).sampling(longest=9)


def test_one_stop_string_is_a_list_of_one() -> None:
    assert read_chat(stop="###").stop == ["###"]


def test_content_in_parts_is_joined_and_developer_is_system() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    asked = read_chat(messages=[{"role": "developer", "content": parts, "name": "x", "refusal": None}])
    assert [message.plain() for message in asked.messages] == [{"role": "system", "content": "ab"}]


def test_a_prompt_may_stand_in_a_list() -> None:
    assert read_text(prompt=["a"]).prompt == "a"
    for prompt in (["a", "b"], [], [1, 2], [[1]], 3):
        with pytest.raises(RequestError, match="prompt"):
            read_text(prompt=prompt)


@pytest.mark.parametrize("name", sorted(IGNORED))
def test_fields_that_change_nothing_are_dropped(name: str) -> None:
    assert read_chat(**{name: "anything"}) == read_chat()


@pytest.mark.parametrize(("name", "value"), NEUTRAL, ids=str)
def test_fields_that_cannot_be_served_pass_when_they_ask_for_nothing(name: str, value: Any) -> None:
    assert read_chat(**{name: value}) == read_chat()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("n", True),
        ("logprobs", True),
        ("logprobs", 0),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("tool_choice", "required"),
        ("response_format", {"type": "json_object"}),
        ("frequency_penalty", 0.5),
        ("logit_bias", {"5": 1}),
        ("echo", True),
        ("modalities", ["audio"]),
    ],
    ids=str,
)
def test_fields_that_cannot_be_served_are_refused_by_name(name: str, value: Any) -> None:
    error = refusal(**{name: value})
    assert (error["param"], error["code"], error["type"]) == (name, "unsupported", "invalid_request_error")
    assert f"{name} {value!r}"[:60] in error["message"]


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [("temprature", "temperature"), ("max_token", "max_tokens"), ("repeat_penalty", "repetition_penalty")],
)
def test_a_misspelt_field_is_refused_with_the_nearest_one(misspelt: str, meant: str) -> None:
    error = refusal(**{misspelt: 1})
    assert (error["param"], error["code"]) == (misspelt, "unknown_parameter")
    assert f'did you mean "{meant}"' in error["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 2.5}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"stop": "a" * 257}, "stop[0]"),
        ({"stream_options": {"include_usage": 3}}, "stream_options.include_usage"),
    ],
    ids=str,
)
def test_a_bad_value_is_refused_with_its_place(fields: dict[str, Any], param: str) -> None:
    error = refusal(**fields)
    assert error["param"] == param
    assert param.rpartition(".")[0] in error["message"]
    assert len(error["message"]) < 250


def test_missing_messages_are_named() -> None:
    with pytest.raises(RequestError, match=r"^messages is required\.$"):
        ChatRequest.read(b"{}")


@pytest.mark.parametrize("body", [b'{"temperature": NaN}', b'{"a": "\\ud800"}', b'{"a":' * 300, b"\xff", b"null", b""])
def test_what_is_not_a_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError, match="The body is"):
        ChatRequest.read(body)


def test_both_kinds_of_reply_have_openais_form() -> None:
    usage = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3, prompt_tokens_details={"cached_tokens": 0})
    chat, text = ChatReply("m"), TextReply("m")
    whole = chat.whole("hi", "stop", usage).model_dump()
    assert whole["id"].startswith("chatcmpl-")
    assert whole["choices"] == [
        {"index": 0, "logprobs": None, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}
    ]
    assert chat.piece("hi").model_dump()["choices"][0]["delta"] == {"content": "hi"}
    assert chat.ending("stop").model_dump()["choices"][0] == {
        "index": 0, "logprobs": None, "finish_reason": "stop", "delta": {}
    }  # fmt: skip
    assert chat.counts(usage).model_dump()["choices"] == []
    assert text.piece("hi").object == text.whole("hi", "stop", usage).object == "text_completion"
    assert text.piece("hi").model_dump()["choices"] == [
        {"index": 0, "logprobs": None, "finish_reason": None, "text": "hi"}
    ]
