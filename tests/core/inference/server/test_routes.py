"""The HTTP interface, asked by OpenAI's own client over real sockets; the model is tiny and random."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import httpx
import openai
import pytest
import torch

from core.config.model_config import PRESETS, ModelConfig
from core.data.tokenizer import Tokenizer
from core.errors import AssistantError, GenerationError, ModelError
from core.inference.generator import LanguageModel
from core.inference.runner import Segment
from core.inference.server import CompletionServer, body
from core.inference.token_stream import Piece
from core.model.transformer import Transformer
from tests.core.inference.server.fake_model import FakeModel, FakeStream, serving, wait_until

CONTEXT = 512
STEP_S = 0.02
QUESTION = [{"role": "user", "content": "the quick brown 狐狸"}]
GREEDY: dict[str, Any] = {"model": "tiny", "messages": QUESTION, "temperature": 0}


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> LanguageModel:
    """A model that never ends by itself when it is greedy: its stop tokens have the logit 0."""
    values = {**PRESETS["tiny"].to_dict(), "vocab_size": tokenizer.vocab_size, "initializer_range": 0.3}
    values["max_position_embeddings"] = CONTEXT
    network = Transformer(ModelConfig.from_dict(values))
    network.init_weights(seed=2)
    with torch.no_grad():
        network.model.embed_tokens.weight[list(tokenizer.stop_ids)] = 0
    return LanguageModel(network.eval(), tokenizer, name="tiny", quantization="float32", max_seq_len=CONTEXT)


@pytest.fixture(scope="module")
def completions(model: LanguageModel) -> CompletionServer:
    return CompletionServer(lambda: model, max_open=6)


@pytest.fixture(scope="module")
def address(completions: CompletionServer) -> Iterator[str]:
    with serving(completions.app) as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def forwards(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Makes every step of the model take STEP_S; holds the time of each."""
    times: list[float] = []
    runner = model.engine.call(lambda scheduler: scheduler.runner)
    forward = runner.forward

    def slow(segments: Sequence[Segment]) -> torch.Tensor:
        time.sleep(STEP_S)
        times.append(time.monotonic())
        return forward(segments)

    monkeypatch.setattr(runner, "forward", slow)
    return times


def assert_stops(forwards: list[float]) -> None:
    """No more than the step under way and, for a leave not yet noticed, one or two after it."""
    before = len(forwards)
    time.sleep(8 * STEP_S)
    assert len(forwards) - before <= 3
    settled = len(forwards)
    time.sleep(4 * STEP_S)
    assert len(forwards) == settled


def test_the_loaded_model_is_the_only_one(client: openai.OpenAI) -> None:
    assert [card.id for card in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "local"
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-4o' here; the one that is loaded is 'tiny'"):
        client.chat.completions.create(**{**GREEDY, "model": "gpt-4o"})


def test_a_chat_is_answered_as_the_model_answers_it(client: openai.OpenAI, model: LanguageModel) -> None:
    answer = client.chat.completions.create(**GREEDY, max_tokens=20)
    stream = model.chat(QUESTION, max_new_tokens=20, temperature=0)
    assert answer.choices[0].message.content == stream.read()
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "length"
    assert (answer.object, answer.model) == ("chat.completion", "tiny")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == stream.stats.prompt_tokens
    assert answer.usage.completion_tokens == 20
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 20


def test_streamed_chunks_join_to_the_whole(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**GREEDY, max_tokens=40)
    chunks = list(client.chat.completions.create(**GREEDY, max_tokens=40, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert [chunk.usage for chunk in chunks] == [None] * len(chunks)


def test_usage_comes_in_a_last_chunk_where_it_is_asked_for(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(**GREEDY, max_tokens=7, stream=True, stream_options={"include_usage": True})
    )
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.completion_tokens, usage.total_tokens) == (7, usage.prompt_tokens + 7)


def test_a_text_is_continued_whole_and_in_chunks(client: openai.OpenAI, model: LanguageModel) -> None:
    whole = client.completions.create(model="tiny", prompt="the", temperature=0)
    chunks = list(client.completions.create(model="tiny", prompt=["the"], temperature=0, stream=True))
    assert whole.choices[0].text == model.generate("the", max_new_tokens=16, temperature=0)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert (whole.object, whole.choices[0].finish_reason) == ("text_completion", "length")
    assert chunks[-1].choices[0].finish_reason == "length"


@pytest.mark.parametrize("form", ["string", "list"])
def test_a_stop_string_ends_the_answer_before_it(client: openai.OpenAI, model: LanguageModel, form: str) -> None:
    text = model.chat(QUESTION, max_new_tokens=30, temperature=0).read()
    stop = text[6:9]
    stops: dict[str, Any] = {"string": stop, "list": ["never", stop]}
    answer = client.chat.completions.create(**GREEDY, max_tokens=30, stop=stops[form])
    assert answer.choices[0].message.content == text[: text.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


def test_both_names_of_the_limit_work_and_no_limit_is_the_context(client: openai.OpenAI) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        answer = client.chat.completions.create(**GREEDY, **{name: 3})
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 3
    answer = client.chat.completions.create(**GREEDY)
    assert answer.usage is not None
    assert answer.usage.total_tokens == CONTEXT
    with pytest.raises(openai.BadRequestError, match="give one"):
        client.chat.completions.create(**GREEDY, max_tokens=3, max_completion_tokens=4)


def test_sampling_options_reach_the_model(client: openai.OpenAI, model: LanguageModel) -> None:
    def ask(**options: Any) -> str | None:
        options = {"temperature": 1.5, "max_tokens": 12, **options}
        messages: Any = QUESTION
        answer = client.chat.completions.create(model="tiny", messages=messages, extra_body=options)
        return answer.choices[0].message.content

    greedy = model.chat(QUESTION, max_new_tokens=12, temperature=0).read()
    assert ask(top_k=1) == ask(top_p=0) == ask(min_p=1) == greedy
    assert ask(seed=5) == ask(seed=5)
    assert len({ask(seed=seed) for seed in range(4)}) > 1
    assert ask(temperature=0, repetition_penalty=5) != greedy


def test_the_stream_is_ascii_events_that_end_with_done(address: str) -> None:
    answer = httpx.post(f"{address}/v1/chat/completions", json={**GREEDY, "max_tokens": 20, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.content.decode("ascii").split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert [json.loads(event.removeprefix("data: "))["object"] for event in events[:-2]]


class Echo(FakeModel):
    """Says the question again."""

    def chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> FakeStream:
        self._script = [Piece(sign, ()) for sign in messages[-1]["content"]]
        return super().chat(messages, **options)


def test_streams_at_once_of_the_async_client_are_whole_and_not_mixed() -> None:
    questions = ["the lazy dog", "今天天气很好", "👩‍💻 a\u2028b", "river " * 20] * 5

    async def ask(client: openai.AsyncOpenAI, question: str) -> str:
        messages: Any = [{"role": "user", "content": question}]
        chunks = await client.chat.completions.create(model="fake", messages=messages, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

    async def ask_all(address: str) -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(ask(client, question) for question in questions))

    echo: Any = Echo(step_s=0.002)
    with serving(CompletionServer(lambda: echo).app) as address:
        assert asyncio.run(ask_all(address)) == questions


def test_leaving_a_stream_stops_the_engine(
    client: openai.OpenAI, completions: CompletionServer, forwards: list[float]
) -> None:
    stream = client.chat.completions.create(**GREEDY, stream=True)
    wait_until(lambda: len(forwards) >= 4)
    stream.close()
    assert_stops(forwards)
    wait_until(lambda: completions._num_open == 0)


def test_leaving_while_waiting_for_a_whole_answer_stops_the_engine(
    address: str, completions: CompletionServer, forwards: list[float]
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{address}/v1/chat/completions", json=GREEDY, timeout=10 * STEP_S)
    assert forwards
    assert_stops(forwards)
    wait_until(lambda: completions._num_open == 0)


def test_a_waiting_client_that_leaves_costs_no_step(
    client: openai.OpenAI, address: str, completions: CompletionServer, forwards: list[float]
) -> None:
    with client.chat.completions.create(**GREEDY, max_tokens=25, stream=True) as first:
        wait_until(lambda: len(forwards) >= 1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{address}/v1/chat/completions", json=GREEDY, timeout=5 * STEP_S)
        assert len(list(first)) > 1
    assert_stops(forwards)
    assert len(forwards) <= 26
    wait_until(lambda: completions._num_open == 0)


def test_other_requests_are_answered_while_the_engine_works(client: openai.OpenAI, forwards: list[float]) -> None:
    with client.chat.completions.create(**GREEDY, stream=True):
        wait_until(lambda: len(forwards) >= 2)
        start = time.monotonic()
        client.models.list()
        assert time.monotonic() - start < 1


def test_a_full_queue_is_said_at_once(
    client: openai.OpenAI, completions: CompletionServer, forwards: list[float]
) -> None:
    streams = [client.chat.completions.create(**GREEDY, stream=True) for _ in range(6)]
    with pytest.raises(openai.RateLimitError, match="6 answers are under way or waiting") as caught:
        client.chat.completions.create(**GREEDY)
    assert caught.value.response.headers["retry-after"] == "2"
    for stream in streams:
        stream.close()
    wait_until(lambda: completions._num_open == 0)
    assert client.chat.completions.create(**GREEDY, max_tokens=2).choices[0].finish_reason == "length"


def test_closing_ends_streams_with_an_error_and_not_as_if_they_were_whole(
    client: openai.OpenAI, completions: CompletionServer, forwards: list[float]
) -> None:
    stream = client.chat.completions.create(**GREEDY, stream=True)
    wait_until(lambda: len(forwards) >= 2)
    completions.close()
    with pytest.raises(openai.APIError, match="The server is stopping"):
        list(stream)
    wait_until(lambda: completions._num_open == 0)


def test_a_conversation_that_does_not_fit_is_refused_with_both_numbers(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "the quick brown fox " * 140}]
    for streams in (False, True):
        with pytest.raises(openai.BadRequestError, match=r"is \d{3} tokens, the model's context is 512") as caught:
            client.chat.completions.create(model="tiny", messages=messages, stream=streams)
        assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"messages": [', "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[]", "not an object"),
        (json.dumps({**GREEDY, "temprature": 1}).encode(), 'did you mean "temperature"'),
        (json.dumps({**GREEDY, "temperature": 9}).encode(), "less than or equal to 5"),
    ],
)
def test_a_bad_body_is_one_sentence_in_openais_form(address: str, body: bytes, message: str) -> None:
    answer = httpx.post(f"{address}/v1/chat/completions", content=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert message in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_a_body_over_the_limit_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "MAX_BODY_BYTES", 1000)
    answer = httpx.post(f"{address}/v1/chat/completions", content=b" " * 1001)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_a_body_that_does_not_arrive_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "BODY_TIMEOUT_S", 0.1)

    def dribble() -> Iterator[bytes]:
        yield b"{"
        time.sleep(0.4)
        yield b"}"

    answer = httpx.post(f"{address}/v1/completions", content=dribble())
    assert answer.status_code == 408


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nothing", 404), ("GET", "/v1/completions", 405)])
def test_other_routes_are_refused_in_openais_form(address: str, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, f"{address}{path}")
    assert answer.status_code == status
    assert path in answer.json()["error"]["message"]


@contextmanager
def asking(fake: FakeModel) -> Iterator[Callable[..., Any]]:
    """`create` of the client of a server of this model."""
    with (
        serving(CompletionServer(lambda: cast(Any, fake)).app) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        yield partial(client.chat.completions.create, model="fake", messages=QUESTION)


def test_every_character_arrives_whole() -> None:
    pieces = ["你好", "👩‍💻", "\u2028\x85", "é\u0301", 'a"\\\n\r\x00', "שלום"]
    with asking(FakeModel(*pieces)) as create:
        assert [chunk.choices[0].delta.content for chunk in create(stream=True)] == ["", *pieces, None]
        answer = create()
    assert answer.choices[0].message.content == "".join(pieces)
    assert answer.usage.prompt_tokens_details.cached_tokens == 1


def test_a_failure_is_told_without_details_which_go_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("secret")

    with asking(FakeModel("a", end=fail)) as create:
        with pytest.raises(openai.APIError, match=r"The server failed; its log tells more\."):
            list(create(stream=True))
        assert caplog.text.count("RuntimeError: secret") == 1
        with pytest.raises(openai.InternalServerError, match="its log tells more"):
            create()
    assert caplog.text.count("RuntimeError: secret") == 2


@pytest.mark.parametrize(
    ("failure", "status"),
    [(GenerationError("Empty.", "Give text."), 400), (ModelError("Damaged.", "Download it."), 500)],
)
def test_a_failure_with_a_remedy_is_told_whole(failure: AssistantError, status: int) -> None:
    def fail() -> None:
        raise failure

    with asking(FakeModel("a", end=fail)) as create:
        with pytest.raises(openai.APIError, match=str(failure)):
            list(create(stream=True))
        with pytest.raises(openai.APIStatusError, match=str(failure)) as caught:
            create()
    assert caught.value.status_code == status


def test_a_conversation_that_the_template_refuses_is_a_bad_request(
    client: openai.OpenAI, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> list[int]:
        raise ModelError("Roles must alternate.", "Choose another version of the model.")

    monkeypatch.setattr(model.chat_template, "encode", refuse)
    with pytest.raises(openai.BadRequestError, match="Roles must alternate"):
        client.chat.completions.create(**GREEDY)


def test_a_forced_call_and_a_schema_hold_on_a_model_of_random_weights(client: openai.OpenAI) -> None:
    parameters = {"type": "object", "properties": {"hot": {"type": "boolean"}}, "required": ["hot"]}
    tool: Any = {
        "type": "function",
        "function": {"name": "f", "parameters": {**parameters, "additionalProperties": False}},
    }
    called = client.chat.completions.create(**GREEDY, max_tokens=100, tools=[tool], tool_choice="required")
    assert called.choices[0].finish_reason == "tool_calls"
    call: Any = (called.choices[0].message.tool_calls or [None])[0]
    assert isinstance(json.loads(call.function.arguments)["hot"], bool)
    schema: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": tool["function"]["parameters"]}}
    answer = client.chat.completions.create(**GREEDY, max_tokens=100, response_format=schema, n=2)
    assert [set(json.loads(one.message.content or "")) for one in answer.choices] == [{"hot"}, {"hot"}]


def test_logprobs_come_from_the_model(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**GREEDY, max_tokens=8, logprobs=True, top_logprobs=3)
    listed = answer.choices[0].logprobs
    assert listed is not None
    assert listed.content is not None
    assert len(listed.content) == 8
    for one in listed.content:
        assert one.logprob <= 0
        assert [one.token, one.logprob] == [one.top_logprobs[0].token, one.top_logprobs[0].logprob]
        assert len(one.top_logprobs) == 3
    joined = b"".join(bytes(one.bytes or []) for one in listed.content).decode("utf-8", "replace")
    assert joined == answer.choices[0].message.content
