"""Write a copy of a model: for other programs (a Hugging Face folder, a GGUF file), or smaller."""

from argparse import ArgumentParser, Namespace

from core.config.param_config import ExportConfig
from core.config.schema import add_options, given_options


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("model", help="model or run folder, or GGUF file")
    parser.add_argument("output", help="folder to write, or file for gguf")
    add_options(parser, ExportConfig)


def run(arguments: Namespace) -> int:
    import core

    written = core.export(arguments.model, arguments.output, **given_options(arguments, ExportConfig))
    files = written.iterdir() if written.is_dir() else [written]
    print(f"Wrote {written}, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB.")
    return 0
