"""The scheduler step by step, over a runner that shows any block gone wrong as a wrong text."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.errors import GenerationError, ModelError
from core.inference.request import Request
from core.inference.runner import BLOCK_TOKENS, num_blocks_for
from core.inference.sampling import Choice
from core.inference.scheduler import EngineConfig, Scheduler
from tests.core.inference.arithmetic_runner import VOCAB, ArithmeticRunner, Listener, ask, heard

CONTEXT = 160


def scheduler_of(num_blocks: int = 40, *, memory: int = 10_000, **changes: int) -> tuple[Scheduler, ArithmeticRunner]:
    runner = ArithmeticRunner(num_blocks, memory=memory)
    return Scheduler(runner, EngineConfig(**{"max_seq_len": CONTEXT, "step_tokens": 48, **changes})), runner


def ids_of(length: int, seed: int) -> list[int]:
    return random.Random(seed).choices(range(VOCAB), k=length)


def run(scheduler: Scheduler, *requests: Request) -> None:
    scheduler.waiting.extend(requests)
    for _ in range(10_000):
        if not scheduler.has_work:
            return
        scheduler.step()
        check_blocks(scheduler)
    pytest.fail("the requests never end")


def check_blocks(scheduler: Scheduler) -> None:
    """Every block has as many owners as there are sequences and prefixes that hold it, and the rest is free."""
    owners = Counter(node.block for node in scheduler.prefixes.nodes())
    for one in scheduler.running:
        owners.update(one.blocks)
    for block in range(scheduler.pool.num_blocks):
        assert scheduler.pool.num_owners(block) == owners[block]
    assert scheduler.pool.num_free == scheduler.pool.num_blocks - len(owners)


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("speculation", [False, True])
def test_texts_of_many_requests_equal_those_of_each_alone(seed: int | None, speculation: bool) -> None:
    scheduler, runner = scheduler_of(speculation=speculation, max_running=5)
    prompts = [ids_of(length, length) for length in (1, 7, 31, 32, 33, 64, 100, 140, 150)]
    requests = [ask(prompt, 20, seed=seed) for prompt in prompts]
    run(scheduler, *requests)
    for prompt, request in zip(prompts, requests, strict=True):
        count = min(20, CONTEXT - len(prompt))
        assert heard(request).tokens == runner.text(prompt, count, seed=seed)
        assert heard(request).reason == "length"


def test_a_request_that_arrives_later_has_its_first_token_before_the_others_end() -> None:
    scheduler, _ = scheduler_of(speculation=False)
    early = [ask(ids_of(40, 1), 50), ask(ids_of(50, 2), 50)]
    scheduler.waiting.extend(early)
    scheduler.trace = []
    for _ in range(10):
        scheduler.step()
    late = ask(ids_of(100, 3), 5)
    run(scheduler, late)
    steps = [{part.request: part for part in step} for step in scheduler.trace]
    first = next(index for index, parts in enumerate(steps) if late in parts and parts[late].num_logits)
    assert first - 10 < 3
    assert all(request in parts for request in early for parts in steps[10 : first + 1])
    assert heard(late).num_ends == 1
    ended = [max(index for index, parts in enumerate(steps) if request in parts) for request in early]
    assert min(ended) > first


def test_a_long_prompt_does_not_keep_a_short_one_waiting() -> None:
    scheduler, _ = scheduler_of(step_tokens=16)
    long, short = ask(ids_of(150, 1), 4), ask(ids_of(10, 2), 4)
    scheduler.waiting.extend([long, short])
    scheduler.step()
    scheduler.step()
    assert heard(short).tokens
    assert not heard(long).tokens


def test_a_step_has_no_more_prompt_tokens_than_it_may() -> None:
    scheduler, runner = scheduler_of(step_tokens=48, shared_step_tokens=20, speculation=False)
    run(scheduler, *(ask(ids_of(length, length), 8) for length in (90, 60, 30, 20, 10)))
    for step in runner.steps:
        answers = sum(segment.num_logits == 1 and len(segment.ids) == 1 for segment in step)
        rows = sum(len(segment.ids) for segment in step)
        assert rows <= (48 if not answers else 20 + len(step))


def test_requests_are_admitted_in_their_order() -> None:
    scheduler, _ = scheduler_of(max_running=2)
    requests = [ask(ids_of(20, seed), 5 + seed) for seed in range(6)]
    run(scheduler, *requests)
    asked = [request.timings.time_to_first_token_s + request.asked_at for request in requests]
    assert asked == sorted(asked)


def test_scarce_blocks_hold_requests_back_and_all_are_served() -> None:
    scheduler, runner = scheduler_of(num_blocks=num_blocks_for(CONTEXT) + 1)
    prompts = [ids_of(120, seed) for seed in range(5)] + [ids_of(20, seed) for seed in range(9)]
    requests = [ask(prompt, 30) for prompt in prompts]
    run(scheduler, *requests)
    assert [heard(request).tokens for request in requests] == [runner.text(prompt, 30) for prompt in prompts]


def test_too_few_blocks_for_one_text_are_refused() -> None:
    with pytest.raises(GenerationError, match="context of 160 tokens needs 5 blocks, the model has 4"):
        scheduler_of(num_blocks=4)


@pytest.mark.parametrize("shared", [1, 31, 32, 40, 64, 127])
def test_a_text_of_full_length_runs_though_it_begins_like_another_and_no_block_is_to_spare(shared: int) -> None:
    scheduler, runner = scheduler_of(num_blocks_for(CONTEXT))
    beginning = ids_of(shared, 1)
    run(scheduler, ask([*beginning, 1, 2, 3], 5))
    request = ask([*beginning, 4, 5, 6], CONTEXT)
    run(scheduler, request)
    assert heard(request).tokens == runner.text(request.prompt_ids, CONTEXT - len(request.prompt_ids))


def test_cancelling_frees_slot_and_blocks_within_one_step() -> None:
    scheduler, _ = scheduler_of(max_running=1)
    running, waiting, next_one = (ask(ids_of(40, seed), 60) for seed in range(3))
    scheduler.waiting.extend([running, waiting, next_one])
    scheduler.step()
    running.cancelled.set()
    waiting.cancelled.set()
    scheduler.step()
    assert heard(running).reason == heard(waiting).reason == "cancelled"
    assert [one.request for one in scheduler.running] == [next_one]
    next_one.cancelled.set()
    scheduler.step()
    check_blocks(scheduler)
    assert not scheduler.has_work
    assert scheduler.prefixes.make_room(scheduler.pool.num_blocks)


def test_an_error_of_one_request_leaves_the_others_alone() -> None:
    class Broken:
        def next(self, _: Tensor) -> Choice:
            raise ValueError("no")

    scheduler, runner = scheduler_of()
    good, bad = ask(ids_of(40, 1), 10), Request(ids_of(40, 2), Broken(), Listener(), max_new_tokens=5)
    run(scheduler, good, bad)
    assert heard(good).tokens == runner.text(good.prompt_ids, 10)
    assert isinstance(heard(bad).error, ModelError)
    assert isinstance(heard(bad).error.__cause__, ValueError)


def test_a_receiver_that_fails_at_its_end_hears_of_it_and_leaves_the_others_alone() -> None:
    class Broken(Listener):
        def end(self, reason: str) -> None:
            raise ValueError(reason)

    scheduler, runner = scheduler_of()
    good, bad = ask(ids_of(40, 1), 10), ask(ids_of(40, 2), 5)
    bad.receiver = Broken()
    run(scheduler, good, bad)
    assert heard(good).tokens == runner.text(good.prompt_ids, 10)
    assert isinstance(heard(bad).error, ModelError)


def test_a_failed_step_fails_those_that_run_and_no_other() -> None:
    scheduler, runner = scheduler_of(max_running=2)
    requests = [ask(ids_of(40, seed), 10) for seed in range(3)]
    scheduler.waiting.extend(requests)
    scheduler.step()
    runner.failures.append(RuntimeError("no memory"))
    run(scheduler)
    for request in requests[:2]:
        with pytest.raises(ModelError, match="Computing the answer failed: RuntimeError"):
            raise heard(request).error or AssertionError
    assert heard(requests[2]).tokens == runner.text(requests[2].prompt_ids, 10)


def test_a_second_turn_computes_its_new_tokens_only() -> None:
    scheduler, runner = scheduler_of(speculation=False)
    first = ask(ids_of(45, 1), 30)
    run(scheduler, first)
    turn = [*first.prompt_ids, *heard(first).tokens, *ids_of(9, 2)]
    second = ask(turn, 8)
    runner.steps.clear()
    run(scheduler, second)
    assert second.timings.reused_tokens == 45 + 30 - 1  # the last token of an answer was never computed
    assert list(runner.steps[0][0].ids) == turn[74:]
    assert heard(second).tokens == runner.text(turn, 8)


def test_the_same_prompt_again_computes_its_last_token_only() -> None:
    scheduler, runner = scheduler_of()
    for length in (31, 32, 33, 64, 65):
        prompt = ids_of(length, length)
        run(scheduler, ask(prompt, 3))
        again = ask(prompt, 3)
        run(scheduler, again)
        assert again.timings.reused_tokens == length - 1
        assert heard(again).tokens == runner.text(prompt, 3)


def test_a_beginning_is_shared_while_the_first_still_answers() -> None:
    scheduler, runner = scheduler_of()
    system = ids_of(70, 1)
    first, second = ask([*system, 1, 2, 3], 40), ask([*system, 4, 5], 40)
    scheduler.waiting.append(first)
    for _ in range(4):
        scheduler.step()
    run(scheduler, second)
    assert second.timings.reused_tokens == 70
    assert heard(first).tokens == runner.text(first.prompt_ids, 40)
    assert heard(second).tokens == runner.text(second.prompt_ids, 40)


def test_the_same_prompt_asked_several_times_at_once_is_computed_once_and_keeps_nobody_waiting() -> None:
    scheduler, runner = scheduler_of(step_tokens=40)
    prompt = ids_of(140, 1)
    same, other = [ask(prompt, 8, seed=seed) for seed in (1, 2, 3)], ask(ids_of(9, 2), 8)
    scheduler.waiting.extend([*same, other])
    scheduler.step()
    assert heard(other).tokens
    run(scheduler)
    assert [request.timings.reused_tokens for request in same] == [0, 139, 139]
    assert [heard(request).tokens for request in same] == [runner.text(prompt, 8, seed=seed) for seed in (1, 2, 3)]


def test_whoever_waits_for_a_cancelled_prompt_goes_on_from_what_was_computed() -> None:
    scheduler, runner = scheduler_of(step_tokens=40)
    first, second = ask(ids_of(140, 1), 8), ask(ids_of(140, 1), 8)
    scheduler.waiting.extend([first, second])
    scheduler.step()
    first.cancelled.set()
    run(scheduler)
    assert heard(second).tokens == runner.text(second.prompt_ids, 8)
    assert second.timings.reused_tokens == 40


def test_adapters_share_no_prefix() -> None:
    scheduler, runner = scheduler_of()
    prompt = ids_of(60, 1)
    requests = [ask(prompt, 12, adapter=name) for name in (None, "a", "long", "a")]
    for request in requests:
        run(scheduler, request)
    assert [request.timings.reused_tokens for request in requests] == [0, 0, 0, 59]
    texts = [heard(request).tokens for request in requests]
    assert texts == [runner.text(prompt, 12, adapter=request.adapter) for request in requests]
    assert texts[0] != texts[1] != texts[2]


def test_an_adapter_that_is_removed_serves_its_requests_first_and_leaves_no_prefix() -> None:
    scheduler, runner = scheduler_of()
    free = scheduler.pool.num_free
    prompt = ids_of(60, 1)
    first, second = ask(prompt, 12, adapter="a"), ask(prompt, 12, adapter="a")
    scheduler.waiting.extend([first, second])
    scheduler.step()
    scheduler.remove_adapter("a")
    assert runner.removed == []
    while scheduler.has_work:
        scheduler.step()
    assert heard(first).tokens == heard(second).tokens == runner.text(prompt, 12, adapter="a")
    assert (runner.removed, scheduler.pool.num_free) == (["a"], free)
    late = ask(prompt, 12, adapter="a")
    run(scheduler, late, ask(prompt, 12))
    assert str(heard(late).error) == "The adapter was unloaded. Load it again."


def test_drafts_save_steps_and_change_no_text() -> None:
    steps, texts = {}, {}
    prompt = ids_of(30, 4)
    for speculation in (False, True):
        scheduler, runner = scheduler_of(memory=2, speculation=speculation)  # two tokens decide: it repeats itself
        request = ask(prompt, 120)
        run(scheduler, request)
        texts[speculation], steps[speculation] = heard(request).tokens, len(runner.steps)
        assert texts[speculation] == runner.text(prompt, 120)
    assert request.timings.accepted_tokens > 60
    assert steps[True] * 3 < steps[False] == 120


def test_a_draft_ends_at_a_stop_token_and_at_the_limit() -> None:
    for count in range(1, 40):
        scheduler, runner = scheduler_of(memory=2)
        prompt = ids_of(30, 4) + runner.text(ids_of(30, 4), 60)
        request = ask(prompt, count)
        run(scheduler, request)
        assert heard(request).tokens == runner.text(prompt, count)
        expected = runner.text(prompt, 40)
        stopping = ask(prompt, 40)
        stopping.stop_ids = frozenset({expected[count]})
        run(scheduler, stopping)
        assert heard(stopping).tokens == expected[: expected.index(expected[count])]
        assert heard(stopping).reason == "stop"


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 3), st.integers(1, 120), st.integers(1, 50)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("step"), st.integers(1, 6)),
        st.tuples(st.just("fail")),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(operations=OPERATIONS, num_blocks=st.integers(5, 16), speculation=st.booleans())
def test_whatever_happens_no_block_is_lost_and_no_text_is_wrong(
    operations: list[tuple[str | int, ...]], num_blocks: int, speculation: bool
) -> None:
    scheduler, runner = scheduler_of(num_blocks, memory=40, max_running=3, speculation=speculation)
    texts = [ids_of(130, seed) for seed in range(3)]
    texts.append(texts[0][:50] + texts[1][:80])  # begins like another and parts from it inside a block
    asked: list[Request] = []
    for name, *numbers in operations:
        if name == "ask":
            which, length, count = (int(number) for number in numbers)
            asked.append(ask(texts[which][:length], count, seed=length % 3 or None))
            scheduler.waiting.append(asked[-1])
        elif name == "cancel" and asked:
            asked[int(numbers[0]) % len(asked)].cancelled.set()
        elif name == "fail" and scheduler.running:
            runner.failures = [RuntimeError("a step fails")]
        elif name == "step":
            for _ in range(int(numbers[0])):
                scheduler.step()
                check_blocks(scheduler)
    run(scheduler)
    for request in asked:
        listener, prompt = heard(request), request.prompt_ids
        assert listener.num_ends == 1
        whole = runner.text(prompt, min(request.max_new_tokens, CONTEXT - len(prompt)), seed=len(prompt) % 3 or None)
        assert listener.tokens == whole[: len(listener.tokens)]
        assert listener.tokens == whole or listener.error or listener.reason == "cancelled"
    assert scheduler.prefixes.make_room(num_blocks)
    assert scheduler.pool.num_free == num_blocks


def test_blocks_are_as_many_as_the_tokens_want() -> None:
    assert [num_blocks_for(count) for count in (1, BLOCK_TOKENS, BLOCK_TOKENS + 1)] == [1, 1, 2]
