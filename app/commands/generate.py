"""Continue a text: the prompt as words, or from standard input."""

import json
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from app.commands.model_option import add_model_options, open_model
from core.config.param_config import SamplingConfig
from core.config.schema import add_options, given_options


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("prompt", nargs="?", help="the text to continue (default: standard input)")
    parser.add_argument("--json", action="store_true", help="print one JSON object with text and counts")
    add_model_options(parser)
    add_options(parser, SamplingConfig)


def run(arguments: Namespace) -> int:
    prompt = sys.stdin.read() if arguments.prompt is None else arguments.prompt
    model = open_model(arguments)
    stream = model.stream(prompt, **given_options(arguments, SamplingConfig))
    for piece in stream:
        if not arguments.json:
            print(piece, end="", flush=True)
    if arguments.json:
        result = {"text": stream.text, "finish_reason": stream.finish_reason, **asdict(stream.stats)}
        print(json.dumps(result, ensure_ascii=False))
    else:
        print()
    return 0
