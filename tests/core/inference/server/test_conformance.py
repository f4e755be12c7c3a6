"""What OpenAI's own client gets for every option that is served; the model says what the test scripts."""

import base64
import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpx
import numpy as np
import openai
import pytest
from pydantic import BaseModel

from core.errors import ModelError
from core.inference.openai_reply import ChatCompletion, ChatCompletionChunk, Error, TextCompletion
from core.inference.sampling import Choice
from core.inference.server import CompletionServer
from core.inference.token_stream import Piece
from tests.core.inference.server.fake_model import FakeModel, serving
from tests.core.inference.server.library import FakeEmbedder, FakeLibrary

MESSAGES: Any = [{"role": "user", "content": "hi"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "北京"}}\n</tool_call>'


@contextmanager
def client_of(model: FakeModel, **options: Any) -> Iterator[openai.OpenAI]:
    with (
        serving(CompletionServer(lambda: cast(Any, model), **options).app) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


def split(text: str) -> list[str]:
    """Pieces as a model makes them, of three characters."""
    return [text[at : at + 3] for at in range(0, len(text), 3)]


def test_a_round_of_a_tool_whole_and_streamed() -> None:
    model = FakeModel(*split(f"Let me see.\n{CALL}"))
    with client_of(model) as client:
        whole = client.chat.completions.create(model="fake", messages=MESSAGES, tools=[WEATHER])
        chunks = list(client.chat.completions.create(model="fake", messages=MESSAGES, tools=[WEATHER], stream=True))
        message = whole.choices[0].message
        assert message.tool_calls
        call: Any = message.tool_calls[0]
        answer: Any = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
        client.chat.completions.create(model="fake", messages=[*MESSAGES, message, answer], tools=[WEATHER])
    assert (message.content or "").strip() == "Let me see."
    assert (call.type, call.function.name, json.loads(call.function.arguments)) == (
        "function",
        "weather",
        {"city": "北京"},
    )
    assert whole.choices[0].finish_reason == chunks[-1].choices[0].finish_reason == "tool_calls"
    deltas: Any = [one for chunk in chunks for one in chunk.choices[0].delta.tool_calls or []]
    assert [(one.index, one.function.name, one.function.arguments) for one in deltas] == [
        (0, "weather", call.function.arguments)
    ]
    assert model.asked[0]["tools"] == [WEATHER]
    roles = [(one["role"], one.get("tool_call_id"), bool(one.get("tool_calls"))) for one in model.asked[-1]["messages"]]
    assert roles == [("user", None, False), ("assistant", None, True), ("tool", call.id, False)]


def test_a_call_that_is_forced_reaches_the_model_and_none_hides_the_tools() -> None:
    model = FakeModel(CALL)
    named: Any = {"type": "function", "function": {"name": "weather"}}
    with client_of(model) as client:
        for choice in ("required", named):
            answer = client.chat.completions.create(
                model="fake", messages=MESSAGES, tools=[WEATHER], tool_choice=choice
            )
            assert answer.choices[0].message.content is None
            assert model.asked[-1]["tool_choice"] == choice
        answer = client.chat.completions.create(model="fake", messages=MESSAGES, tools=[WEATHER], tool_choice="none")
    assert answer.choices[0].message.content == CALL
    assert model.asked[-1]["tool_choice"] == "none"


def test_one_call_is_given_where_the_client_wants_one() -> None:
    with client_of(FakeModel(*split(CALL + CALL))) as client:
        for parallel, count in ((True, 2), (False, 1)):
            answer = client.chat.completions.create(
                model="fake", messages=MESSAGES, tools=[WEATHER], parallel_tool_calls=parallel
            )
            assert len(answer.choices[0].message.tool_calls or []) == count


def test_reasoning_is_told_apart() -> None:
    with client_of(FakeModel(*split("<think>\nHm, 你?\n</think>\n\nYes."))) as client:
        message: Any = client.chat.completions.create(model="fake", messages=MESSAGES).choices[0].message
        chunks = list(client.chat.completions.create(model="fake", messages=MESSAGES, stream=True))
    assert (message.content, message.reasoning_content.strip()) == ("Yes.", "Hm, 你?")
    deltas: Any = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(getattr(one, "reasoning_content", None) or "" for one in deltas) == message.reasoning_content
    assert "".join(one.content or "" for one in deltas) == "Yes."


def test_several_answers_have_their_own_seeds_and_count_the_prompt_once() -> None:
    model = FakeModel("a", "b")
    with client_of(model) as client:
        whole = client.chat.completions.create(model="fake", messages=MESSAGES, n=3, seed=7)
        chunks = list(
            client.chat.completions.create(
                model="fake", messages=MESSAGES, n=3, stream=True, stream_options={"include_usage": True}
            )
        )
        texts = client.completions.create(model="fake", prompt=["x", "y"], n=2)
    assert [(one.index, one.message.content) for one in whole.choices] == [(0, "ab"), (1, "ab"), (2, "ab")]
    assert sorted(one["seed"] for one in model.asked[:3]) == [7, 8, 9]
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (2, 6)
    for index in range(3):
        own = [chunk.choices[0] for chunk in chunks[:-1] if chunk.choices[0].index == index]
        assert (own[0].delta.role, own[-1].finish_reason) == ("assistant", "stop")
        assert "".join(one.delta.content or "" for one in own) == "ab"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 8
    assert [one.index for one in texts.choices] == [0, 1, 2, 3]
    assert texts.usage is not None
    assert (texts.usage.prompt_tokens, texts.usage.completion_tokens) == (4, 8)
    assert sorted(one["prompt"] for one in model.asked[-4:]) == ["x", "x", "y", "y"]


def test_token_ids_are_continued_as_they_are() -> None:
    model = FakeModel("a")
    with client_of(model) as client:
        client.completions.create(model="fake", prompt=[[5, 6], [7]])
    assert sorted(one["prompt"] for one in model.asked) == [[5, 6], [7]]


LISTED = [
    Piece("he", (Choice(ord("h"), -0.25, ((ord("h"), -0.25), (ord("j"), -2.0))), Choice(ord("e"), -0.5, ()))),
    Piece("你", (Choice(-1, -1.0, ((-1, -1.0),)), Choice(ord("你"), float("-inf"), ()))),
]


def test_logprobs_of_a_chat_in_both_ways() -> None:
    with client_of(FakeModel(*LISTED)) as client:
        options: Any = {"model": "fake", "messages": MESSAGES, "logprobs": True, "top_logprobs": 2}
        whole = client.chat.completions.create(**options)
        chunks = list(client.chat.completions.create(**options, stream=True))
        plain = client.chat.completions.create(model="fake", messages=MESSAGES)
    assert plain.choices[0].logprobs is None
    listed = whole.choices[0].logprobs
    assert listed is not None
    assert listed.content is not None
    assert [(one.token, one.logprob, one.bytes) for one in listed.content] == [
        ("h", -0.25, [104]), ("e", -0.5, [101]), ("\ufffd", -1.0, [0xE4, 0xBD]), ("你", -9999.0, [0xE4, 0xBD, 0xA0]),
    ]  # fmt: skip
    assert [(one.token, one.logprob) for one in listed.content[0].top_logprobs] == [("h", -0.25), ("j", -2.0)]
    streamed: Any = [chunk.choices[0].logprobs for chunk in chunks]
    assert [one for part in streamed if part for one in part.content] == listed.content


def test_logprobs_of_a_text_in_both_ways() -> None:
    with client_of(FakeModel(*LISTED)) as client:
        whole = client.completions.create(model="fake", prompt="x", logprobs=2)
        chunks = list(client.completions.create(model="fake", prompt="x", logprobs=2, stream=True))
        chosen = client.completions.create(model="fake", prompt="x", logprobs=0)
    listed = whole.choices[0].logprobs
    assert listed is not None
    assert listed.tokens == ["h", "e", "bytes:\\xe4\\xbd", "你"]
    assert listed.token_logprobs == [-0.25, -0.5, -1.0, -9999.0]
    assert listed.top_logprobs == [{"h": -0.25, "j": -2.0}, {}, {"bytes:\\xe4\\xbd": -1.0}, {}]
    assert listed.text_offset == [0, 1, 2, 2]
    parts: Any = [chunk.choices[0].logprobs for chunk in chunks]
    assert [token for part in parts if part for token in part.tokens] == listed.tokens
    assert [offset for part in parts if part for offset in part.text_offset] == listed.text_offset
    assert chosen.choices[0].logprobs is not None
    assert chosen.choices[0].logprobs.top_logprobs is None


def test_a_schema_reaches_the_model_and_the_clients_parser_reads_the_answer() -> None:
    class City(BaseModel):
        name: str
        people: int

    model = FakeModel('{"name": "Ulm", ', '"people": 126000}')
    with client_of(model) as client:
        answer = client.chat.completions.parse(model="fake", messages=MESSAGES, response_format=City)
        client.chat.completions.create(model="fake", messages=MESSAGES, response_format={"type": "json_object"})
    assert answer.choices[0].message.parsed == City(name="Ulm", people=126000)
    assert model.asked[0]["json_schema"]["required"] == ["name", "people"]
    assert model.asked[1]["json_schema"] == {"type": "object"}


def test_options_reach_the_model_by_its_own_names() -> None:
    model = FakeModel("a")
    with client_of(model) as client:
        client.chat.completions.create(
            model="fake", messages=MESSAGES, frequency_penalty=0.5, presence_penalty=-0.5, logit_bias={"5": 3},
            stop="x", max_completion_tokens=4, user="someone", parallel_tool_calls=False, reasoning_effort="low",
            extra_body={"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "adapter": "poet"},
        )  # fmt: skip
    asked = model.asked[0]
    del asked["messages"]
    assert asked == {
        "frequency_penalty": 0.5, "presence_penalty": -0.5, "logit_bias": {"5": 3.0}, "stop": ["x"],
        "max_new_tokens": 4, "keeps_markup": True, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1,
        "adapter": "poet",
    }  # fmt: skip


def test_an_empty_answer_is_whole() -> None:
    with client_of(FakeModel(Piece("", ()))) as client:
        whole = client.chat.completions.create(model="fake", messages=MESSAGES)
        chunks = list(client.chat.completions.create(model="fake", messages=MESSAGES, stream=True))
        text = client.completions.create(model="fake", prompt="")
    assert (whole.choices[0].message.content, text.choices[0].text) == ("", "")
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, "stop"]


@pytest.mark.parametrize("count", [1, 3])
def test_vectors_in_both_encodings(count: int) -> None:
    texts = ["abc", "你好 a", "zzz"][:count]
    embedder = FakeEmbedder()
    with client_of(FakeModel(), embedder=embedder) as client:
        for encoding in ("float", "base64"):
            answer: Any = client.embeddings.create(model="letters", input=texts, encoding_format=cast(Any, encoding))
            vectors = [
                struct.unpack("<26f", base64.b64decode(one.embedding)) if encoding == "base64" else one.embedding
                for one in answer.data
            ]
            np.testing.assert_allclose(vectors, embedder.embed(texts), rtol=1e-6)
            assert [one.index for one in answer.data] == list(range(count))
            assert answer.usage.prompt_tokens == embedder.count_tokens(texts)
        assert client.embeddings.create(model="letters", input="abc", dimensions=26).data[0].index == 0
        with pytest.raises(openai.BadRequestError, match="dimensions is 5, the vectors of 'letters' have 26"):
            client.embeddings.create(model="letters", input="abc", dimensions=5)
        assert [card.id for card in client.models.list()] == ["fake", "letters"]


def test_answers_from_documents_cite_them_whole_and_streamed() -> None:
    question: Any = [{"role": "user", "content": "How many hours do cats sleep?"}]
    with client_of(FakeModel(), answers=FakeLibrary()) as client:
        ask = client.chat.completions.create
        whole: Any = ask(model="fake", messages=question, extra_body={"collections": ["zoo"]})
        chunks: Any = list(ask(model="fake", messages=question, extra_body={"collections": ["zoo"]}, stream=True))
        with pytest.raises(openai.BadRequestError, match=r"no collection 'moon'\. There are: zoo"):
            ask(model="fake", messages=question, extra_body={"collections": ["moon"]})
    assert whole.choices[0].message.content.strip() == "Cats sleep sixteen hours a day."
    assert [one["document"] for one in whole.citations] == ["cats.txt"]
    assert set(whole.citations[0]) == {"document", "text", "page", "answer_start", "answer_end"}
    assert chunks[-1].citations == whole.citations
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_what_this_server_runs_without_is_a_501_with_a_remedy() -> None:
    with client_of(FakeModel()) as client:
        with pytest.raises(openai.InternalServerError, match="Embeddings need the library") as caught:
            client.embeddings.create(model="x", input="a")
        assert caught.value.status_code == 501
        with pytest.raises(openai.InternalServerError, match="collections need the library"):
            client.chat.completions.create(model="fake", messages=MESSAGES, extra_body={"collections": ["a"]})


def test_without_a_model_the_server_says_so() -> None:
    def none() -> Any:
        raise ModelError("No model is loaded.", "Choose one.")

    with (
        serving(CompletionServer(none).app) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        assert httpx.get(f"{address}/health").json() == {"status": "ok", "model": None}
        assert list(client.models.list()) == []
        with pytest.raises(openai.InternalServerError, match="No model is loaded") as caught:
            client.chat.completions.create(model="fake", messages=MESSAGES)
        assert caught.value.status_code == 503


@pytest.mark.parametrize(
    ("ask", "kind", "code"),
    [
        (lambda client: client.models.retrieve("gone"), openai.NotFoundError, "model_not_found"),
        (lambda client: client.completions.create(model="fake", prompt="too long"), openai.BadRequestError,
         "context_length_exceeded"),
        (lambda client: client.completions.create(model="fake", prompt="a", echo=True), openai.BadRequestError,
         "unsupported"),
        (lambda client: client.chat.completions.create(model="fake", messages=MESSAGES, n=99), openai.BadRequestError,
         "invalid_value"),
        (lambda client: client.post("/nowhere", cast_to=object), openai.NotFoundError, None),
    ],
)  # fmt: skip
def test_every_refusal_is_the_clients_own_class(
    ask: Callable[[openai.OpenAI], object], kind: type[openai.APIStatusError], code: str | None
) -> None:
    with client_of(FakeModel()) as client, pytest.raises(kind) as caught:
        ask(client)
    assert caught.value.code == code
    Error.model_validate({"error": caught.value.body})


def test_the_client_waits_as_it_is_told_and_asks_again() -> None:
    model = FakeModel("a", room=0)
    with client_of(model) as client:

        def make_room(_: httpx.Response) -> None:
            model.room = 1

        client._client.event_hooks["response"] = [cast(Any, make_room)]
        answer = client.with_options(max_retries=1).chat.completions.create(model="fake", messages=MESSAGES)
    assert answer.choices[0].message.content == "a"


def test_every_answer_has_the_form_of_the_document() -> None:
    model = FakeModel(*LISTED, *split(CALL))
    body = {"messages": MESSAGES, "tools": [WEATHER], "logprobs": True, "n": 2}
    with serving(CompletionServer(lambda: cast(Any, model), answers=FakeLibrary()).app) as address:
        whole = httpx.post(f"{address}/v1/chat/completions", json=body).json()
        events = httpx.post(f"{address}/v1/chat/completions", json={**body, "stream": True}).text.split("\n\n")
        text = httpx.post(f"{address}/v1/completions", json={"prompt": "x", "logprobs": 1}).json()
    ChatCompletion.model_validate(whole, strict=True)
    TextCompletion.model_validate(text, strict=True)
    assert events[-2:] == ["data: [DONE]", ""]
    for event in events[:-2]:
        ChatCompletionChunk.model_validate_json(event.removeprefix("data: "), strict=True)


def test_adapters_are_models() -> None:
    model = FakeModel("yes")
    model.adapters = ("poet", "a: b")
    with client_of(model) as client:
        assert [card.id for card in client.models.list()] == ["fake", "fake:poet", "fake:a: b"]
        assert client.models.retrieve("fake:poet").id == "fake:poet"
        for name in ("fake:poet", "fake:a: b", "fake"):
            assert client.chat.completions.create(model=name, messages=MESSAGES).model == name
            assert client.completions.create(model=name, prompt="a").model == name
        client.completions.create(model="fake", prompt="a", extra_body={"adapter": "poet"})
        with pytest.raises(openai.BadRequestError, match="model is 'fake:poet' and adapter 'a: b'; leave one out"):
            client.completions.create(model="fake:poet", prompt="a", extra_body={"adapter": "a: b"})
        with pytest.raises(openai.NotFoundError, match=r"no model 'fake:bard' .*'fake', 'fake:poet', 'fake:a: b'"):
            client.completions.create(model="fake:bard", prompt="a")
    assert [asked.get("adapter") for asked in model.asked] == ["poet", "poet", "a: b", "a: b", None, None, "poet"]
