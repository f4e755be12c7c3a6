"""What is not computed again: the second turn of a conversation, and answers that quote what they were given.

A second turn is timed beside the same new tokens computed in their place, behind a cache that is there already, and
beside a prompt of as many tokens behind nothing. Answers are timed with and without drafts, in turns: the model's own
greedy ones to a text that repeats itself, which must be equal; and scripted ones, whose tokens are the document's,
so that only the engine's cost is in the figure, whatever the model would say.
"""

import random
import statistics
import time
from argparse import ArgumentParser, Namespace
from functools import partial
from typing import TYPE_CHECKING, Any

from app.commands.model_option import add_model_option

if TYPE_CHECKING:
    from torch import Tensor

    from core.inference.generator import LanguageModel
    from core.inference.sampling import Choice
    from core.inference.scheduler import Scheduler

WORDS = (
    "the", "river", "town", "bridge", "old", "market", "people", "walked", "slowly", "under", "a", "grey", "sky", "and",
    "talked", "of", "bread", "and", "war",
)  # fmt: skip
TURN_WORDS, NEW_WORDS, QUOTE_TOKENS = 60, 100, 96


def add_arguments(parser: ArgumentParser) -> None:
    add_model_option(parser)
    parser.add_argument("--conversation-tokens", type=int, default=1500, help="before the second turn (default 1500)")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each kind (default 5)")


def run(arguments: Namespace) -> dict[str, Any]:
    import core

    model = core.load(arguments.model)
    length = min(arguments.conversation_tokens, model.max_seq_len - 4 * NEW_WORDS)
    turns = [_second_turn(model, length, seed) for seed in range(arguments.repeats)]
    figures: dict[str, Any] = {"model": model.name, "backend": model.backend, "conversation_tokens": length}
    for name in turns[0]:
        figures[name] = round(statistics.median(turn[name] for turn in turns), 4)
    in_place, alone = figures["new_tokens_in_place_s"], figures["new_tokens_alone_s"]
    figures |= {
        "second_turn_vs_in_place": round(figures["second_turn_s"] / in_place, 3),
        "second_turn_vs_alone": round(figures["second_turn_s"] / alone, 3),
    }
    model.close()
    with_drafts, without = (core.load(arguments.model, speculation=drafts) for drafts in (True, False))
    return figures | _quoting(with_drafts, without, arguments.repeats)


def _text(draw: random.Random, num_words: int) -> str:
    return " ".join(draw.choices(WORDS, k=num_words))


def _second_turn(model: "LanguageModel", length: int, seed: int) -> dict[str, float]:
    """Seconds to the first token of a second turn, and of its new tokens in their place and alone."""
    draw = random.Random(seed)  # noqa: S311 - a seeded draw
    conversation: list[dict[str, str]] = []
    while True:
        asked = [*conversation, {"role": "user", "content": _text(draw, TURN_WORDS)}]
        if len(model.chat_template.encode(asked, add_generation_prompt=True)) > length:
            break
        conversation = [*asked, {"role": "assistant", "content": _text(draw, TURN_WORDS)}]
    answer = model.chat(asked, max_new_tokens=8, temperature=0).read()
    again = [*asked, {"role": "assistant", "content": answer}, {"role": "user", "content": _text(draw, NEW_WORDS)}]
    started = time.perf_counter()
    stream = model.chat(again, max_new_tokens=1, temperature=0)
    stream.read()
    second_turn_s = time.perf_counter() - started
    stats = stream.stats
    count = stats.prompt_tokens - stats.reused_tokens
    ids = model.chat_template.encode(again, add_generation_prompt=True)[-count:]
    alone = model.stream([ids[-1], *ids[1:]], max_new_tokens=1, temperature=0)
    alone.read()
    return {
        "new_tokens": count,
        "second_turn_s": second_turn_s,
        "new_tokens_in_place_s": model.engine.call(partial(_forward_s, ids, stats.reused_tokens)),
        "new_tokens_alone_s": alone.stats.time_to_first_token_s,
    }


def _forward_s(ids: list[int], start: int, scheduler: "Scheduler") -> float:
    """Seconds of the bare computation of tokens behind `start` others, on the engine's thread."""
    from core.inference.runner import Segment

    with scheduler.borrowed_blocks(start + len(ids)) as blocks:
        scheduler.runner.forward([Segment([ids[0]] * start, 0, blocks, 0)])
        started = time.perf_counter()
        scheduler.runner.forward([Segment(ids, start, blocks, 1)])
        return time.perf_counter() - started


class _Script:
    """A sampler that says what it was given."""

    def __init__(self, tokens: list[int]) -> None:
        self._tokens = iter(tokens)

    def next(self, logits: "Tensor") -> "Choice":
        from core.inference.sampling import Choice

        return Choice(next(self._tokens), None, ())


def _quoting(with_drafts: "LanguageModel", without: "LanguageModel", repeats: int) -> dict[str, Any]:
    draw = random.Random(0)  # noqa: S311 - a seeded draw
    document = with_drafts.tokenizer.encode(_text(draw, 250))
    quote = document[40 : 40 + QUOTE_TOKENS]
    scripted: dict[str, list[float]] = {"with": [], "without": []}
    greedy: dict[str, list[float]] = {"with": [], "without": []}
    prompt = (_text(draw, 12) + ". ") * 6
    texts = set()
    for _ in range(repeats):
        for name, model in (("with", with_drafts), ("without", without)):
            scripted[name].append(_scripted_rate(model, [*document, *quote[:3]], quote[3:]))
            stream = model.stream(prompt, max_new_tokens=QUOTE_TOKENS, temperature=0)
            texts.add(stream.read())
            greedy[name].append(stream.stats.tokens_per_s)
    medians = {f"{kind}_{name}_drafts_tok_s": statistics.median(rates[name]) for kind, rates in
               (("quote", scripted), ("greedy", greedy)) for name in rates}  # fmt: skip
    figures: dict[str, Any] = {name: round(rate, 1) for name, rate in medians.items()}
    return figures | {
        "quote_ratio": round(medians["quote_with_drafts_tok_s"] / medians["quote_without_drafts_tok_s"], 2),
        "greedy_ratio": round(medians["greedy_with_drafts_tok_s"] / medians["greedy_without_drafts_tok_s"], 2),
        "greedy_texts_are_equal": len(texts) == 1,
    }


def _scripted_rate(model: "LanguageModel", prompt: list[int], answer: list[int]) -> float:
    """Tokens per second of an answer whose tokens are known."""
    from core.inference.request import Request
    from core.inference.token_stream import Reply, TokenStream

    reply = Reply(model.tokenizer.stream_decoder(), [], None)
    request = Request(prompt, _Script(answer), reply, max_new_tokens=len(answer))
    stream = TokenStream(model.engine, request, reply)
    stream.read()
    return stream.stats.tokens_per_s
