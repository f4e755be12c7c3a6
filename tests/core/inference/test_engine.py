"""The engine's thread: many callers, a bound, an end."""

import gc
import os
import threading
import weakref
from collections.abc import Callable

import pytest

from core.errors import BusyError, GenerationError
from core.inference.engine import Engine
from core.inference.sampling import Choice
from core.inference.scheduler import EngineConfig
from tests.core.inference.arithmetic_runner import ArithmeticRunner, Listener, ask, heard

NewThreads = Callable[[], set[threading.Thread]]
CONFIG = EngineConfig(max_seq_len=128, max_running=4, max_waiting=3)


class Gate(Listener):
    """Holds the engine's thread at its first token until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.opened, self.ended = threading.Event(), threading.Event(), threading.Event()

    def push(self, choice: Choice) -> bool:
        self.reached.set()
        assert self.opened.wait(10)
        return super().push(choice)

    def end(self, reason: str) -> None:
        super().end(reason)
        self.ended.set()


@pytest.fixture
def engine() -> Engine:
    return Engine(ArithmeticRunner(40), CONFIG)


def gated(engine: Engine, count: int = 5) -> Gate:
    request = ask([1, 2, 3], count)
    gate = Gate()
    request.receiver = gate
    engine.submit(request)
    assert gate.reached.wait(10)
    return gate


@pytest.fixture
def new_threads() -> NewThreads:
    """The engines' threads that began since; a model that other tests share may have its own."""
    before = set(threading.enumerate())
    return lambda: {thread for thread in threading.enumerate() if thread.name == "engine"} - before


def test_more_requests_than_the_bound_are_refused_with_both_numbers(engine: Engine) -> None:
    gate = gated(engine)
    accepted = [ask([1, 2], 3) for _ in range(6)]
    for request in accepted:
        engine.submit(request)
    with pytest.raises(BusyError, match="7 requests are under way or waiting, the most is 7"):
        engine.submit(ask([1], 3))
    gate.opened.set()
    assert gate.ended.wait(10)
    engine.call(lambda scheduler: [scheduler.step() for _ in range(50)])
    assert all(heard(request).reason == "length" for request in accepted)
    engine.submit(ask([1], 3))
    engine.close()


def test_prompts_that_cannot_run_are_refused_before_they_wait(engine: Engine, new_threads: NewThreads) -> None:
    with pytest.raises(GenerationError, match="The prompt is empty"):
        engine.submit(ask([], 3))
    with pytest.raises(GenerationError, match="holds id 99, the model has ids 0 … 22"):
        engine.check([1, 99])
    with pytest.raises(GenerationError, match="is 128 tokens, the model's context is 128"):
        engine.submit(ask([1] * 128, 3))
    assert not new_threads()


def test_a_forked_process_is_told_to_load_the_model_itself(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: own + 1)
    with pytest.raises(GenerationError, match="this one was forked from"):
        engine.submit(ask([1, 2], 3))
    with pytest.raises(GenerationError, match="this one was forked from"):
        engine.call(lambda scheduler: scheduler.num_requests)


def test_closing_ends_every_request_as_cancelled_and_the_thread(engine: Engine, new_threads: NewThreads) -> None:
    gate = gated(engine, count=100)
    waiting = ask([1, 2], 3)
    engine.submit(waiting)
    closing = threading.Thread(target=engine.close)
    closing.start()
    gate.opened.set()
    closing.join(10)
    assert gate.reason == heard(waiting).reason == "cancelled"
    assert not new_threads()
    with pytest.raises(GenerationError, match="The model was closed"):
        engine.submit(ask([1], 3))
    with pytest.raises(GenerationError, match="The model was closed"):
        engine.call(lambda scheduler: scheduler.num_requests)


def test_an_engine_that_nobody_holds_ends_its_thread_and_frees_its_runner(new_threads: NewThreads) -> None:
    runner = ArithmeticRunner(40)
    engine = Engine(runner, CONFIG)
    gated(engine).opened.set()
    gone = weakref.ref(runner)
    del runner, engine
    gc.collect()
    assert gone() is None
    assert not new_threads()


def test_a_failure_of_the_scheduler_itself_ends_the_requests_and_the_engine_lives_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()
    broken = ask([4, 5], 3)
    monkeypatch.setattr(broken.receiver, "fail", lambda _: failed.set())
    engine.call(lambda scheduler: monkeypatch.setattr(scheduler.pool, "take", lambda _: 1 / 0))
    engine.submit(broken)
    assert failed.wait(10)
    gate = gated(engine)
    gate.opened.set()
    assert gate.ended.wait(10)
    engine.close()


def test_a_call_gives_what_the_function_gives_or_raises(engine: Engine) -> None:
    assert engine.call(lambda scheduler: scheduler.pool.num_blocks) == 40
    with pytest.raises(ZeroDivisionError):
        engine.call(lambda _: 1 / 0)
    engine.close()
