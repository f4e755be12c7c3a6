"""Chat in the terminal. Ctrl-C stops a reply; /reset starts over; /exit leaves."""

from argparse import ArgumentParser, Namespace
from typing import Any

from app.commands.model_option import add_model_options, describe, open_model
from core.config.param_config import SamplingConfig
from core.config.schema import add_options, given_options
from core.errors import GenerationError


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--system", default="", help="instruction that stands before the conversation")
    add_model_options(parser)
    add_options(parser, SamplingConfig)


def run(arguments: Namespace) -> int:
    model = open_model(arguments)
    sampling = given_options(arguments, SamplingConfig)
    print(f"{describe(model)}. /reset starts over, /exit leaves.")
    opening = [{"role": "system", "content": arguments.system}] if arguments.system else []
    messages = list(opening)
    while (text := _ask()) not in (None, "/exit"):
        if text == "/reset":
            messages = list(opening)
        elif text:
            _turn(model, messages, text, sampling)
    return 0


def _ask() -> str | None:
    try:
        return input("> ").strip()
    except EOFError:
        print()
        return None


def _turn(model: Any, messages: list[dict[str, str]], text: str, sampling: dict[str, Any]) -> None:
    """One question and its reply. A question that cannot be answered is taken back."""
    messages.append({"role": "user", "content": text})
    try:
        stream = model.chat(messages, **sampling)
    except GenerationError as exc:
        messages.pop()
        print(exc)
        return
    try:
        for piece in stream:
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        stream.cancel()
    messages.append({"role": "assistant", "content": stream.text})
    stats = stream.stats
    print(
        f"\n  [{stats.completion_tokens} tokens, {stats.tokens_per_s:.0f} tokens/s,"
        f" first after {stats.time_to_first_token_s:.2f} s, context {stats.context_tokens} of {stats.max_seq_len}]"
    )
