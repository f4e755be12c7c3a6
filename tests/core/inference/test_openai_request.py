"""Requests: what is read, what is dropped, what is refused and with which words."""

import json
import time
from typing import Any

import pytest

from core.config.param_config import SamplingConfig
from core.inference.openai_chat_request import ChatRequest
from core.inference.openai_error import RequestError
from core.inference.openai_request import IGNORED, MAX_SEED, UNSUPPORTED, EmbeddingRequest, TextRequest

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
    options = {"temperature": 0, "top_p": 0.5, "top_k": 3, "min_p": 0.1, "repetition_penalty": 1.5}
    options |= {"frequency_penalty": 0.5, "presence_penalty": -1, "logit_bias": {"7": -100, "0": 1.5}}
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


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a", ["a"]), (["a"], ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]])],
    ids=str,
)
def test_prompts_are_texts_or_token_ids_alone_or_in_a_list(prompt: Any, prompts: list[Any]) -> None:
    assert read_text(prompt=prompt).prompt == prompts


@pytest.mark.parametrize("prompt", [[], 3, [[]], [-1], [1, "a"], ["a"] * 17, [2**25], [True], {"a": 1}], ids=str)
def test_other_prompts_are_refused(prompt: Any) -> None:
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
        ("best_of", 2),
        ("echo", True),
        ("echo", 0),
        ("suffix", "end"),
        ("functions", [{"name": "f"}]),
        ("modalities", ["audio"]),
        ("audio", {"voice": "x"}),
        ("web_search_options", {}),
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
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0].id"),
        ({"messages": [{"role": "assistant"}]}, "messages[0]"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"n": True}, "n"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"logprobs": 5}, "logprobs"),
        ({"frequency_penalty": 2.1}, "frequency_penalty"),
        ({"presence_penalty": -3}, "presence_penalty"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x.[key]"),
        ({"logit_bias": {"05": 1}}, "logit_bias.05.[key]"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5"),
        ({"logit_bias": {str(token): 1 for token in range(1025)}}, "logit_bias"),
        ({"tools": [{"type": "retrieval"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tool_choice": "always"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": ""}}}, "tool_choice.function.name"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.name"),
        ({"collections": [""]}, "collections[0]"),
        ({"collections": ["a"] * 17}, "collections"),
        ({"adapter": "a" * 257}, "adapter"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"seed": 2**63}, "seed"),
        ({"top_k": -1}, "top_k"),
        ({"temperature": 10**400}, "temperature"),
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


@pytest.mark.parametrize(
    "body",
    [
        b'{"temperature": NaN}', b'{"a": "\\ud800"}', b'{"a":' * 300, b"\xff", b"null", b"",
        b'{"seed": ' + b"9" * 5000 + b"}", b"\xff\xfe{\x00}\x00",
    ],
)  # fmt: skip
def test_what_is_not_a_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError, match="The body is") as caught:
        ChatRequest.read(body)
    assert caught.value.body["error"]["code"] == "invalid_json"


def test_json_that_is_nested_too_deep_is_refused() -> None:
    for depth, kind in ((60, dict), (150, list)):
        value: Any = 1
        for _ in range(depth):
            value = {"a": value} if kind is dict else [value]
        assert refusal(metadata=value)["code"] == "too_deep"


@pytest.mark.parametrize("part", [b"[],", b"{},", b"1,"])
def test_json_of_very_many_values_is_refused_before_it_is_read(part: bytes) -> None:
    body = b'{"prompt": "x", "metadata": [' + part * 1_000_001 + b"1]}"
    start = time.perf_counter()
    with pytest.raises(RequestError, match="too many values"):
        TextRequest.read(body)
    assert time.perf_counter() - start < 0.5


def test_a_byte_order_mark_is_skipped_and_of_equal_names_the_last_counts() -> None:
    body = b'\xef\xbb\xbf{"prompt": "a", "prompt": "b"}'
    assert TextRequest.read(body).prompt == ["b"]


def test_characters_of_all_kinds_come_through() -> None:
    text = "\u2028\u2029 👩‍💻 é \x00 \ufeff ﷺ"
    assert read_text(prompt=text).prompt == [text]
    assert TextRequest.read(json.dumps({"prompt": text}, ensure_ascii=False).encode()).prompt == [text]
    assert TextRequest.read(b'{"prompt": "\\ud83d\\ude00"}').prompt == ["😀"]


def test_seeds_of_several_answers_follow_each_other_and_negative_ones_wrap() -> None:
    assert read_chat().seed_of(3) == {}
    assert [read_chat(seed=7).seed_of(index) for index in (0, 1)] == [{"seed": 7}, {"seed": 8}]
    assert read_chat(seed=-1).seed_of(0) == {"seed": MAX_SEED}
    assert read_chat(seed=MAX_SEED).seed_of(1) == {"seed": 0}


def test_logprobs_of_a_chat_and_of_a_text() -> None:
    assert read_chat().num_logprobs is None
    assert read_chat(logprobs=True).num_logprobs == 0
    assert read_chat(logprobs=True, top_logprobs=3).sampling(longest=9)["logprobs"] == 3
    assert read_text(prompt="a", logprobs=0).sampling(longest=9)["logprobs"] == 0
    assert "logprobs" not in read_text(prompt="a").sampling(longest=9)


def test_forms_of_the_answer_become_a_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    named = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    assert read_chat(response_format=named).sampling(longest=9)["json_schema"] == schema
    assert read_chat(response_format={"type": "json_object"}).json_schema == {"type": "object"}
    assert "json_schema" not in read_chat(response_format={"type": "text"}).sampling(longest=9)


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (None, ["f", "g"]),
        ("none", []),
        ("required", ["f", "g"]),
        ({"type": "function", "function": {"name": "g"}}, ["f", "g"]),
    ],
    ids=str,
)
def test_tools_and_their_choice_reach_the_model(choice: Any, names: list[str]) -> None:
    asked = read_chat(tools=[tool("f"), tool("g")], tool_choice=choice)
    asked.check()
    assert asked.tool_names == names
    options = asked.options(longest=9)
    assert (options["tools"], options["tool_choice"]) == ([tool("f"), tool("g")], choice)
    assert "tools" not in read_chat().options(longest=9)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"top_logprobs": 2}, "logprobs is not true"),
        ({"tool_choice": "required"}, "there are no tools"),
        ({"tools": [tool("f")], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "'g', which is not"),
        ({"tools": [tool("f"), tool("f")]}, "same name"),
        ({"collections": ["a"], "tools": [tool("f")]}, "collections and tools cannot be combined"),
        ({"collections": ["a"], "n": 2}, "collections and n cannot"),
        ({"collections": ["a"], "response_format": {"type": "json_object"}}, "collections and response_format"),
    ],
    ids=str,
)
def test_fields_that_contradict_each_other_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read_chat(**fields).check()


def test_a_round_of_a_tool_reaches_the_template_whole() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    asked = read_chat(
        messages=[
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "2", "tool_call_id": "c1"},
        ]
    )
    assert [message.plain() for message in asked.messages][1:] == [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "2", "tool_call_id": "c1"},
    ]


def test_an_embedding_takes_texts_and_refuses_tokens() -> None:
    assert EmbeddingRequest.read(b'{"input": "a"}').input == ["a"]
    assert EmbeddingRequest.read(b'{"input": ["a", "b"], "user": "x"}').encoding_format == "float"
    for body in (b'{"input": [1, 2]}', b'{"input": ""}', b'{"input": []}', b'{"input": "a", "encoding_format": "x"}'):
        with pytest.raises(RequestError, match=r"input|encoding_format"):
            EmbeddingRequest.read(body)
