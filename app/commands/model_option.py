"""What the words that open a model have in common: the option, the opening, and the line that says what it is."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from app.paths import starter_dir
from core.config.param_config import LoadConfig
from core.config.schema import add_options, given_options

if TYPE_CHECKING:
    from core.inference.generator import LanguageModel


def add_model_option(parser: ArgumentParser) -> None:
    """Declare --model alone."""
    parser.add_argument("--model", default=str(starter_dir()), help="model or run folder (default: the starter)")


def add_model_options(parser: ArgumentParser) -> None:
    """Declare --model and how it is opened."""
    add_model_option(parser)
    add_options(parser, LoadConfig)


def open_model(arguments: Namespace, adapters: Mapping[str, Path] | None = None) -> "LanguageModel":
    """The model that the options name, with adapters by name beside it. Imports torch."""
    import core

    options = given_options(arguments, LoadConfig)
    model: LanguageModel = core.load(arguments.model, adapters=dict(adapters or {}), **options)
    return model


def describe(model: "LanguageModel") -> str:
    """Name, size and type of the weights."""
    return f"{model.name}, {model.num_parameters:,} parameters, {model.quantization}"
