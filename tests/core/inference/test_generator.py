"""Generation on a tiny random model: stopping, streaming, cancelling, reuse of what was computed."""

import gc
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

import core
from core.errors import ConfigError, GenerationError, ModelError
from core.inference.generator import LanguageModel
from core.inference.token_stream import _StopStrings
from core.model.checkpoint import load_model
from core.model.transformer import Transformer


@pytest.fixture(scope="module")
def network(folder: Path) -> Transformer:
    """The same weights, to be asked without an engine."""
    return load_model(folder)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert condition()


def test_greedy_text_is_the_argmax_of_full_forwards(model: LanguageModel, network: Transformer) -> None:
    prompt = "the quick brown"
    ids = [1, *model.tokenizer.encode(prompt)]
    length = len(ids)
    with torch.no_grad():
        while len(ids) < length + 12:
            ids.append(int(network(torch.tensor([ids]))[0, -1].argmax()))
    expected = ids[length:]
    stops = [place for place, token in enumerate(expected) if token in model.tokenizer.stop_ids]
    expected = expected[: min(stops, default=12)]
    assert model.generate(prompt, max_new_tokens=12, temperature=0) == model.tokenizer.decode(expected)


def test_pieces_join_to_the_text_and_the_counts_are_right(model: LanguageModel) -> None:
    stream = model.stream("the", max_new_tokens=20, seed=4)
    pieces = list(stream)
    assert "".join(pieces) == stream.text
    assert stream.finish_reason in ("stop", "length")
    stats = stream.stats
    assert stats.prompt_tokens == 1 + len(model.tokenizer.encode("the"))
    assert stats.context_tokens == stats.prompt_tokens + stats.completion_tokens
    assert stats.time_to_first_token_s > 0


def test_same_seed_same_text(model: LanguageModel) -> None:
    texts = {model.generate("the", max_new_tokens=15, temperature=1.0, seed=11) for _ in range(2)}
    others = {model.generate("the", max_new_tokens=15, temperature=1.0, seed=seed) for seed in range(12, 16)}
    assert len(texts) == 1
    assert len(others | texts) > 1


def test_a_list_of_prompts_gives_a_list_in_order(model: LanguageModel) -> None:
    prompts = ["the", "今天", "a lazy dog"]
    together = model.generate(prompts, max_new_tokens=8, temperature=0)
    assert together == [model.generate(prompt, max_new_tokens=8, temperature=0) for prompt in prompts]


def test_a_stop_string_ends_the_text_before_it(model: LanguageModel) -> None:
    whole = model.generate("the", max_new_tokens=30, temperature=0)
    stop = whole[6:9]
    stream = model.stream("the", max_new_tokens=30, temperature=0, stop=[stop])
    assert stream.read() == whole[: whole.index(stop)]
    assert stream.finish_reason == "stop"


def test_a_half_stop_string_is_not_lost(model: LanguageModel) -> None:
    whole = model.generate("the", max_new_tokens=10, temperature=0)
    stop = whole[-1] + "never"
    assert model.generate("the", max_new_tokens=10, temperature=0, stop=[stop]) == whole


def test_cancel_stops_within_one_token(model: LanguageModel) -> None:
    stream = model.stream("the", max_new_tokens=200, temperature=0)
    next(iter(stream))
    stream.cancel()
    before = stream.stats.completion_tokens
    wait_until(lambda: stream.finish_reason is not None)
    assert stream.stats.completion_tokens - before <= 1
    assert stream.finish_reason in ("cancelled", "stop")


def test_leaving_the_loop_early_frees_the_engine(model: LanguageModel) -> None:
    for _ in model.stream("the", max_new_tokens=200, temperature=0):
        break
    assert isinstance(model.generate("a", max_new_tokens=2, temperature=0), str)


def test_a_second_turn_computes_only_its_new_tokens(model: LanguageModel, folder: Path) -> None:
    first = [{"role": "user", "content": "the quick brown fox"}]
    stream = model.chat(first, max_new_tokens=6, temperature=0)
    reply = stream.read()
    second = [*first, {"role": "assistant", "content": reply}, {"role": "user", "content": "and then"}]
    again = model.chat(second, max_new_tokens=6, temperature=0)
    text = again.read()
    assert again.stats.reused_tokens >= stream.stats.prompt_tokens - 1
    assert text == core.load(folder).chat(second, max_new_tokens=6, temperature=0).read()


def test_a_reply_that_was_begun_is_gone_on_with(model: LanguageModel) -> None:
    question, begun = [{"role": "user", "content": "hi"}], "the quick <|im_end|> brown"
    ids = [
        *model.chat_template.encode(question, add_generation_prompt=True),
        *model.tokenizer.encode(begun),
    ]
    said = model.chat(question, begun=begun, max_new_tokens=12, temperature=0)
    assert "".join(said) == "".join(model.stream(ids, max_new_tokens=12, temperature=0))
    assert said.stats.prompt_tokens == len(ids)


def test_a_conversation_that_does_not_fit_names_both_numbers(model: LanguageModel) -> None:
    with pytest.raises(GenerationError, match=r"is \d{3} tokens, the model's context is 256"):
        model.chat([{"role": "user", "content": "the quick brown fox " * 60}])


def test_the_context_end_is_a_length_finish(folder: Path) -> None:
    model = core.load(folder, max_seq_len=24)
    stream = model.stream("the quick", max_new_tokens=500, temperature=1.0, seed=1)
    stream.read()
    assert stream.stats.context_tokens <= 24
    assert stream.finish_reason in ("length", "stop")


def test_misspelt_options_are_named(model: LanguageModel) -> None:
    with pytest.raises(ConfigError, match='did you mean "temperature"'):
        model.generate("the", temprature=1)


def test_unusable_settings_of_load_are_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="max_seq_len 9999 is outside 1 … 256"):
        core.load(folder, max_seq_len=9999)
    with pytest.raises(ConfigError, match="quantization is 'int3', it must be one of auto, none, int8"):
        core.load(folder, quantization="int3")
    with pytest.raises(ConfigError, match="device 'mps' is not available here"):
        core.load(folder, device="mps")


def test_a_context_beyond_the_memory_is_refused_with_both_sizes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = psutil.virtual_memory()._replace(available=2**16)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(ConfigError, match=r"context of 256 tokens needs [\d.]+ GiB, [\d.]+ GiB are free"):
        core.load(folder)


def test_names_are_those_that_people_use(folder: Path, tmp_path: Path) -> None:
    for place in ("my-run/model", "my-model", "my-run/checkpoints/step-00000001"):
        shutil.copytree(folder, tmp_path / place)
    names = [core.load(tmp_path / place).name for place in ("my-run", "my-model", "my-run/checkpoints/step-00000001")]
    assert names == ["my-run", "my-model", "my-run"]


def test_ids_that_the_model_does_not_have_are_refused(model: LanguageModel) -> None:
    for bad in (-1, model.config.vocab_size):
        with pytest.raises(GenerationError, match=rf"holds id {bad}, the model has ids 0 … "):
            model.engine.check([1, bad])
    with pytest.raises(GenerationError, match="The prompt is empty"):
        model.engine.check([])


def test_damaged_weights_reach_the_reader_as_an_error_and_not_as_text(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "damaged")
    path = tmp_path / "damaged" / "model.safetensors"
    tensors = load_file(path)
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(tensors, path)
    model = core.load(tmp_path / "damaged")
    stream = model.stream("the", max_new_tokens=3)
    with pytest.raises(ModelError, match="logits are not finite: its weights are damaged"):
        stream.read()
    assert not stream.read()  # at once, and not waiting for what never comes
    (tmp_path / "a.txt").write_text("the quick")
    with pytest.raises(ModelError, match=r"The loss of damaged on .*a\.txt is nan"):
        core.evaluate(model, [tmp_path / "a.txt"])


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("stop", ["STOP", "OPS", "end of text", "文本"])
def test_a_stop_string_is_found_across_any_borders(size: int, stop: str) -> None:
    text = f"some SSTO text and STO{stop} and more {stop}"
    held = _StopStrings([stop, "never"])
    shown = ""
    for start in range(0, len(text), size):
        shown += held.push(text[start : start + size])
        assert stop not in shown
    assert held.found
    assert shown.startswith(text[: text.index(stop)])


def test_of_several_stop_strings_the_first_in_the_text_counts() -> None:
    held = _StopStrings(["world", "lo wo"])
    assert held.push("hel") + held.push("lo w") + held.push("orld") == "hel"


def test_the_start_of_a_stop_string_at_the_end_is_shown() -> None:
    held = _StopStrings(["STOP"])
    assert held.push("a ST") == "a "
    assert held.flush() == "ST"


def test_evaluation_scores_every_token_once(model: LanguageModel, network: Transformer, tmp_path: Path) -> None:
    short, long = "the quick brown fox", "the quick 今天 " * 200 + "."
    path = tmp_path / "texts.txt"
    path.write_text(long, encoding="utf-8")
    result = core.evaluate(model, [path])[0]
    assert result.num_tokens == len(model.tokenizer.encode(long)) + 1
    assert result.num_tokens > 2 * model.max_seq_len
    path.write_text(short, encoding="utf-8")
    ids = torch.tensor([[1, *model.tokenizer.encode(short), 2]])
    with torch.no_grad():
        logits = network(ids[:, :-1])[0]
    nats = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
    expected = nats / torch.log(torch.tensor(2.0)).item() / len(short)
    assert core.evaluate(model, [path])[0].bits_per_byte == pytest.approx(expected, rel=1e-5)


def test_what_a_model_asks_for_holds_where_a_call_says_nothing(folder: Path, tmp_path: Path) -> None:
    asking = shutil.copytree(folder, tmp_path / "asking")
    (asking / "generation_config.json").write_text('{"do_sample": true, "temperature": 1e-9}', encoding="utf-8")
    model = core.load(asking)
    likeliest = core.load(folder).generate("the fox", max_new_tokens=8, temperature=0)
    assert {model.generate("the fox", max_new_tokens=8, seed=seed) for seed in range(3)} == {likeliest}
    assert len({model.generate("the fox", max_new_tokens=8, temperature=5, seed=seed) for seed in range(3)}) == 3


def test_the_oldest_turns_give_way_and_a_system_message_stays(model: LanguageModel) -> None:
    turns = [{"role": role, "content": f"{role} says the fox {n}"} for n in range(30) for role in ("user", "assistant")]
    system, question = {"role": "system", "content": "be kind"}, {"role": "user", "content": "and now"}
    kept = model.fitting([system, *turns, question])
    assert kept[0] == system
    assert kept[1]["role"] == "user"
    assert kept[-1] == question
    assert kept[1:-1] == turns[len(turns) - len(kept) + 2 :]
    tokens = len(model.chat_template.encode(kept, add_generation_prompt=True))
    assert 0 < tokens <= model.max_seq_len * 3 // 4
    assert model.fitting([question]) == [question]


def test_a_second_turn_reuses_ids_that_the_tokenizer_would_not_choose(model: LanguageModel) -> None:
    first = [{"role": "user", "content": "the quick brown fox"}]
    for seed in range(20):  # a random model soon writes a text that encodes otherwise
        stream = model.chat(first, max_new_tokens=12, temperature=1.0, seed=seed)
        ids = [choice.token for piece in stream.pieces() for choice in piece.choices]
        if model.tokenizer.encode(stream.text) != ids:
            break
    assert model.tokenizer.encode(stream.text) != ids
    second = [*first, {"role": "assistant", "content": stream.text}, {"role": "user", "content": "and then"}]
    again = model.chat(second, max_new_tokens=4, temperature=0)
    again.read()
    assert again.stats.reused_tokens >= stream.stats.prompt_tokens + len(ids) - 1


def test_pieces_hold_every_token_and_join_to_the_text(model: LanguageModel) -> None:
    stream = model.stream("the", max_new_tokens=40, temperature=1.0, seed=3)
    pieces = list(stream.pieces())
    assert "".join(piece.text for piece in pieces) == stream.text
    tokens = [choice.token for piece in pieces for choice in piece.choices]
    assert len(tokens) == stream.stats.completion_tokens
    assert model.tokenizer.decode(tokens) == stream.text
    assert list(stream.pieces()) == []  # it is read


def test_a_hundred_streams_at_once_equal_each_alone_and_leave_nothing_behind(folder: Path) -> None:
    model = core.load(folder, max_running=40)
    model.generate("warm", max_new_tokens=2)
    before = set(threading.enumerate())
    texts = [f"{word} {number}" for number in range(50) for word in ("the fox", "今天")]
    options = {"max_new_tokens": 6, "temperature": 1.0, "seed": 7}
    streams = [model.stream(text, **options) for text in texts]
    together = [stream.read() for stream in streams]
    assert set(threading.enumerate()) <= before
    assert together == [model.generate(text, **options) for text in texts]
    num_free, num_kept, num_blocks = model.engine.call(
        lambda scheduler: (
            scheduler.pool.num_free,
            len(list(scheduler.prefixes.nodes())),
            scheduler.pool.num_blocks,
        )
    )
    assert num_free + num_kept == num_blocks


def test_a_stream_that_nobody_holds_is_cancelled(model: LanguageModel) -> None:
    stream = model.stream("the", max_new_tokens=200, temperature=0)
    reply = stream._reply
    del stream
    wait_until(lambda: reply.finish_reason is not None)
    assert reply.finish_reason in ("cancelled", "stop")


def test_a_model_that_nobody_holds_ends_its_thread_but_not_its_streams(folder: Path) -> None:
    before = set(threading.enumerate())
    stream = core.load(folder).stream("the", max_new_tokens=30, temperature=0)
    assert stream.read() == core.load(folder).generate("the", max_new_tokens=30, temperature=0)
    del stream
    gc.collect()
    assert set(threading.enumerate()) <= before


def test_drafts_change_no_text(folder: Path) -> None:
    plain, drafting = core.load(folder, speculation=False), core.load(folder)
    prompt = "the quick brown fox jumps over a lazy dog. the quick brown fox"
    for seed in (None, 1, 2):
        options = {"max_new_tokens": 60, "temperature": 0.0 if seed is None else 0.5, "seed": seed}
        stream = drafting.stream(prompt, **options)
        assert stream.read() == plain.generate(prompt, **options)
    assert stream.stats.drafted_tokens >= stream.stats.accepted_tokens
    assert plain.stream(prompt, max_new_tokens=20).stats.drafted_tokens == 0
