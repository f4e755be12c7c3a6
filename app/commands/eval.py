"""Score a model on text files: bits per byte, perplexity, and what `xz -9` needs for the same text."""

import json
from argparse import ArgumentParser, Namespace

from app.commands.model_option import add_model_options, describe, open_model


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", help="files of the kinds that `prepare` reads, or folders of them")
    add_model_options(parser)
    parser.add_argument("--json", action="store_true", help="end with one JSON object on a line of its own")


def run(arguments: Namespace) -> int:
    import core

    model = open_model(arguments)
    print(describe(model))
    print(f"{'file':24} {'bytes':>11} {'tokens':>9} {'bits/byte':>10} {'xz -9':>7} {'perplexity':>11}")
    results = core.evaluate(model, arguments.files)
    for row in results:
        print(
            f"{row.file:24.24} {row.num_bytes:11,} {row.num_tokens:9,} {row.bits_per_byte:10.3f}"
            f" {row.xz_bits_per_byte:7.3f} {row.perplexity:11.2f}"
        )
    if arguments.json:
        print(json.dumps({"model": model.name, "results": [row.to_dict() for row in results]}, ensure_ascii=False))
    return 0
