"""Write a copy of a model: for other programs, or smaller."""

from argparse import ArgumentParser, Namespace

from core.config.param_config import ExportConfig
from core.config.schema import add_options, given_options


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("model", help="model or run folder")
    parser.add_argument("output", help="folder to write")
    add_options(parser, ExportConfig)


def run(arguments: Namespace) -> int:
    import core

    folder = core.export(arguments.model, arguments.output, **given_options(arguments, ExportConfig))
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"Wrote {folder}, {size / 1e6:.1f} MB.")
    return 0
