"""Make an adapter and the model that it was trained on one model, which needs neither of them.

python launch.py merge RUN OUTPUT                 a folder for this program, transformers and vLLM
python launch.py merge RUN OUTPUT.gguf --to gguf  a file for llama.cpp
python launch.py merge RUN --detach               as a job of the studio, whose folder takes the result
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from app.commands import PROGRAM
from app.paths import studio_dir
from core.config.param_config import ExportConfig
from core.config.schema import add_options, given_options
from core.errors import ConfigError

OF_JOB = {"gguf": "{run}/model.gguf"}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("adapter", help="run or folder of the adapter")
    parser.add_argument("output", nargs="?", help="folder to write, or file for gguf")
    parser.add_argument("--detach", action="store_true", help="run on without this terminal; see `runs`")
    add_options(parser, ExportConfig)


def run(arguments: Namespace) -> int:
    options = given_options(arguments, ExportConfig)
    if arguments.detach:
        return detach(arguments, options)
    if arguments.output is None:
        raise ConfigError("There is no place to write the model to.", "Give a folder, or --detach.")
    import core

    print(f"Wrote {core.merge(arguments.adapter, arguments.output, **options)}.")
    return 0


def detach(arguments: Namespace, options: dict[str, str]) -> int:
    """Start the job and leave."""
    from app.commands.run_argument import open_store
    from core.model.folder import find_model
    from studio import start_program

    if arguments.output is not None:
        raise ConfigError(f"A job of the studio has its own folder in {studio_dir()}.", "Leave out one of them.")
    adapter = find_model(Path(arguments.adapter).absolute() if Path(arguments.adapter).exists() else arguments.adapter)
    ExportConfig.from_dict(options)
    given = [word for name, value in options.items() for word in (f"--{name}", value)]
    output = OF_JOB.get(options.get("to", ""), "{run}/model")
    words = ("merge", str(adapter), output, *given)
    name = adapter.parent.name if adapter.name == "model" else adapter.name
    job = start_program(open_store(), "merge", "app", words, name=name, metadata={"of": str(adapter)})
    print(f"{job.id} has started: {job.folder}")
    print(f"Follow it: {PROGRAM} tail {job.id}    Stop it: {PROGRAM} stop {job.id}")
    return 0
